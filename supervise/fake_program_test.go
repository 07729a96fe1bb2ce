package supervise

import (
	"time"

	"github.com/backstay/backstay/internal/keeperwire"
	"github.com/backstay/backstay/internal/restart"
)

// fakeSlot is a slot and the tree of processes in it.
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
		k.die(s, code, signal)
	}
}

func (k *fakeKeeper) die(s *fakeSlot, code, signal int32) {
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

func (k *fakeKeeper) endLater(s *fakeSlot, after time.Duration, code, signal int32) {
	pid := s.slot.PID
	time.AfterFunc(after, func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if !k.ended && s.slot.PID == pid {
			k.die(s, code, signal)
		}
	})
}

// behave changes how the processes of id behave.
func (k *fakeKeeper) behave(id string, f func(p *program)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if s := k.slots[id]; s != nil {
		f(&s.program)
	}
}
