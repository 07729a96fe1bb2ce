package golden

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// witness is a test that notes how it fails.
type witness struct {
	testing.TB

	said string
}

func (w *witness) Helper()                   {}
func (w *witness) Errorf(f string, a ...any) { w.said += fmt.Sprintf(f, a...) }
func (w *witness) Fatal(a ...any)            { w.said += "fatal: " + fmt.Sprint(a...) }

func TestADifferenceFailsAndIsKeptOnlyWhenAsked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "why", "a.txt")
	for _, c := range []struct {
		got  string
		anew bool
		says string // "" is that it passes
	}{
		{"one\ntwo\n", false, "fatal: "}, // it is not there
		{"one\ntwo\n", true, ""},
		{"one\ntwo\n", false, ""},
		{"one\nTWO\n", false, "line 2 is another"},
		{"one\ntwo", false, "line 3 is another"},
		{"one\ntwo\nthree\n", false, "line 3 is another"},
		{"", false, "line 1 is another"},
		{"one\ntwo\n", false, ""}, // none of these has changed it
		{"1\n", true, ""},
		{"1\n", false, ""},
	} {
		w := &witness{TB: t}
		check(w, path, c.got, c.anew)
		if (w.said == "") != (c.says == "") || !strings.Contains(w.said, c.says) {
			t.Errorf("%q, anew %v: %q, want %q", c.got, c.anew, w.said, c.says)
		}
		if w.said != "" && !strings.Contains(w.said, path) {
			t.Errorf("%q does not name the file", w.said)
		}
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "1\n" {
		t.Errorf("%q, %v", text, err)
	}
}
