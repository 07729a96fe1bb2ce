package deploy

import (
	"slices"
	"strings"
	"time"

	"github.com/backstay/backstay"
)

// observe takes what has become of the instances of the new release since the
// last plan. With judge, one that failed inside min_ready is dealt with; it
// may send the deploy back.
func (p *planner) observe(judge bool) {
	p.forget()
	for k := range p.here {
		i := &p.here[k]
		if i.ID == "" || i.leaving {
			continue
		}
		m := p.remember(i.ID)
		if m.Gone { // decided before, perhaps by an agent that is dead
			p.stop(i, "replaced")
			continue
		}
		failure := p.follow(m, i.Instance)
		if failure == "" || !judge || p.d.From == 0 {
			continue
		}
		if m.Good {
			p.relapse(m, i.Instance, failure)
		} else {
			p.fail(m, i, failure)
		}
		if p.d.State != Rolling && p.d.State != Finishing {
			return
		}
	}
}

// forget drops members whose instances are gone.
func (p *planner) forget() {
	p.d.Members = slices.DeleteFunc(p.d.Members, func(m Member) bool {
		return !slices.ContainsFunc(p.Instances, func(i backstay.Instance) bool { return i.ID == m.ID })
	})
}

func (p *planner) remember(id string) *Member {
	for k := range p.d.Members {
		if p.d.Members[k].ID == id {
			return &p.d.Members[k]
		}
	}
	p.d.Members = append(p.d.Members, Member{ID: id})
	return &p.d.Members[len(p.d.Members)-1]
}

// follow brings m up to date and returns how i failed inside min_ready, or died
// after it was good, if it did since the last time.
func (p *planner) follow(m *Member, i backstay.Instance) (failure string) {
	dead, ready := ended(i), time.Time{}
	if i.Ready {
		ready = i.ReadySince
	}
	died, unready := dead > m.Dead, !m.Ready.IsZero() && ready.Sub(m.Ready).Abs() > grain
	was := *m
	m.Dead, m.Ready = max(m.Dead, dead), ready
	switch {
	case m.Good && died:
		return deathLine(i, was)
	case m.Good: // its life is supervise's business now
	case p.good(i), i.Ready && !p.Now.Before(ready.Add(p.Config.MinReady.Std())):
		m.Good = true
		p.d.Goods++
		p.d.Flakes = 0
		p.d.Deadline = time.Time{}
		p.say(goodLine(i, p.Config.MinReady.Std()))
	case died:
		return deathLine(i, was)
	case unready:
		return unreadyLine(i, was, p.Now)
	}
	return ""
}

// grain is how far apart two tellings of one moment may be: an agent that has
// adopted an instance knows when it got ready to the millisecond.
const grain = 2 * time.Millisecond

// ended returns how many runs of i have ended, as far as one can tell.
func ended(i backstay.Instance) int {
	switch i.State {
	case backstay.Crashed, backstay.Backoff, backstay.Failed:
		return max(i.Starts, 1)
	default:
		return max(i.Starts-1, 0)
	}
}

// fail judges the failure of i: back at once if none was ever good, else one
// more try.
func (p *planner) fail(m *Member, i *inst, failure string) {
	never := p.d.Goods == 0 && !p.d.Proven
	if !never && p.d.Flakes < p.Config.Retries {
		p.d.Flakes++
		m.Gone = true
		p.say(failure + "; replaced")
		p.stop(i, "replaced: "+failure)
		return
	}
	reason := failure + "; no instance of " + p.d.name(p.d.To) + " was ever good"
	if !never {
		reason = failure + "; " + plural(p.d.Flakes, "replacement") + " in this step before it"
	}
	p.give(reason, i.Instance)
}

// relapse judges the death of an instance that was good, while the deploy still
// runs: supervise starts it again, and that is that. One that does it again and
// again was good for min_ready by chance, and would hold the deploy up until its
// deadline, with fewer and fewer instances that serve.
func (p *planner) relapse(m *Member, i backstay.Instance, failure string) {
	if m.Fell++; m.Fell > p.Config.Retries {
		p.give(failure+"; it was good, and has ended "+plural(m.Fell, "time")+" since", i)
	}
}

// give ends the way forward, as on_failure says. ill is the instance in reason;
// its last lines are heard where they are not there yet.
func (p *planner) give(reason string, ill backstay.Instance) {
	p.d.LastLog, p.d.Ill = lastLog(ill), ""
	if mute(ill) {
		p.d.Ill = ill.ID
	}
	switch {
	case p.d.From == 0:
		p.become(Stuck, reason)
	case p.Config.OnFailure == "pause":
		p.become(Paused, reason)
	default:
		p.goBack(reason)
	}
}

// goBack begins the rollback to where the deploy came from.
func (p *planner) goBack(reason string) {
	if p.d.NoWay != "" {
		p.become(Stuck, reason+"; "+p.d.NoWay)
		return
	}
	p.d.Undone = true
	p.d.turn(p.Now, reason, p.Instances)
	p.steps = append(p.steps, Step{Do: Emit, Text: p.d.headline(p.Now)})
	p.split(p.dest())
}

// turn sends d back to where it came from. Traffic moves at once if something
// there serves.
func (d *Deploy) turn(now time.Time, reason string, instances []backstay.Instance) {
	d.Away = nil
	d.Swap = false
	from := backstay.ReleaseID(d.Service, d.From)
	for _, i := range instances {
		old := i.Release == from && (d.Kind != Restart || slices.Contains(d.Before, i.ID))
		d.Swap = d.Swap || old && serves(i)
		if !old {
			d.Away = append(d.Away, i.ID)
		}
	}
	d.State, d.Since, d.Reason, d.Deadline, d.Served, d.Waits = RollingBack, now, reason, time.Time{}, 0, ""
	d.say(now, d.headline(now))
}

// maxLog bounds the log lines kept with a reason.
const maxLog = 20

func lastLog(i backstay.Instance) []string {
	lines := i.LastLog
	if len(lines) == 0 {
		return nil
	}
	if over := len(lines) - maxLog; over > 0 {
		lines = lines[over:]
	}
	kept := make([]string, 0, len(lines))
	for _, l := range lines {
		kept = append(kept, strings.ToValidUTF8(l, "?"))
	}
	return kept
}
