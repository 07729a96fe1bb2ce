package deploy

import "time"

// back moves to the release that the deploy came from, or that a person asked
// for: no steps, no judging, no pauses.
func (p *planner) back() {
	if p.settle(p.d.Dest(), p.d.Swap, "rolled back: "+p.d.Reason) {
		p.backDone()
		return
	}
	served := number(p.here, serving)
	if served > p.d.Served {
		p.d.Served, p.d.Deadline = served, time.Time{}
	}
	p.d.Waits = ""
	if served < p.Replicas {
		p.d.Waits = "an instance of " + p.d.name(p.d.Dest()) + " to be ready"
	}
	// While away ones must be gone first, their drain is not the step's fault.
	p.deadline(served < p.Replicas && (!p.one || len(p.away) == 0))
	if !p.d.Deadline.IsZero() && !p.Now.Before(p.d.Deadline) {
		reason, _ := p.worst()
		p.become(Stuck, p.d.Reason+"; and back at "+p.d.name(p.d.Dest())+": "+reason)
	}
}

func (p *planner) backDone() {
	if p.d.Kind == Rollback {
		p.become(Done, "")
		return
	}
	p.become(RolledBack, "")
}

// steady keeps as many instances of the release in force as are wanted.
func (p *planner) steady() {
	if p.Current != 0 || p.Replicas == 0 {
		p.settle(p.Current, false, "not of the release in force")
	}
}

// settle brings all to one release and reports whether that is reached. With
// swap, traffic leaves all others in one go as soon as one of it serves; else
// they go as it comes. What does not serve goes at once.
func (p *planner) settle(dest int, swap bool, why string) bool {
	served := number(p.here, serving)
	switch {
	case p.Replicas == 0:
		p.stopAll()
	case p.one, swap && served > 0:
		p.moveFrom(why, whoever)
	default:
		if two := p.third(dest); two != nil {
			p.moveFrom(why, two)
		}
		p.stopSome(p.away, len(p.away), why, func(i inst) bool { return !i.serves })
		p.stopSome(p.away, number(p.away, serving)-max(0, p.Replicas-p.missing-served), why, whoever)
	}
	p.surplus()
	n := min(p.Replicas-number(p.here, staying), p.Replicas+p.surge-number(p.here, staying)-number(p.away, staying))
	if p.one {
		n = min(n, p.Replicas-len(p.here)-len(p.away))
		if len(p.away) > 0 {
			n = 0
		}
	}
	p.start(dest, n)
	return served >= p.Replicas && len(p.away) == 0 && number(p.here, isAway) == 0 && p.starts() == 0
}

// third returns which of the others leave at once, where instances of two other
// releases serve and those of dest are to join them: the ones that the deploy
// had brought. It is nil where there is no such case.
func (p *planner) third(dest int) func(inst) bool {
	releases := map[string]bool{}
	for _, i := range p.away {
		if serving(i) && i.Release != p.d.name(dest) {
			releases[i.Release] = true
		}
	}
	if len(releases) < 2 || !p.d.Live() {
		return nil
	}
	last := p.d.To
	if p.d.Kind == Rollback {
		last = p.d.From
	}
	return func(i inst) bool { return i.Release == p.d.name(last) }
}

// moveFrom takes some of the others out of traffic in one swap, and stops them
// then.
func (p *planner) moveFrom(why string, these func(inst) bool) {
	var ids []string
	for _, i := range p.away {
		if these(i) && serving(i) && i.ID != "" {
			ids = append(ids, i.ID)
		}
	}
	if len(ids) > 0 {
		p.steps = append(p.steps, Step{Do: Withdraw, IDs: ids})
	}
	p.stopSome(p.away, len(p.away), why, these)
}
