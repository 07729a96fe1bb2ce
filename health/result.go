package health

import (
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// MaxOutput is the most bytes of [Result.Output]: it stands in one line of
// status, and travels with every event.
const MaxOutput = 200

// Result is what one question found.
type Result struct {
	Good bool
	// Unknown tells that the question could not be put, for no fault of the
	// target: nobody was there to run the command. It counts neither way.
	Unknown bool
	Output  string    // one line of at most [MaxOutput] bytes: "HTTP 503", "connect: connection refused"
	At      time.Time // when the answer was there
}

func good(output string) Result { return Result{Good: true, Output: output} }

func bad(output string) Result { return Result{Output: output} }

// Line makes one line of at most [MaxOutput] bytes of whatever text is, with
// nothing in it that could move a cursor or break a log.
func Line(text string) string {
	var b strings.Builder
	gap := false
	for _, r := range text {
		if r == utf8.RuneError || unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) {
			r = ' '
		}
		if r == ' ' {
			gap = b.Len() > 0
			continue
		}
		n := utf8.RuneLen(r)
		if gap {
			n++
		}
		if b.Len()+n > MaxOutput {
			break
		}
		if gap {
			b.WriteByte(' ')
			gap = false
		}
		b.WriteRune(r)
	}
	return b.String()
}
