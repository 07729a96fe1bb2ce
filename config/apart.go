package config

import "strings"

// keptBefore is how many equal characters are left before the first that differs.
const keptBefore = 10

// apart returns both sides of a change, each at most n characters long and so cut
// that what differs is seen. The whole values are in From and To.
func apart(from, to string, n int) (string, string) {
	fits := func() bool { return len([]rune(from)) <= n && len([]rune(to)) <= n }
	if fits() {
		return from, to
	}
	lists := isList(from) && isList(to)
	whole, other := from, to
	for beside := 1; lists && !fits() && beside >= 0; beside-- {
		from, to = apartLists(whole, other, beside)
	}
	if !fits() {
		from, to = apartTexts(from, to)
	}
	return shorten(from, n), shorten(to, n)
}

// isList reports whether s is a list as text writes it.
func isList(s string) bool { return strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") }

// apartLists leaves out the equal beginnings and ends of two lists, but for so
// many elements beside what differs.
func apartLists(from, to string, beside int) (string, string) {
	a, b := elements(from), elements(to)
	begin, end := 0, 0
	for begin < len(a) && begin < len(b) && a[begin] == b[begin] {
		begin++
	}
	for end < len(a)-begin && end < len(b)-begin && a[len(a)-1-end] == b[len(b)-1-end] {
		end++
	}
	begin, end = max(begin-beside, 0), max(end-beside, 0)
	return around(a, begin, end), around(b, begin, end)
}

// elements returns the elements of a list. One that holds a comma becomes two,
// which are put together again as they were.
func elements(s string) []string { return strings.Split(s[1:len(s)-1], ", ") }

// around returns a list without its first and last elements.
func around(all []string, begin, end int) string {
	shown := all[begin : len(all)-end : len(all)-end]
	if begin > 0 {
		shown = append([]string{"…"}, shown...)
	}
	if end > 0 && (len(shown) == 0 || shown[len(shown)-1] != "…") {
		shown = append(shown, "…")
	}
	return "[" + strings.Join(shown, ", ") + "]"
}

// apartTexts leaves out the equal beginnings of two texts.
func apartTexts(from, to string) (string, string) {
	a, b := []rune(from), []rune(to)
	equal := 0
	for equal < len(a) && equal < len(b) && a[equal] == b[equal] {
		equal++
	}
	if equal <= keptBefore {
		return from, to
	}
	return "…" + string(a[equal-keptBefore:]), "…" + string(b[equal-keptBefore:])
}
