package supervise

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// fakeRegistry is the blackboard and the proxies behind it.
type fakeRegistry struct {
	mu      sync.Mutex // guards all below
	all     map[string]Endpoint
	lines   []string
	acked   map[string]time.Time // since when every proxy knows that it gets nothing more
	drained map[string][2]bool   // drains that came back good: short, long
	left    map[string]time.Time // when Withdraw was first asked
	ackIn   time.Duration
	idleIn  time.Duration // after the acknowledgement
	longIn  time.Duration
	began   time.Time
}

func newFakeRegistry() *fakeRegistry {
	return &fakeRegistry{
		all: map[string]Endpoint{}, acked: map[string]time.Time{}, drained: map[string][2]bool{}, left: map[string]time.Time{},
		ackIn: time.Millisecond, idleIn: 5 * time.Millisecond, longIn: 20 * time.Millisecond, began: time.Now(),
	}
}

func (r *fakeRegistry) say(format string, args ...any) {
	r.lines = append(r.lines, fmt.Sprintf("%v ", time.Since(r.began))+fmt.Sprintf(format, args...))
}

func (r *fakeRegistry) Set(e Endpoint) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if was, ok := r.all[e.Instance]; ok && was.Drain {
		e.Drain = true // sticky, as in the real one
	}
	r.all[e.Instance] = e
	r.say("set %s ready=%v drain=%v starts=%d", e.Instance, e.Ready, e.Drain, e.Starts)
}

func (r *fakeRegistry) Withdraw(ctx context.Context, id string) (int, error) {
	r.mu.Lock()
	e := r.all[id]
	e.Drain = true
	r.all[id] = e
	in := r.ackIn
	if r.left[id].IsZero() {
		r.left[id] = time.Now()
	}
	r.mu.Unlock()
	select {
	case <-time.After(in):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.acked[id].IsZero() {
		r.acked[id] = time.Now()
	}
	r.say("withdrawn %s", id)
	return 1, nil
}

func (r *fakeRegistry) Drain(ctx context.Context, id string, long bool) error {
	r.mu.Lock()
	in := r.idleIn
	if long {
		in = r.longIn
	}
	if at := r.acked[id]; !at.IsZero() {
		in = max(0, in-time.Since(at))
	}
	r.mu.Unlock()
	select {
	case <-time.After(in):
	case <-ctx.Done():
		return ctx.Err()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	done := r.drained[id]
	done[map[bool]int{true: 1}[long]] = true
	r.drained[id] = done
	r.say("drained %s long=%v", id, long)
	return nil
}

func (r *fakeRegistry) Restore(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.all[id]
	e.Drain = false
	r.all[id] = e
	delete(r.acked, id)
	delete(r.left, id)
	delete(r.drained, id)
}

func (r *fakeRegistry) Remove(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.all, id)
	r.say("remove %s", id)
}

// idle says why a signal to id now would cut something off, or nothing.
func (r *fakeRegistry) idle(id string, short, long time.Duration) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	left, acked, done := r.left[id], r.acked[id], r.drained[id]
	switch {
	case left.IsZero():
		return "it was never withdrawn"
	case acked.IsZero() && time.Since(left) < withdrawWithin:
		return "the proxies have not acknowledged"
	case acked.IsZero() || acked.Sub(left) > withdrawWithin:
		acked = left.Add(withdrawWithin)
	}
	switch {
	case !done[0] && time.Since(acked) < short:
		return "requests are in flight"
	case !done[1] && time.Since(acked) < long:
		return "upgraded connections are open"
	}
	return ""
}

// ready returns the ids that proxies may send to.
func (r *fakeRegistry) ready() (ids []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, e := range r.all {
		if e.Ready && !e.Drain {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

func (r *fakeRegistry) told() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.lines, "\n")
}
