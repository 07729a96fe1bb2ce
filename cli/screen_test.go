package cli

import "testing"

// The verdict of a status that is looked at all the time stays on the screen.
func TestFramesFitTheScreen(t *testing.T) {
	for name, c := range map[string]struct {
		text          string
		columns, rows int
		want          string
	}{
		"no size":     {"one\ntwo\n", 0, 0, "one\ntwo\n"},
		"fits":        {"one\ntwo\n", 3, 3, "one\ntwo"},
		"too long":    {"one\ntwo\nthree\nfour\n", 80, 4, "one\ntwo\n… 2 more lines: backstay status"},
		"one row":     {"one\ntwo\n", 80, 1, "… 2 more lines: backstay status"},
		"too wide":    {"shop → v2\n", 6, 9, "shop →"},
		"with colour": {"\x1b[31mshop-1 is ill\x1b[0m\nno", 6, 9, "\x1b[31mshop-1\x1b[0m\nno"},
	} {
		if got := fit(c.text, c.columns, c.rows); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
