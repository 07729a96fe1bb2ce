package deploy

import (
	"time"

	"github.com/backstay/backstay"
)

// roll moves from the old release to the new one.
func (p *planner) roll() {
	if p.Replicas == 0 {
		p.end()
		return
	}
	if p.observe(true); p.moved() {
		return
	}
	if p.late(); p.moved() {
		return
	}
	if p.d.Strategy == "recreate" {
		p.recreate()
	} else {
		p.rolling()
	}
	p.surplus()
	p.clock()
	p.finish()
}

// moved carries on in the state that a judgement has led to.
func (p *planner) moved() bool {
	switch p.d.State {
	case Rolling, Finishing:
		return false
	case RollingBack:
		p.back()
	default:
	}
	return true
}

// rolling adds new ones within surge and stops old ones whose successors are
// good.
func (p *planner) rolling() {
	if p.strays() {
		return
	}
	// With surge an old one leaves when its successor is good. So if nothing is
	// there the host has gone down: what is known to be good comes back first.
	if p.surge > 0 && p.d.Kind == Roll && p.d.Goods == 0 {
		if p.revive(); p.starts() > 0 {
			return
		}
	}
	p.retire()
	if p.surge > 0 && p.d.Goods == 0 {
		p.cover()
	}
	fresh, old := number(p.here, staying), number(p.away, staying)
	n := min(p.Replicas-fresh, p.Replicas+p.surge-fresh-old-p.starts())
	if p.one {
		n = min(n, p.Replicas-len(p.here)-len(p.away))
	}
	p.start(p.d.To, n)
}

// cover starts what is missing, after scaling up, of the release in force, where
// that serves: room for requests is wanted now, and the new release has not shown
// yet that it is good for them.
func (p *planner) cover() {
	from := p.d.name(p.d.From)
	serves := number(p.away, func(i inst) bool { return i.Release == from && serving(i) })
	if p.one || p.d.Kind != Roll || serves == 0 || p.d.NoWay != "" {
		return
	}
	good := 0
	for _, m := range p.d.Members {
		if m.Good && !m.Gone {
			good++
		}
	}
	old, all := number(p.away, staying), number(p.here, staying)+number(p.away, staying)
	p.start(p.d.From, min(p.Replicas-old-good, p.Replicas+p.surge-all))
}

// retire stops old instances: as many as have successors, and without surge as
// many as may be missing. The ill ones go first, so that an old release that is
// ill all over never stands in the way.
func (p *planner) retire() {
	good, fresh, old := number(p.here, isGood), number(p.here, staying), number(p.away, staying)
	missing := p.missing
	if p.surge > 0 {
		missing = 0
	}
	n := old - max(0, p.Replicas-missing-good)
	room := drainFactor*max(p.surge, missing) - number(p.away, isAway)
	n = min(n, max(room, old+fresh-p.Replicas-p.surge))
	for k := range p.away {
		i := &p.away[k]
		if n <= 0 {
			return
		}
		if i.leaving || i.ID == "" || i.serves && number(p.away, serving)+good-1 < p.Replicas-p.missing {
			continue
		}
		p.stop(i, "replaced by "+p.d.name(p.d.To))
		n--
	}
}

// strays brings back what a deploy that was superseded had begun: a third
// release takes no traffic while two do. Where nothing of From serves, the
// strays take its place.
func (p *planner) strays() bool {
	from := backstay.ReleaseID(p.Service, p.d.From)
	isStray := func(i inst) bool { return i.Release != from && i.Release != p.d.name(p.d.To) }
	if number(p.away, isStray) == 0 || p.d.From == 0 || p.d.NoWay != "" {
		return false
	}
	p.stopSome(p.away, len(p.away), "superseded", func(i inst) bool { return isStray(i) && !i.serves })
	served := number(p.away, func(i inst) bool { return serving(i) && !isStray(i) })
	takes := func(i inst) bool { return serving(i) && isStray(i) }
	if served == 0 {
		if number(p.away, takes) > 0 {
			p.stopSome(p.away, len(p.away), "superseded", func(i inst) bool { return !i.serves })
		}
		return false
	}
	p.stopSome(p.away, number(p.away, takes)-max(0, p.Replicas-p.missing-served), "superseded", isStray)
	if number(p.away, takes) == 0 {
		return false
	}
	p.held = true
	kept := number(p.away, func(i inst) bool { return staying(i) && !isStray(i) })
	all := number(p.away, staying) + number(p.here, staying)
	p.start(p.d.From, min(p.Replicas-kept, p.Replicas+p.surge-all))
	return true
}

// recreate stops all old ones, waits until they are certainly gone, and starts
// the new ones.
func (p *planner) recreate() {
	p.stopSome(p.away, len(p.away), "replaced by "+p.d.name(p.d.To), whoever)
	if len(p.away) == 0 {
		p.start(p.d.To, p.Replicas-len(p.here))
	}
}

// surplus stops new ones above what is wanted, after scaling down.
func (p *planner) surplus() {
	p.stopSome(p.here, number(p.here, staying)-p.Replicas, "scaled down", whoever)
}

// clock runs the deadline of a step while an instance is waited for: not while
// the roll only waits for old ones to drain.
func (p *planner) clock() {
	p.d.Waits = ""
	pending := p.held || p.starts() > 0
	for _, i := range p.here {
		if isGood(i) || i.leaving {
			continue
		}
		pending = true
		if p.d.Waits == "" && i.ID != "" {
			p.d.Waits = i.ID + " to be ready for " + p.Config.MinReady.String()
		}
		if i.serves {
			p.await(i.ReadySince.Add(p.Config.MinReady.Std()))
		}
	}
	if number(p.here, isGood) >= p.Replicas {
		pending = false
	}
	p.deadline(pending)
	if p.d.Waits == "" && number(p.away, isAway) > 0 {
		p.d.Waits = plural(number(p.away, isAway), "old instance") + " to drain and stop"
	}
}

// starts counts the instances begun by this plan.
func (p *planner) starts() (n int) {
	for _, s := range p.steps {
		if s.Do == Start {
			n++
		}
	}
	return n
}

// deadline lets the clock of the step run, or stops it.
func (p *planner) deadline(run bool) {
	switch {
	case !run:
		p.d.Deadline = time.Time{}
	case p.d.Deadline.IsZero():
		p.d.Deadline = p.Now.Add(p.Config.ProgressDeadline.Std())
	}
	p.await(p.d.Deadline)
}

// late gives the step up when its time is over.
func (p *planner) late() {
	if p.d.Deadline.IsZero() || p.Now.Before(p.d.Deadline) {
		return
	}
	reason, ill := p.worst()
	p.give("no progress within "+p.Config.ProgressDeadline.String()+": "+reason, ill)
}

// worst says what keeps the least useful of the new ones, and which that is.
func (p *planner) worst() (reason string, ill backstay.Instance) {
	for _, i := range p.here {
		if !isGood(i) && !i.leaving && i.ID != "" {
			return illLine(i.Instance), i.Instance
		}
	}
	reason = "no instance of " + p.d.name(p.d.Dest()) + " could be started"
	if p.StartError != "" {
		reason += ": " + p.StartError
	}
	return reason, ill
}

// finish ends the deploy when the new release serves and nothing else is left.
func (p *planner) finish() {
	if number(p.here, isGood) < p.Replicas || number(p.away, staying) > 0 || p.starts() > 0 {
		return
	}
	if len(p.away) > 0 || number(p.here, isAway) > 0 {
		if p.d.State == Rolling && number(p.away, inTraffic) == 0 {
			p.become(Finishing, "")
			p.clock()
		}
		return
	}
	p.become(Done, "")
}

// end stops everything: nothing is wanted any more. A deploy that had found its
// release good is over, another one never was.
func (p *planner) end() {
	p.observe(false)
	p.stopAll()
	if len(p.here)+len(p.away) > 0 {
		return
	}
	if p.d.Goods > 0 {
		p.become(Done, "")
		return
	}
	p.become(Superseded, "the service was stopped before an instance of "+p.d.name(p.d.To)+" was good")
}

// stopAll ends every instance: none is wanted.
func (p *planner) stopAll() {
	p.stopSome(p.here, len(p.here), "stopped", whoever)
	p.stopSome(p.away, len(p.away), "stopped", whoever)
}

// pause holds what is there, and watches without judging.
func (p *planner) pause() {
	p.observe(false)
	if p.Replicas == 0 {
		p.stopAll()
	}
	p.revive()
	if p.starts() == 0 {
		p.cover()
	}
	over := p.d.Since.Add(pausedAtMost)
	if p.d.From == 0 || p.d.NoWay != "" {
		return
	}
	if p.Now.Before(over) {
		p.await(over)
		return
	}
	p.goBack("paused for " + backstay.Duration(pausedAtMost).String() + ", and nobody came")
	p.back()
}

// revive starts the release in force where no instance is left: after a reboot,
// or a stop and a start, a deploy that waits for a person must not keep the
// service down.
func (p *planner) revive() {
	if p.Current != 0 && len(p.here)+len(p.away) == 0 {
		p.start(p.Current, p.Replicas)
	}
}

// stuck acts no more, but for a stop. The first release of a service may still
// get good: it has nothing to go back to, and is waited for.
func (p *planner) stuck() {
	if p.Replicas == 0 {
		p.stopAll()
		return
	}
	p.revive()
	if p.d.From != 0 {
		return
	}
	p.observe(false)
	p.start(p.d.To, p.Replicas-number(p.here, staying))
	p.surplus()
	for _, i := range p.here {
		if i.serves && !i.good {
			p.await(i.ReadySince.Add(p.Config.MinReady.Std()))
		}
	}
	if number(p.here, isGood) >= p.Replicas {
		p.d.Reason, p.d.LastLog, p.d.Ill = "", nil, ""
		p.become(Done, "")
	}
}
