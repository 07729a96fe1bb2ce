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
	"testing/synctest"
	"time"

	"github.com/backstay/backstay"
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

type fakeSlot struct {
	slot    keeperwire.Slot
	spec    keeperwire.Spec
	machine restart.Machine
	reason  string
	asked   bool
	killed  bool
	served  bool // was ready in this run
	rest    bool // its main process has ended, its tree has not
	crashed bool // how it has
	killAt  time.Time

	program
}

// program is how the processes of a slot behave.
type program struct {
	bad     map[string]string // probes that fail, with what they say
	deaf    bool              // to the stop signal
	ends    time.Duration     // after the signal
	child   time.Duration     // how long the rest outlives the main process, if it is not killed
	silent  bool              // probes get no answer from the keeper
	forever bool              // its slot cannot be removed
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

func (k *fakeKeeper) step(s *fakeSlot, ev restart.Event) {
	eff := s.machine.Step(s.spec.Restart, ev, k.now(), 0.5)
	s.slot.Failures, s.slot.NextStart = s.machine.Failures, int64(s.machine.Due)
	switch eff.Do {
	case restart.StartNow:
		k.run(s)
	case restart.StartAt:
		k.become(s, keeperwire.Backoff)
		k.later(s, eff.At)
	case restart.FailUntil:
		k.become(s, keeperwire.Failed)
		k.later(s, eff.At)
	case restart.BeStopped:
		k.become(s, keeperwire.Stopped)
	case restart.BeCompleted:
		k.become(s, keeperwire.Completed)
	case restart.Nothing:
	}
}

func (k *fakeKeeper) later(s *fakeSlot, at time.Duration) {
	if at == 0 {
		return
	}
	time.AfterFunc(at-k.now(), func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if !k.ended && !s.busy() {
			k.step(s, restart.Tick)
		}
	})
}

func (k *fakeKeeper) become(s *fakeSlot, state keeperwire.State) {
	if s.slot.State == state && state == keeperwire.Stopped {
		return
	}
	s.slot.State = state
	k.tell(s, keeperwire.Event{Kind: keeperwire.EvState})
}

func (k *fakeKeeper) run(s *fakeSlot) {
	if s.busy() {
		k.t.Errorf("two trees for %s", s.slot.ID)
	}
	k.pid++
	s.slot.PID, s.slot.Starts, s.slot.State = k.pid, s.slot.Starts+1, keeperwire.Running
	s.slot.Started, s.slot.StartedAt, s.slot.Ready = int64(k.now()), time.Now().UnixNano(), false
	s.asked, s.killed, s.served, s.reason, s.killAt = false, false, false, "", time.Time{}
	s.machine.Step(s.spec.Restart, restart.Started, k.now(), 0.5)
	k.say("run %s %d", s.slot.ID, s.slot.Starts)
	k.tell(s, keeperwire.Event{Kind: keeperwire.EvStarted, PID: k.pid})
}

func (k *fakeKeeper) tell(s *fakeSlot, ev keeperwire.Event) {
	ev.ID, ev.At, ev.Boot, ev.State = s.slot.ID, time.Now().UnixNano(), int64(k.now()), s.slot.State
	ev.Starts, ev.Failures, ev.NextStart = s.slot.Starts, s.slot.Failures, s.slot.NextStart
	k.queue = append(k.queue, ev)
	k.pumped.Broadcast()
}

// exit ends the process of id: by itself, or as the keeper had it.
func (k *fakeKeeper) exit(id string, code, signal int32) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if s := k.slots[id]; s != nil {
		k.ended2(s, code, signal)
	}
}

func (k *fakeKeeper) ended2(s *fakeSlot, code, signal int32) {
	if s.slot.PID == 0 {
		return
	}
	x := keeperwire.Exit{
		At: time.Now().UnixNano(), PID: s.slot.PID, Known: true, Code: code, Signal: signal, Asked: s.asked, Reason: s.reason,
	}
	s.crashed = code != 0 || signal != 0 || s.asked && s.machine.Wanted
	s.slot.Last, s.slot.State = x, keeperwire.Stopping
	k.say("end %s %d: %s", s.slot.ID, s.slot.Starts, ExitOf(x))
	k.tell(s, keeperwire.Event{Kind: keeperwire.EvExited, Exit: x, PID: x.PID})
	s.slot.PID, s.slot.Ready = 0, false
	if s.child == 0 {
		k.gone(s)
		return
	}
	s.rest = true
	k.clear(s)
}

// clear has the rest of a tree end: by itself, if there is a grace, else killed.
func (k *fakeKeeper) clear(s *fakeSlot) {
	after := time.Millisecond
	if s.asked && !s.killed {
		after = max(after, min(s.child, time.Until(s.killAt)))
	}
	starts := s.slot.Starts
	time.AfterFunc(after, func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if !k.ended && s.rest && s.slot.Starts == starts {
			k.gone(s)
		}
	})
}

// gone is the end of a run: its tree is empty.
func (k *fakeKeeper) gone(s *fakeSlot) {
	s.rest, s.slot.State = false, keeperwire.Backoff
	ev := restart.Exited
	if s.crashed {
		ev = restart.Crashed
	}
	k.step(s, ev)
}

func (s *fakeSlot) busy() bool { return s.slot.PID != 0 || s.rest }

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

func (k *fakeKeeper) endLater(s *fakeSlot, after time.Duration, code, signal int32) {
	pid := s.slot.PID
	time.AfterFunc(after, func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if !k.ended && s.slot.PID == pid {
			k.ended2(s, code, signal)
		}
	})
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

// behave changes how the processes of id behave.
func (k *fakeKeeper) behave(id string, f func(p *program)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if s := k.slots[id]; s != nil {
		f(&s.program)
	}
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

// events keeps what people are told.
type events struct {
	mu  sync.Mutex
	all []backstay.Event
}

func (e *events) Record(ev backstay.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, ev)
}

// of returns those of a kind, in words.
func (e *events) of(kind backstay.Kind) (out []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, ev := range e.all {
		if ev.Kind == kind {
			out = append(out, fmt.Sprintf("%s: %s > %s: %s", ev.Ref.Name(), ev.From, ev.To, ev.Because))
		}
	}
	return out
}

// fakeResolver has nothing to look up.
type fakeResolver struct{ err error }

func (r *fakeResolver) Spec(rel backstay.Release, id string, _ map[string]uint16) (keeperwire.Spec, error) {
	return keeperwire.Spec{ID: id, Argv: rel.Exec.Argv, Dir: "/", LogFile: "/log/" + id + ".log"}, r.err
}

func (r *fakeResolver) Argv(_ backstay.Release, _ string, _ map[string]uint16, argv []string) ([]string, error) {
	return argv, r.err
}

func (r *fakeResolver) Account(string) (uint32, uint32, []uint32, bool, error) {
	return 0, 0, nil, false, nil
}

type freePorts struct{}

func (freePorts) Free(uint16) bool { return true }

// settle waits until nothing happens without time passing.
func settle() { synctest.Wait() }
