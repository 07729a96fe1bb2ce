package cli

import (
	"fmt"
	"maps"
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

func (v *view) services() {
	var rows []string
	for _, s := range v.Services {
		rows = append(rows, v.service(s))
		for _, i := range s.Instances {
			rows = append(rows, v.instance(s, i))
		}
	}
	v.table(row("  SERVICE", "RELEASE", "READY", "REQUESTS", "FAILED", "IN FLIGHT", "STATE"), rows)
}

func (v *view) service(s api.Service) string {
	release := s.Release
	if s.Version != "" {
		release += " " + s.Version
	}
	ready := fmt.Sprintf("%d/%d", s.Ready()+s.HandDrained(), s.Replicas)
	return row(append(append([]any{serviceSign(s) + s.Name, release, ready}, traffic(s.Traffic, s.Balanced)...), v.serviceState(s))...)
}

// traffic is the three cells of what requests met; empty where there are none or
// nobody can say.
func traffic(c *api.Counters, balanced bool) []any {
	if c == nil || !balanced {
		return []any{"", "", ""}
	}
	return []any{c.Requests, c.Failed, c.InFlight}
}

func serviceSign(s api.Service) string {
	switch {
	case !s.Well():
		return signBad
	case s.Deploy != nil && !s.Deploy.State.Ended():
		return signWarn
	default:
		return signGood
	}
}

// serviceState is the one thing to know about s.
func (v *view) serviceState(s api.Service) string {
	switch {
	case s.Stopped:
		return "stopped" + by(s.StoppedBy)
	case s.Wanted != "" && s.Wanted != s.Release && s.Deploy != nil && s.Deploy.State == api.DeployRolledBack:
		return v.Wants(s) + ": rolled back, " + short(s.Deploy.Reason)
	case s.Wanted != "" && s.Wanted != s.Release && s.Deploy != nil && s.Deploy.State == api.DeployDone:
		return v.Wants(s) + ": gone back by " + s.Deploy.By
	case s.Wanted != "" && s.Deploy != nil && s.Deploy.State == api.DeployRefused && s.Deploy.To == s.Wanted:
		return v.Wants(s) + ": refused, " + short(s.Deploy.Reason)
	case s.Deploy != nil && !s.Deploy.State.Ended(), s.Deploy != nil && s.Deploy.State == api.DeployStuck:
		return v.deployState(*s.Deploy)
	case s.Ready() < s.Replicas:
		return missing(s)
	case s.Completes:
		return "completed"
	default:
		return v.trafficState(s)
	}
}

// trafficState says whether s, which is ready, gets requests.
func (v *view) trafficState(s api.Service) string {
	switch {
	case !s.Balanced:
		return "running"
	case !v.Proxied():
		return "ready, but no proxy serves it"
	case !v.Answered():
		return "ready, but no proxy answers: connections wait"
	case !v.Reachable(s):
		return "ready, but no frontend of it is bound"
	default:
		return "serving"
	}
}

// missing says how many instances of s should get traffic and do not.
func missing(s api.Service) string {
	var parts []string
	if s.Ready() == 0 && s.HandDrained() >= s.Replicas {
		return s.State()
	}
	if n := s.HandDrained(); n > 0 && s.Ready() == 0 {
		parts = append(parts, "all that is ready is drained"+by(s.Drainers()))
	} else if n > 0 {
		parts = append(parts, fmt.Sprintf("%d drained", n)+by(s.Drainers()))
	}
	if n := s.Replicas - s.Ready() - s.HandDrained(); n > 0 {
		parts = append(parts, fmt.Sprintf("%d missing", n))
	}
	return strings.Join(parts, ", ")
}

func (v *view) deployState(d api.Deploy) string {
	text := "deploy to " + d.To + " " + strings.ReplaceAll(string(d.State), "_", " ")
	switch {
	case d.State == api.DeployRolling && d.Of > 0:
		text += fmt.Sprintf(", %d of %d", d.Replaced, d.Of)
	case d.Reason != "":
		text += ": " + short(d.Reason)
	}
	return text
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

func (v *view) instance(s api.Service, i api.Instance) string {
	sign := signGood
	switch {
	case i.State == backstay.Failed || i.State == backstay.Backoff || i.State == backstay.Crashed || i.State == backstay.Running && !i.Ready && !i.Drained:
		sign = signBad
	case ejected(v.Status, i) || !i.Serves() && i.State != backstay.Stopped:
		sign = signWarn
	}
	var met *api.Counters
	if i.Server != nil {
		met = &i.Server.Traffic
	}
	return row(append(append([]any{sign + "  " + i.ID, i.Release, ""}, traffic(met, s.Balanced)...), v.instanceState(i))...)
}

// instanceState is the one thing to know about i.
func (v *view) instanceState(i api.Instance) string {
	now := v.At
	switch i.State {
	case backstay.Running:
		return v.runningState(i)
	case backstay.Starting:
		return "starting for " + api.Age(now.Sub(i.Since)) + pidText(i) + probeText(i)
	case backstay.Waiting:
		return "waiting for " + strings.Join(i.WaitsFor, ", ")
	case backstay.Backoff:
		return "backoff: " + lastText(i) + fmt.Sprintf(", again in %s (attempt %d)", api.Age(i.NextStart.Sub(now)), i.Failures+1)
	case backstay.Failed:
		if i.Forsaken() {
			return "failed: ended with " + short(i.Last.Ending()) + ", policy never does not start it again"
		}
		text := "failed " + count(i.Failures, "time") + ": " + lastText(i)
		if !i.NextStart.IsZero() {
			text += ", again in " + api.Age(i.NextStart.Sub(now))
		}
		return text
	case backstay.Crashed:
		return "crashed: " + lastText(i)
	case backstay.Draining, backstay.Stopping:
		return string(i.State) + " for " + api.Age(now.Sub(i.Since))
	default:
		return string(i.State)
	}
}

// pidText names the process, if there is one yet.
func pidText(i api.Instance) string {
	if i.PID == 0 {
		return ""
	}
	return ", pid " + strconv.Itoa(i.PID)
}

func (v *view) runningState(i api.Instance) string {
	text := fmt.Sprintf("pid %d%s", i.PID, portText(i))
	switch {
	case i.ByHand() && i.Ready:
		text = "ready, drained" + by(i.Drainer()) + ", " + text
	case i.Drained:
		text = "drained" + by(i.Drainer()) + ", " + text
	case !i.Ready:
		text = "not ready, " + text + probeText(i)
	case ejected(v.Status, i):
		text = "ejected for " + api.Age(i.Server.Ejected.Until.Sub(v.At)) + ": " + short(i.Server.Ejected.Because)
	default:
		text = "ready for " + api.Age(v.At.Sub(i.ReadySince)) + ", " + text
	}
	if i.Starts > 1 && i.Last != nil {
		text += fmt.Sprintf(", run %d", i.Starts)
	}
	return text
}

// probeText is what the probe that decides says.
func probeText(i api.Instance) string {
	for _, p := range i.Probes {
		if !p.Good && p.Output != "" {
			return ": " + p.Name + " says " + short(p.Output)
		}
	}
	return ""
}

func lastText(i api.Instance) string {
	if i.Last == nil {
		return short(i.Because)
	}
	return short(i.Last.String())
}

// portText names the ports, smallest name first.
func portText(i api.Instance) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(i.Ports)) {
		parts = append(parts, ":"+strconv.Itoa(int(i.Ports[name])))
	}
	if parts == nil {
		return ""
	}
	return " at " + strings.Join(parts, " ")
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
