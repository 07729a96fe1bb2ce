package deploy

import (
	"fmt"
	"strings"
	"time"

	"github.com/backstay/backstay"
)

// headline says what d has just become.
func (d Deploy) headline(now time.Time) string {
	took := spell(now.Sub(d.Started))
	switch d.State {
	case Rolling:
		return d.title()
	case Finishing:
		return "all traffic is on " + d.name(d.To) + "; old instances drain and stop"
	case Paused:
		return "paused: " + d.Reason
	case RollingBack:
		return "rolling back to " + d.name(d.Dest()) + ": " + d.Reason
	case Done:
		return "done in " + took + ": " + d.name(d.To) + " serves"
	case RolledBack:
		return "rolled back to " + d.name(d.From) + " after " + took + ": " + d.Reason
	case Stuck:
		return "stuck after " + took + ": " + d.Reason
	case Refused:
		return "refused: " + d.Reason
	default:
		return "superseded after " + took + ": " + d.Reason
	}
}

// title says what d is about to do: deploy shop 13 → 14, rolling.
func (d Deploy) title() string {
	switch d.Kind {
	case First:
		return fmt.Sprintf("start %s, %s", d.name(d.To), plural(d.Of, "instance"))
	case Restart:
		return fmt.Sprintf("restart %s, %s, %s", d.name(d.To), d.way(), plural(d.Of, "instance"))
	case Rollback:
		return fmt.Sprintf("rollback %s %d → %d%s", d.Service, d.From, d.To, d.versions())
	default:
		return fmt.Sprintf("deploy %s %d → %d%s, %s, %s", d.Service, d.From, d.To, d.versions(), d.way(), plural(d.Of, "instance"))
	}
}

// versions says which versions From and To are, where that is known.
func (d Deploy) versions() string {
	if d.Version == "" || d.Was == "" || d.Version == d.Was {
		return ""
	}
	return " (" + d.Was + " → " + d.Version + ")"
}

// way says how the instances are replaced: rolling +1/-0.
func (d Deploy) way() string {
	if d.Pace == "" {
		return d.Strategy
	}
	return d.Strategy + " " + d.Pace
}

// goodLine is told when i has been ready for long enough.
func goodLine(i backstay.Instance, minReady time.Duration) string {
	if i.State == backstay.Completed {
		return i.ID + " ran to its end"
	}
	ready := i.ReadySince.Sub(i.Started)
	return fmt.Sprintf("%s ready %s, good %s", i.ID, spell(ready), spell(ready+minReady))
}

// deathLine is told of i, whose run before this one has ended. m is what was
// known of it then.
func deathLine(i backstay.Instance, m Member) string {
	if i.Last == nil {
		return i.ID + " died"
	}
	how := i.ID + " " + i.Last.String()
	if i.Last.Reason != "" {
		how += " (" + i.Last.Reason + ")"
	}
	if m.Ready.IsZero() || i.Last.At.Before(m.Ready) {
		return how + " before it was seen ready"
	}
	return how + ", " + spell(i.Last.At.Sub(m.Ready)) + " after it was ready"
}

// unreadyLine is told of i, which was ready as m says.
func unreadyLine(i backstay.Instance, m Member, now time.Time) string {
	line := i.ID + " turned not ready within " + spell(now.Sub(m.Ready)) + " of being ready"
	if out := readiness(i); out != "" {
		line += ": " + out
	}
	return line
}

// illLine says what keeps i from being good.
func illLine(i backstay.Instance) string {
	line := i.ID + " is " + string(i.State)
	switch {
	case i.State == backstay.Waiting && len(i.WaitsFor) > 0:
		return line + " for " + strings.Join(i.WaitsFor, ", ")
	case i.Ready && i.Drained:
		return line + ", drained by an operator"
	case i.Ready:
		return line + ", and not ready for long enough yet"
	case readiness(i) != "":
		return line + ", not ready: " + readiness(i)
	case i.Because != "":
		return line + ", not ready: " + i.Because
	}
	return line + ", not ready"
}

// readiness returns what the probe that keeps i from being ready has last seen.
func readiness(i backstay.Instance) string {
	for _, p := range i.Probes {
		if !p.Good && p.Name != "liveness" && p.Output != "" {
			return p.Name + " " + p.Target + ": " + p.Output
		}
	}
	return ""
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// spell writes a span for people: 0.2s, 12.4s, 3m20s.
func spell(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%.1fs", max(d, 0).Seconds())
	}
	return d.Round(time.Second).String()
}

// asked says by what another deploy was superseded: by shop-d12 (apply by ann).
func (d Deploy) asked() string {
	if d.Why == "" || d.By == "" {
		return "by " + d.ID
	}
	return "by " + d.ID + " (" + d.Why + " by " + d.By + ")"
}
