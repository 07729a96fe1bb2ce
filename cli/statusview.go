package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
)

// view renders a status; now is when it was read.
type view struct {
	api.Status
	style

	b strings.Builder
}

// renderStatus returns st for people. It is a pure function.
func renderStatus(st api.Status, s style) string {
	v := view{Status: st, style: s}
	v.top()
	v.services()
	v.frontends()
	v.counted()
	v.roles()
	v.overrides()
	v.off()
	v.problems()
	return v.b.String()
}

func (v *view) line(format string, args ...any) { fmt.Fprintf(&v.b, format+"\n", args...) }

// table writes a table under its head, in columns.
func (v *view) table(head string, rows []string) {
	if len(rows) == 0 {
		return
	}
	v.b.WriteByte('\n')
	var b strings.Builder
	_ = columns(&b, append([]string{head}, rows...)...) // a builder takes all
	first, rest, _ := strings.Cut(b.String(), "\n")
	v.b.WriteString(v.head(strings.TrimRight(first, " ")) + "\n")
	for l := range strings.Lines(rest) {
		v.b.WriteString(v.mark(strings.TrimRight(l, " \n")) + "\n")
	}
}

// mark colours the rows that begin with a sign.
func (v *view) mark(l string) string {
	switch {
	case strings.HasPrefix(l, signBad):
		return v.bad(l)
	case strings.HasPrefix(l, signWarn):
		return v.warn(l)
	default:
		return l
	}
}

// Signs at the beginning of a row, so that no meaning is in the colour alone.
const (
	signGood = "  "
	signWarn = "~ " // on its way
	signBad  = "! "
)

func (v *view) top() {
	v.line("node %s   backstay %s   generation %d", v.Node, v.Version, v.Generation)
	v.line("config %s", configText(v.Config))
	j := verdict(v.Status)
	if j.exit == backstay.ExitOK {
		v.line("%s", v.good(j.text))
	} else {
		v.line("%s", v.bad(j.text))
	}
}

func configText(c api.ConfigStatus) string {
	if c.Digest == "" {
		return "none"
	}
	text := c.Digest + " of " + c.File + " since " + clock(c.AppliedAt)
	if c.By != "" {
		text += " by " + c.By
	}
	if c.Source == "last_good" {
		text += " (LAST GOOD: the file on disk is refused)"
	}
	return text
}

// traffic is the three cells of what requests met; empty where there are none or
// nobody can say.
func traffic(c *api.Counters, balanced bool) []any {
	if c == nil || !balanced {
		return []any{"", "", ""}
	}
	return []any{c.Requests, c.Failed, c.InFlight}
}

// tries is traffic of a service or an instance. A request may take several tries.
func tries(c *api.Counters, balanced bool) []any {
	if c == nil || !balanced {
		return []any{"", "", ""}
	}
	return []any{c.Tries(), c.Failed, c.InFlight}
}

func by(name string) string {
	if name == "" {
		return ""
	}
	return " by " + name
}

// maxCell keeps a row on one line: the whole story is told by why.
const maxCell = 100

func short(s string) string {
	if r := []rune(plainText(s)); len(r) > maxCell {
		return string(r[:maxCell]) + "…"
	}
	return plainText(s)
}

func (v *view) frontends() {
	var rows []string
	for _, f := range v.Frontends {
		for n, b := range f.Binds {
			sign, state := v.bindState(b)
			conns := ""
			if n == 0 && f.Traffic != nil {
				conns = strconv.Itoa(f.Conns)
			}
			cells := append([]any{sign + f.Name, b.Address, conns}, traffic(f.Traffic, n == 0)...)
			rows = append(rows, row(append(cells, state)...))
		}
	}
	v.table(row("  FRONTEND", "ADDRESS", "CONNS", "REQUESTS", "FAILED", "IN FLIGHT", "STATE"), rows)
}

// counted says since when is counted, and what a failed try is not.
func (v *view) counted() {
	if !slices.ContainsFunc(v.Frontends, func(f api.Frontend) bool { return f.Traffic != nil }) {
		return
	}
	for _, r := range v.Roles {
		if r.Name == "proxy" && r.Running {
			v.line("  counted since %s, when the proxy started; a failed try is repeated elsewhere where that is safe", clock(r.Since))
		}
	}
}

// bindState says whether connections are taken at b, and served.
func (v *view) bindState(b api.Bind) (sign, state string) {
	switch {
	case !b.Listens():
		return signBad, "not bound: " + short(b.Because)
	case !v.Proxied() || !v.Answered():
		return signWarn, "bound; no proxy answers: connections wait"
	default:
		return signGood, "bound"
	}
}

func (v *view) roles() {
	var rows []string
	for _, r := range v.Roles {
		sign, state := signGood, fmt.Sprintf("pid %d for %s", r.PID, api.Age(v.At.Sub(r.Since)))
		switch {
		case !r.Running:
			sign, state = signBad, "not running"+because(r)
		case v.Silent(r):
			sign, state = signBad, state+", does not answer: connections wait"
		case r.Generation < r.Newest:
			sign, state = signWarn, state+fmt.Sprintf(", serves snapshot %d, %d is being sent", r.Generation, r.Newest)
		}
		if r.Running && r.Starts > 1 && r.Last != nil {
			state += fmt.Sprintf(", run %d, the one before %s", r.Starts, r.Last)
		}
		rows = append(rows, row(sign+r.Name, state))
	}
	v.table(row("  ROLE", "STATE"), rows)
}

func because(r api.Role) string {
	switch {
	case r.Because != "":
		return ": " + short(r.Because)
	case r.Last != nil:
		return ": " + r.Last.String()
	default:
		return ""
	}
}

func (v *view) overrides() {
	var rows []string
	for _, o := range v.Overrides {
		rows = append(rows, row("  "+string(o.Ref), o, o.By+", "+clock(o.Since), o.Ending))
	}
	v.table(row("  CHANGED BY HAND", "WHAT", "WHO AND WHEN", "ENDS WITH"), rows)
}

func (v *view) off() {
	var rows []string
	for _, o := range v.Off {
		rows = append(rows, row("  "+o.What, short(o.Why)))
	}
	v.table(row("  OFF HERE", "WHY"), rows)
}

// maxMistakes is how many mistakes of a refused file status shows: one screen.
const maxMistakes = 3

func (v *view) problems() {
	if r := v.Config.Refused; r != nil {
		v.line("\n%s", v.bad(fmt.Sprintf("%sfile refused at %s: %s", signBad, clock(v.Config.RefusedAt), r.What)))
		for n, m := range r.Mistakes {
			if n == maxMistakes {
				v.line("    and %d more: backstay validate %s", len(r.Mistakes)-n, v.Config.File)
				break
			}
			v.line("    %s: %s; %s", m.Where, m.What, m.Do)
		}
	}
	for _, p := range v.Problems {
		v.line("\n%s", v.bad(signBad+p.What))
		v.line("    %s", p.Do)
	}
}
