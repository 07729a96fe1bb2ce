package deploy

import (
	"context"
	"time"

	"github.com/backstay/backstay"
)

// hearWithin bounds the wait for the last lines of an instance that has died.
// They are there within milliseconds; those of a disk that hangs hold up the end
// of that instance and the report, and no traffic.
const hearWithin = time.Second

// hearing is the wait for the last lines of the instance in a reason: that it
// died is known a moment before they are read. It is stopped after that, for
// they go with it.
type hearing struct {
	deploy, instance string
	over             chan struct{}
}

// hear begins to wait for the last lines that the newest deploy lacks.
func (s *service) hear(ctx context.Context) {
	d := s.rec.newest()
	if d.Ill == "" || s.hearing != nil && s.hearing.deploy == d.ID && s.hearing.instance == d.Ill {
		return
	}
	h := &hearing{deploy: d.ID, instance: d.Ill, over: make(chan struct{})}
	s.hearing = h
	s.d.fly(ctx, func() func() {
		lines := s.d.lastWords(ctx, h.instance)
		return func() { s.heard(h, lines) }
	})
}

// heard takes the lines, unless the deploy has another reason by now.
func (s *service) heard(h *hearing, lines []string) {
	close(h.over)
	if s.hearing == h {
		s.hearing = nil
	}
	s.amend(h.deploy, func(d *Deploy) {
		if d.Ill == h.instance {
			d.LastLog, d.Ill = lines, ""
		}
	})
	s.show()
}

// unheard returns what is closed once the last lines of instance id are there, or
// given up; nil if nobody waits for them.
func (s *service) unheard(id string) <-chan struct{} {
	if s.hearing == nil || s.hearing.instance != id {
		return nil
	}
	return s.hearing.over
}

// lastWords returns the last lines of instance id, once they have been read.
func (d *Deployer) lastWords(ctx context.Context, id string) []string {
	ctx, cancel := context.WithTimeout(ctx, hearWithin)
	defer cancel()
	for {
		changed := d.opt.Pool.Changed()
		i, here := d.instance(id)
		if !here || !mute(i) {
			return lastLog(i)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

func (d *Deployer) instance(id string) (found backstay.Instance, here bool) {
	for _, i := range d.opt.Pool.Instances() {
		if i.ID == id {
			return i, true
		}
	}
	return found, false
}

// mute reports whether i has died and its last lines are not read yet.
func mute(i backstay.Instance) bool { return i.Last != nil && i.LastLog == nil }

// pass waits until gate is closed, and reports whether it is; a nil one is open.
func pass(ctx context.Context, gate <-chan struct{}) bool {
	if gate == nil {
		return true
	}
	select {
	case <-gate:
		return true
	case <-ctx.Done():
		return false
	}
}
