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
	if p.Current != 0 {
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
		p.stopAll("stopped")
	case p.one, swap && served > 0:
		p.withdraw()
		p.stopSome(p.away, len(p.away), why, whoever)
	default:
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

// withdraw takes all others out of traffic in one swap, before any is stopped.
func (p *planner) withdraw() {
	var ids []string
	for _, i := range p.away {
		if serving(i) && i.ID != "" {
			ids = append(ids, i.ID)
		}
	}
	if len(ids) > 0 {
		p.steps = append(p.steps, Step{Do: Withdraw, IDs: ids})
	}
}
