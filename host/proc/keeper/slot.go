package keeper

import (
	"strconv"
	"syscall"
	"time"

	"github.com/backstay/backstay/host/proc/keeper/sys"
	"github.com/backstay/backstay/host/proc/keeper/trees"
	"github.com/backstay/backstay/internal/keeperwire"
	"github.com/backstay/backstay/internal/restart"
)

// slot is one instance: its record, which outlives us, and what we hold open.
type slot struct {
	rec   keeperwire.Record
	spec  keeperwire.Spec // without Argv and Env: those of a thousand slots are megabytes, and secrets
	place int

	proc
	log   string // where the pumper writes what it prints; empty is nowhere
	pipes [2]int // our ends of its FIFOs, which the pumper reads and closes

	heard   time.Duration // its last word to us
	lookAt  time.Duration // when to look whether its tree is gone, or its code known
	look    time.Duration // the pause before that
	codeBy  time.Duration // when to give up to look for its code
	goneBy  time.Duration // when to begin the next run though its zombie is still there
	retryAt time.Duration // when to try again a start that was not its own fault to fail
	retry   time.Duration
	waits   string // name of a descriptor that it cannot start without
	told    bool   // what is left of its tree was told to stop
	killed  bool   // we have sent SIGKILL
}

// proc is a process just cloned, or found.
type proc struct {
	pid, pidfd, link int
	done             bool   // its stage has nothing left to do but execve
	failed           string // the step at which its stage ended
}

var noProc = proc{pidfd: -1, link: -1}

// seat gives a slot its place among the others.
func (k *keeper) seat(s *slot, spec keeperwire.Spec) {
	for len(k.places) <= s.place {
		k.places = append(k.places, nil)
	}
	k.places[s.place], k.slots[spec.ID] = s, s
	spec.Argv, spec.Env = nil, nil
	s.spec = spec
}

// tree is who belongs to s.
func (s *slot) tree() trees.Tree { return trees.Tree{Cgroup: s.rec.Cgroup, Mark: s.rec.Slot.ID} }

// busy reports whether a process of the slot may be there.
func (s *slot) busy() bool {
	return s.pid > 0 || s.rec.Ended || s.rec.Slot.State == keeperwire.Stopping
}

// due is the next moment at which ticked has something to do.
func (s *slot) due() time.Duration {
	next := s.rec.Machine.Due
	if s.pid > 0 {
		next = s.silentAt()
	}
	return soonest(s.lookAt, s.retryAt, time.Duration(s.rec.KillAt), next)
}

// silentAt is when the slot has been silent for too long.
func (s *slot) silentAt() time.Duration {
	if s.spec.SilentMS <= 0 || s.rec.Slot.State != keeperwire.Running {
		return 0
	}
	return s.heard + ms(s.spec.SilentMS)
}

func ms(n int64) time.Duration { return time.Duration(n) * time.Millisecond }

// ticked does what is due for s.
func (k *keeper) ticked(s *slot) {
	is := func(t time.Duration) bool { return t > 0 && k.Clock >= t }
	if is(s.lookAt) {
		s.lookAt = 0
		k.lookAgain(s)
	}
	if s.pid > 0 && is(s.silentAt()) {
		s.heard = k.Clock
		why := "silent for " + strconv.Itoa(int(s.spec.SilentMS)) + "ms"
		sys.Say(s.rec.Slot.ID, "is killed:", why)
		k.kill(s, why, true)
	}
	if is(time.Duration(s.rec.KillAt)) {
		s.rec.KillAt = 0
		if s.busy() {
			k.killAll(s)
		}
		k.save(s)
	}
	if is(s.retryAt) {
		s.retryAt = 0
		k.start(s)
	}
	if s.pid == 0 && !s.rec.Ended && is(s.rec.Machine.Due) {
		k.step(s, restart.Tick)
	}
}

// step asks the machine, and does what it says.
func (k *keeper) step(s *slot, ev restart.Event) {
	m := &s.rec.Machine
	eff := m.Step(s.spec.Restart, ev, k.Clock, k.chance())
	s.rec.Slot.Failures, s.rec.Slot.NextStart = m.Failures, int64(m.Due)
	switch eff.Do {
	case restart.StartNow:
		s.retry = 0
		k.start(s)
	case restart.StartAt:
		k.become(s, keeperwire.Backoff)
	case restart.FailUntil:
		k.become(s, keeperwire.Failed)
	case restart.BeStopped:
		k.rest(s, keeperwire.Stopped)
	case restart.BeCompleted:
		k.rest(s, keeperwire.Completed)
	case restart.Nothing:
		k.save(s)
	}
}

// become records a state that is not an exit or a start, and tells it.
func (k *keeper) become(s *slot, state keeperwire.State) {
	same := s.rec.Slot.State == state && state != keeperwire.Backoff && state != keeperwire.Failed
	s.rec.Slot.State = state
	k.save(s)
	if !same {
		k.tell(s, keeperwire.Event{Kind: keeperwire.EvState, Text: []byte(s.rec.Slot.Why)})
	}
}

// rest is a slot that nobody wants running: what it holds open is closed.
func (k *keeper) rest(s *slot, state keeperwire.State) {
	s.retryAt, s.waits, s.rec.Slot.Why = 0, "", ""
	if s.log != "" {
		s.log = ""
		k.pumper.Close(s.place)
	}
	k.become(s, state)
	k.leaveIfAlone()
}

// save writes the record of s. A disk that refuses is said; what runs goes on,
// and nothing new is started without a record (see launch).
func (k *keeper) save(s *slot) bool {
	err := k.state.Save(s.place, &s.rec)
	if err != nil {
		sys.Say("write record of", s.rec.Slot.ID+":", sys.Named(err))
	}
	return err == nil
}

// tell adds an event about s to the ring; clients get it at the end of this turn,
// when what it was about has been done.
func (k *keeper) tell(s *slot, e keeperwire.Event) {
	r := &s.rec.Slot
	e.At, e.Boot, e.ID, e.State = sys.Wall(), int64(sys.Boottime()), r.ID, r.State
	if e.PID == 0 {
		e.PID = r.PID
	}
	e.NextStart, e.Starts, e.Failures = r.NextStart, r.Starts, r.Failures
	k.ring.Add(&e)
	k.unfed = true
}

// stop asks the main process to end, and kills the tree when its grace is over.
func (k *keeper) stop(s *slot, reason string) {
	s.retryAt, s.waits = 0, ""
	if s.rec.Machine.Wanted || !s.busy() {
		k.step(s, restart.Stop)
	}
	if !s.busy() || s.rec.KillAt > 0 || s.killed {
		return // over, or under way
	}
	s.rec.Asked, s.rec.Reason = true, clip(reason)
	s.rec.KillAt = int64(k.Clock + max(ms(s.spec.GraceMS), 1))
	_ = sys.PidfdSignal(s.pidfd, s.stopSignal())
	_ = sys.PidfdSignal(s.pidfd, syscall.SIGCONT)
	k.become(s, keeperwire.Stopping)
}

func (s *slot) stopSignal() syscall.Signal {
	if s.spec.Signal == 0 {
		return syscall.SIGTERM
	}
	return syscall.Signal(s.spec.Signal)
}

// kill ends the whole tree now. Wanted: it is to run on, and this end counts as
// a failure.
func (k *keeper) kill(s *slot, reason string, wanted bool) {
	if !wanted && s.rec.Machine.Wanted {
		k.step(s, restart.Stop)
	}
	if !s.busy() {
		return
	}
	s.rec.Asked, s.rec.Reason, s.rec.KillAt = true, clip(reason), 0
	s.rec.Crashed = s.rec.Crashed || s.rec.Machine.Wanted
	k.killAll(s)
	k.become(s, keeperwire.Stopping)
}

// killAll kills the tree of s, and looks soon whether it has gone.
func (k *keeper) killAll(s *slot) {
	s.killed = true
	k.trees.Kill(s.tree())
	_ = sys.PidfdSignal(s.pidfd, syscall.SIGKILL)
	k.lookSoon(s)
}

func clip(s string) string { return s[:min(len(s), keeperwire.MaxText)] }
