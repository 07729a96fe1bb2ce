package supervise

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/keeperwire"
	"github.com/backstay/backstay/internal/restart"
)

// fakeKeeper is a keeper by the rules of its wire: idempotent requests, one tree
// of processes for a slot, whose end is that of its main process and later that
// of the rest, the real restart machine, events in order. Its processes
// are only said to run.
type fakeKeeper struct {
	t  testing.TB
	mu sync.Mutex // guards all below

	slots  map[string]*fakeSlot
	began  time.Time
	pid    int32
	feed   func(keeperwire.Event) // whoever listens, and acknowledges
	queue  []keeperwire.Event
	pumped *sync.Cond
	ended  bool
	lines  []string // requests and what came of them
	block  chan struct{}
	refuse map[string]int // requests that fail, by name: how often

	onSignal func(id string) // a process that has served is told to end
}

func newFakeKeeper(tb testing.TB) *fakeKeeper {
	tb.Helper()
	k := &fakeKeeper{t: tb, slots: map[string]*fakeSlot{}, began: time.Now(), pid: 1000, refuse: map[string]int{}}
	k.pumped = sync.NewCond(&k.mu)
	go k.pump()
	return k
}

// end stops the goroutine that hands events on.
func (k *fakeKeeper) end() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ended = true
	k.pumped.Broadcast()
}

func (k *fakeKeeper) pump() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for !k.ended {
		if len(k.queue) == 0 || k.feed == nil {
			k.pumped.Wait()
			continue
		}
		ev, feed := k.queue[0], k.feed
		k.queue = k.queue[1:]
		k.mu.Unlock()
		feed(ev)
		k.mu.Lock()
	}
}

// listen is an agent that connects: what it missed is in the slots it gets.
func (k *fakeKeeper) listen(feed func(keeperwire.Event)) []keeperwire.Slot {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.feed, k.queue = feed, nil
	k.pumped.Broadcast()
	var out []keeperwire.Slot
	for _, id := range slices.Sorted(maps.Keys(k.slots)) {
		out = append(out, k.slots[id].slot)
	}
	return out
}

func (k *fakeKeeper) now() time.Duration { return time.Since(k.began) + time.Second }

func (k *fakeKeeper) say(format string, args ...any) {
	k.lines = append(k.lines, fmt.Sprintf("%v ", time.Since(k.began))+fmt.Sprintf(format, args...))
}

// ask is what each request goes through: a keeper that is away, one that refuses.
func (k *fakeKeeper) ask(ctx context.Context, what, id string) (*fakeSlot, func(), error) {
	k.mu.Lock()
	block := k.block
	k.mu.Unlock()
	if block != nil {
		select {
		case <-block:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
	k.mu.Lock()
	if ctx.Err() != nil {
		k.mu.Unlock()
		return nil, nil, ctx.Err()
	}
	if k.refuse[what] > 0 {
		k.refuse[what]--
		k.mu.Unlock()
		return nil, nil, errors.New("keeper: " + what + ": no answer")
	}
	s := k.slots[id]
	if s == nil && what != "put" {
		k.mu.Unlock()
		return nil, nil, fmt.Errorf("keeper: %s %s: %w", what, id, &keeperwire.Msg{Kind: keeperwire.Err, Code: "no_slot", Text: "there is no " + id})
	}
	return s, k.mu.Unlock, nil
}

func (k *fakeKeeper) Put(ctx context.Context, spec keeperwire.Spec) error {
	s, unlock, err := k.ask(ctx, "put", spec.ID)
	if err != nil {
		return err
	}
	defer unlock()
	if s == nil {
		s = &fakeSlot{slot: keeperwire.Slot{ID: spec.ID}, program: program{ends: 10 * time.Millisecond}}
		k.slots[spec.ID] = s
	}
	if s.slot.SpecHash != spec.Hash() {
		k.say("put %s", spec.ID)
	}
	s.spec, s.slot.Meta, s.slot.SpecHash = spec, spec.Meta, spec.Hash()
	return nil
}

func (k *fakeKeeper) Start(ctx context.Context, id string) error {
	s, unlock, err := k.ask(ctx, "start", id)
	if err != nil {
		return err
	}
	defer unlock()
	k.step(s, restart.Start)
	return nil
}

func (k *fakeKeeper) Stop(ctx context.Context, id, reason string) error {
	s, unlock, err := k.ask(ctx, "stop", id)
	if err != nil {
		return err
	}
	defer unlock()
	if s.machine.Wanted || !s.busy() {
		k.step(s, restart.Stop)
	}
	if s.slot.PID == 0 || s.asked {
		return nil
	}
	s.killAt = time.Now().Add(time.Duration(s.spec.GraceMS) * time.Millisecond)
	if k.onSignal != nil && s.served {
		k.onSignal(id)
	}
	k.say("signal %s", id)
	s.asked, s.reason = true, reason
	k.become(s, keeperwire.Stopping)
	if !s.deaf {
		k.endLater(s, s.ends, 0, 0)
	}
	k.endLater(s, time.Duration(s.spec.GraceMS)*time.Millisecond, 0, 9)
	return nil
}

func (k *fakeKeeper) Kill(ctx context.Context, id, reason string, wanted bool) error {
	s, unlock, err := k.ask(ctx, "kill", id)
	if err != nil {
		return err
	}
	defer unlock()
	if !wanted && s.machine.Wanted {
		k.step(s, restart.Stop)
	}
	if s.slot.PID == 0 {
		return nil
	}
	s.asked, s.killed, s.reason = true, true, reason
	k.say("kill %s: %s", id, reason)
	k.become(s, keeperwire.Stopping)
	k.endLater(s, time.Millisecond, 0, 9)
	return nil
}

func (k *fakeKeeper) Remove(ctx context.Context, id string) error {
	s, unlock, err := k.ask(ctx, "remove", id)
	if err != nil {
		return err
	}
	defer unlock()
	if s.busy() || s.machine.Wanted || s.forever {
		return fmt.Errorf("keeper: remove %s: %w", id, &keeperwire.Msg{Kind: keeperwire.Err, Code: "not_stopped", Text: id + " runs"})
	}
	k.say("remove %s", id)
	delete(k.slots, id)
	return nil
}

func (k *fakeKeeper) SetReady(ctx context.Context, id string, ready bool) error {
	s, unlock, err := k.ask(ctx, "ready", id)
	if err != nil {
		return err
	}
	defer unlock()
	if s.slot.PID == 0 {
		return nil
	}
	s.slot.Ready = ready
	s.served = s.served || ready
	ev := restart.NotReady
	if ready {
		ev = restart.Ready
	}
	s.machine.Step(s.spec.Restart, ev, k.now(), 0.5)
	return nil
}

func (k *fakeKeeper) SetNote(ctx context.Context, id string, note []byte) error {
	s, unlock, err := k.ask(ctx, "note", id)
	if err != nil {
		return err
	}
	defer unlock()
	if len(note) > 256 {
		k.t.Errorf("note of %d bytes", len(note))
	}
	s.slot.Note = slices.Clone(note)
	return nil
}

func (k *fakeKeeper) Probe(ctx context.Context, p keeperwire.Probe) error {
	s, unlock, err := k.ask(ctx, "probe", p.ID)
	if err != nil {
		return err
	}
	defer unlock()
	if s.slot.PID == 0 {
		return errors.New("keeper: probe: it does not run")
	}
	if s.silent {
		return nil
	}
	said, bad := s.bad[p.Name]
	time.AfterFunc(time.Millisecond, func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		ev := keeperwire.Event{Kind: keeperwire.EvProbed, N: p.N, Exit: keeperwire.Exit{Known: true}, Text: []byte("fine")}
		if bad {
			ev.Exit.Code, ev.Text = 1, []byte(said)
		}
		if !k.ended {
			k.tell(s, ev)
		}
	})
	return nil
}

func (k *fakeKeeper) slot(id string) (keeperwire.Slot, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if s := k.slots[id]; s != nil {
		return s.slot, true
	}
	return keeperwire.Slot{}, false
}

func (k *fakeKeeper) told() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return strings.Join(k.lines, "\n")
}

// away has every request wait until the function it returns is called.
func (k *fakeKeeper) away() (back func()) {
	ch := make(chan struct{})
	k.mu.Lock()
	defer k.mu.Unlock()
	k.block = ch
	return func() {
		k.mu.Lock()
		k.block = nil
		k.mu.Unlock()
		close(ch)
	}
}
