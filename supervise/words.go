package supervise

import (
	"strings"
	"time"
	"unicode/utf8"

	"github.com/backstay/backstay"
)

func validUTF8(s string) string { return strings.ToValidUTF8(s, "?") }

// lastRune returns where the last letter of s begins.
func lastRune(s string) int {
	_, n := utf8.DecodeLastRuneInString(s)
	return len(s) - n
}

// cause says in one line how a run of so long ended.
func cause(e backstay.Exit, ran time.Duration) string {
	s := e.String()
	if e.Reason != "" {
		s = e.Reason + "; " + s
	}
	if ran > 0 && e.Stage == "" {
		s += " after " + span(ran)
	}
	return s
}

// span returns d as people say it: 340ms, 1.5s, 2m3s, 5h10m.
func span(d time.Duration) string {
	switch {
	case d < time.Second:
		d = d.Round(time.Millisecond)
	case d < time.Minute:
		d = d.Round(100 * time.Millisecond)
	case d < time.Hour:
		d = d.Round(time.Second)
	default:
		d = d.Round(time.Minute)
	}
	return backstay.Duration(d).String()
}

// withLast adds the last line of a log that has text to a cause.
func withLast(cause string, lines []string) string {
	line := backstay.LastText(lines)
	if line == "" {
		return cause
	}
	return cause + "; last line: " + line
}
