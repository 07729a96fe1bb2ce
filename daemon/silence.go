package daemon

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/backstay/backstay"
)

// silence tells, once for each reason, that no agent answers: whoever sits at the
// terminal of a front would else see nothing at all.
type silence struct {
	o    UpOptions
	told string
}

// tell tells why err says that no agent answers, with the last it has printed.
func (s *silence) tell(ctx context.Context, err error) {
	p, ok := errors.AsType[*backstay.Problem](err)
	if !ok || p.Code != "no_agent" || ctx.Err() != nil {
		return
	}
	text := p.What
	if last := lastWord(s.o.Dirs.AgentLog()); last != "" {
		text += "; the last it has printed: " + last
	}
	if text != s.told {
		s.told = text
		_, _ = fmt.Fprintf(s.o.Out, "%s\nwhat runs goes on; more is in %s\n", text, s.o.Dirs.AgentLog()) // nobody is left to tell
	}
}

// over says that one answers.
func (s *silence) over() { s.told = "" }

// lastWords is how many lines are looked through for one that says why.
const lastWords = 16

// lastWord returns the last line of a log that begins what a program says when it
// fails, else the last that has text.
func lastWord(file string) (word string) {
	all := lastLines(file, lastWords)
	for n := range all {
		line := strings.TrimSpace(all[len(all)-1-n])
		if strings.HasPrefix(line, "backstay: ") {
			return line
		}
		if word == "" {
			word = line
		}
	}
	return word
}
