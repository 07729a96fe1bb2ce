package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/backstay/backstay"
)

// errLost says that a release is to be started whose definition is gone.
var errLost = errors.New("its definition is lost")

// carry begins steps and reports whether any was done, and when to look again.
// Nothing here waits: what may block is done beside the owner.
func (s *service) carry(ctx context.Context, now time.Time, steps []Step) (acted bool, next time.Time) {
	var gate chan struct{} // closed once traffic has moved
	var moved []string
	for _, st := range steps {
		switch st.Do {
		case Start:
			if now.Before(s.startAfter) {
				next = sooner(next, s.startAfter)
				continue
			}
			s.start(ctx, st.Release)
		case Withdraw:
			gate, moved = make(chan struct{}), st.IDs
			s.withdraw(ctx, st.IDs, gate)
		case Stop:
			for _, id := range st.IDs {
				s.stop(ctx, id, s.releaseOf(id), st.Text, gate, slices.Contains(moved, id))
			}
		case Emit: // told already
			continue
		case Await:
			next = sooner(next, st.At)
			continue
		case Prune:
			s.prune()
			continue
		}
		acted = true
		s.d.metrics.did(st.Do)
	}
	return acted, next
}

// sooner returns the earlier of two times, of which zero is never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// start has the pool begin an instance.
func (s *service) start(ctx context.Context, seq int) {
	rel, known := s.rels[seq]
	s.starting[seq]++
	s.d.fly(ctx, func() func() {
		id, err := "", errLost
		if known {
			id, err = s.d.opt.Pool.Start(ctx, rel)
		}
		return func() { s.startedOr(seq, id, err) }
	})
}

// startedOr takes the end of a start.
func (s *service) startedOr(seq int, id string, err error) {
	if s.starting[seq]--; s.starting[seq] <= 0 {
		delete(s.starting, seq)
	}
	if err == nil {
		s.known[id] = true
		s.startsWell()
		return
	}
	now := s.d.opt.Now()
	s.startFails++
	s.startAfter = now.Add(again.Wait(s.startFails))
	if text := err.Error(); text != s.startError {
		s.startError = text
		s.show()
		s.tell(now, "start an instance of "+backstay.ReleaseID(s.name, seq)+": "+text+"; tried again")
		s.d.opt.Log.Warn("instance not started", "service", s.name, "release", seq, "err", err)
	}
}

// startsWell forgets that instances could not be started: one was, or none is to be.
func (s *service) startsWell() {
	if s.startFails > 0 {
		s.startFails, s.startError, s.startAfter = 0, "", time.Time{}
		s.show()
	}
}

// withdraw moves traffic away from ids in one swap and opens gate then.
func (s *service) withdraw(ctx context.Context, ids []string, gate chan struct{}) {
	s.d.fly(ctx, func() func() {
		defer close(gate)
		said, err := s.acked(ctx, ids)
		return func() {
			if err != nil {
				s.d.opt.Log.WarnContext(ctx, "traffic not moved in time", "service", s.name, "err", err)
			}
			s.tell(s.d.opt.Now(), fmt.Sprintf("traffic left %d at once: %s", len(ids), said))
		}
	})
}

// acked withdraws ids and says how that went.
func (s *service) acked(ctx context.Context, ids []string) (said string, err error) {
	ctx, cancel := context.WithTimeout(ctx, withdrawWithin)
	defer cancel()
	began := time.Now()
	acks, err := s.d.opt.Traffic.Withdraw(ctx, ids)
	took := time.Since(began)
	if err != nil {
		return fmt.Sprintf("not acknowledged within %s", spell(took)), err //nolint:wrapcheck // only looked at
	}
	return fmt.Sprintf("withdrawn (ack %d/%d in %dms)", acks, acks, took.Milliseconds()), nil
}

// stop has an instance leave: out of traffic first. after is opened when all
// traffic has moved, where it moves at once.
func (s *service) stop(ctx context.Context, id, release, why string, after chan struct{}, withdrawn bool) {
	l := &leave{release: release, busy: true}
	s.stopping[id] = l
	heard := s.unheard(id)
	s.d.fly(ctx, func() func() {
		if !pass(ctx, after) {
			return func() {} // the next Run tells it
		}
		said := ""
		if !withdrawn {
			said, _ = s.acked(ctx, []string{id})
			said += ", "
		}
		if !pass(ctx, heard) {
			return func() {}
		}
		before, counted := s.inFlight(ctx, id)
		err := s.d.opt.Pool.Stop(ctx, id, why)
		if err == nil && counted {
			s.d.drained(ctx, id)
			after, _ := s.inFlight(ctx, id)
			said += fmt.Sprintf("%d → %d in flight, ", before, after)
		}
		return func() { s.stoppedOr(id, l, said, err) }
	})
}

// inFlight counts the requests at an instance, if the balancers can tell.
func (s *service) inFlight(ctx context.Context, id string) (n int, counted bool) {
	f, counts := s.d.opt.Traffic.(inFlight)
	if !counts {
		return 0, false
	}
	ctx, cancel := context.WithTimeout(ctx, countWithin)
	defer cancel()
	n, err := f.InFlight(ctx, id)
	return n, err == nil
}

// drained returns once an instance that was told to leave no longer drains.
func (d *Deployer) drained(ctx context.Context, id string) {
	for {
		changed := d.opt.Pool.Changed()
		drains := false
		for _, i := range d.opt.Pool.Instances() {
			drains = drains || i.ID == id && i.State != backstay.Stopping && i.State != backstay.Stopped
		}
		if !drains {
			return
		}
		select {
		case <-changed:
		case <-time.After(tick): // a notice may be lost
		case <-ctx.Done():
			return
		}
	}
}

// releaseOf returns the release of an instance.
func (s *service) releaseOf(id string) string {
	for _, i := range s.instances {
		if i.ID == id {
			return i.Release
		}
	}
	return ""
}

// stoppedOr takes the answer of the pool.
func (s *service) stoppedOr(id string, l *leave, said string, err error) {
	l.said, l.busy = said, false
	if err == nil {
		l.failed = time.Time{}
		return
	}
	l.fails++
	l.failed = s.d.opt.Now()
	s.d.opt.Log.Warn("instance not stopped", "service", s.name, "instance", id, "err", err)
}
