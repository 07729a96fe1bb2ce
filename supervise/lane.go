package supervise

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/internal/backoff"
	"github.com/backstay/backstay/internal/keeperwire"
)

// again is how often the keeper is asked again that could not do what it was
// asked: it is back within milliseconds when it dies.
var again = backoff.Doubling{Min: 50 * time.Millisecond, Max: 5 * time.Second}

// quiet is how many refusals pass without a word: a slot cannot be removed while
// the last of its tree is dying.
const quiet = 3

// putTries bounds attempts to hand over a changed policy: where its secrets are
// gone it cannot be resolved, and runs on under the old one.
const putTries = 5

// lane is what the keeper is still to be asked about one instance, in order, one
// at a time. It belongs to the owner. It holds at most one of each kind.
type lane struct {
	queue []effect
	now   *effect // being asked
	stop  context.CancelFunc

	rel  *backstay.Release
	spec *keeperwire.Spec // resolved for exec probes; nil: not yet
	put  time.Time        // when the slot was last put

	chain    int             // of chainCtx
	chainCtx context.Context //nolint:containedctx // of one way out
	endChain context.CancelFunc

	noted []chan struct{} // who waits for the last note to be kept
}

func (s *Supervisor) lane(id string) *lane {
	l := s.lanes[id]
	if l == nil {
		l = &lane{}
		s.lanes[id] = l
	}
	return l
}

// push adds e, in place of what it makes superfluous.
func (s *Supervisor) push(m *machine, e effect) {
	l := s.lane(m.id)
	l.queue = slices.DeleteFunc(l.queue, func(old effect) bool { return supersedes(e.do, old.do) })
	if i := slices.IndexFunc(l.queue, func(old effect) bool { return old.do == e.do }); i >= 0 {
		l.queue[i] = e
	} else {
		l.queue = append(l.queue, e)
	}
	if l.now != nil && supersedes(e.do, l.now.do) {
		l.stop()
	}
	s.launch(m.id, l)
}

// supersedes reports whether old need not be done when next is to be.
func supersedes(next, old do) bool {
	switch next {
	case doStop:
		return old == doStart || old == doKill || old == doReady || old == doPut || old == doRemove
	case doRemove:
		return old == doStart || old == doKill || old == doReady || old == doPut
	default:
		return false
	}
}

// drop forgets a kill that was meant for a run that is over.
func (l *lane) drop(what do) {
	l.queue = slices.DeleteFunc(l.queue, func(e effect) bool { return e.do == what })
	if l.now != nil && l.now.do == what {
		l.stop()
	}
}

// launch asks what is next, unless something is being asked.
func (s *Supervisor) launch(id string, l *lane) {
	m := s.fleet.machines[id]
	if l.now != nil || len(l.queue) == 0 || m == nil {
		return
	}
	e := l.queue[0]
	l.queue = l.queue[1:]
	l.now = &e
	ask, tries := s.asking(m, l, e)
	this, cancel := context.WithCancel(s.ctx)
	l.stop = cancel
	s.spawn(func(ctx context.Context) {
		defer cancel()
		err := s.insist(this, id, e, ask, tries)
		broken := err != nil && ctx.Err() != nil                                  // by the end of Run: the next one makes it good
		s.inbox.post(func(now time.Time) { s.asked(now, id, l, e, err, broken) }) //nolint:contextcheck // it hangs on Run's
	})
}

// insist asks until it is done, forbidden or pointless.
func (s *Supervisor) insist(ctx context.Context, id string, e effect, ask func(context.Context) error, tries int) error {
	for n := 1; ; n++ {
		err := ask(ctx)
		if err == nil || noSlot(err) || ctx.Err() != nil || n == tries {
			return err
		}
		if n == quiet {
			s.opt.Log.WarnContext(ctx, "keeper refuses, asking on", "instance", id, "what", doNames[e.do], "why", err.Error())
		}
		select {
		case <-time.After(again.Wait(n)):
		case <-ctx.Done():
			return err
		}
	}
}

// asking returns how e is asked. It is called by the owner; what it returns is not.
func (s *Supervisor) asking(m *machine, l *lane, e effect) (ask func(context.Context) error, tries int) {
	k, id := s.opt.Keeper, m.id
	switch e.do {
	case doPut:
		return s.putting(m, l), putTries
	case doStart:
		put := s.putting(m, l)
		return func(ctx context.Context) error {
			err := k.Start(ctx, id)
			if !noSlot(err) {
				return err
			}
			if err := put(ctx); err != nil {
				return err
			}
			return k.Start(ctx, id)
		}, 0
	case doStop:
		return func(ctx context.Context) error { return k.Stop(ctx, id, e.reason) }, 0
	case doKill:
		return func(ctx context.Context) error { return k.Kill(ctx, id, e.reason, true) }, 0
	case doRemove:
		return func(ctx context.Context) error { return k.Remove(ctx, id) }, 0
	case doReady:
		return func(ctx context.Context) error { return k.SetReady(ctx, id, e.yes) }, 0
	case doNote:
		return func(ctx context.Context) error { return k.SetNote(ctx, id, e.note.encode()) }, 0
	default:
		panic("supervise: the keeper does not do " + e.String())
	}
}

// putting returns what hands the keeper m as it is now. A release that nobody
// knows leaves the slot as it is.
func (s *Supervisor) putting(m *machine, l *lane) func(context.Context) error {
	id, made, conf, rel := m.id, m.meta, m.conf, l.rel
	made.Ports = maps.Clone(made.Ports)
	l.spec = nil
	return func(ctx context.Context) error {
		if rel == nil {
			known, ok := s.opt.Release(made.Release)
			if !ok {
				return fmt.Errorf("put %s: release %q is not known any more", id, made.Release)
			}
			rel = &known
		}
		spec, err := s.resolve(*rel, id, &made, conf)
		if err != nil {
			return err
		}
		return s.opt.Keeper.Put(ctx, spec)
	}
}

// asked takes the keeper's answer to e and asks what is next.
func (s *Supervisor) asked(now time.Time, id string, l *lane, e effect, err error, broken bool) {
	l.now = nil
	m := s.fleet.machines[id]
	if m == nil || s.lanes[id] != l {
		return
	}
	if err != nil && !noSlot(err) {
		l.refused(e, broken)
		if e.do == doPut && !broken {
			s.opt.Log.Warn("policy not changed", "instance", id, "why", err.Error())
		}
		s.launch(id, l)
		return
	}
	switch e.do {
	case doPut:
		l.put = now
	case doStop:
		if err != nil {
			m.lost(now)
		} else {
			m.stopTold(now)
		}
	case doRemove:
		m.removed(now)
	default:
	}
	s.fleet.touch(m)
	l.tellNoted()
	s.launch(id, l)
}

// refused keeps what was broken off, unless something newer waits.
func (l *lane) refused(e effect, broken bool) {
	newer := slices.ContainsFunc(l.queue, func(q effect) bool { return q.do == e.do || supersedes(q.do, e.do) })
	if broken && !newer {
		l.queue = slices.Insert(l.queue, 0, e)
	}
}

// waitForNote closes ch once all notes that are on their way are kept.
func (l *lane) waitForNote(ch chan struct{}) {
	l.noted = append(l.noted, ch)
	l.tellNoted()
}

func (l *lane) noting() bool {
	return l.now != nil && l.now.do == doNote || slices.ContainsFunc(l.queue, func(e effect) bool { return e.do == doNote })
}

// tellNoted tells those who wait, if no note is left to be written.
func (l *lane) tellNoted() {
	if l.noting() {
		return
	}
	for _, ch := range l.noted {
		close(ch)
	}
	l.noted = nil
}

// end lets go of all that waits for the lane.
func (l *lane) end() {
	l.queue = nil
	if l.now != nil {
		l.stop()
	}
	if l.endChain != nil {
		l.endChain()
	}
	l.tellNoted()
}
