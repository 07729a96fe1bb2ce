package keeper

import (
	"syscall"
	"time"

	"github.com/backstay/backstay/internal/keeperwire"
	"github.com/backstay/backstay/internal/restart"
)

// How long to look for the code of a process that was adopted and has died: its
// new parent must reap it before the kernel says it.
const (
	lookMin  = 200 * time.Microsecond
	lookMax  = 100 * time.Millisecond
	codeWait = 2 * time.Second
)

// reap takes every child that has ended. Who ended is asked before it is reaped:
// a keeper that dies in between leaves the rest to the next one, and what it has
// never seen is a stranger's grandchild, not an error.
func (k *keeper) reap() {
	for {
		e, err := waitid(pAll, 0, wnowait)
		if err != nil || e.pid == 0 {
			return
		}
		if s := k.pids[e.pid]; s != nil && s.pid == e.pid {
			k.ended(s, exitOf(e))
		} else if p := k.probeOf(e.pid); p != nil {
			k.probeEnded(p, exitOf(e))
		}
		if r, err := waitid(pPID, e.pid, 0); err != nil || r.pid == 0 {
			return // a tracer has it still
		}
		if s := k.pids[e.pid]; s != nil && s.pid == 0 {
			delete(k.pids, e.pid)
			k.lookAgain(s)
		}
	}
}

func exitOf(e end) keeperwire.Exit {
	x := keeperwire.Exit{At: wall(), PID: int32(e.pid), Known: true}
	if e.code == cldExited {
		x.Code = int32(e.status)
	} else {
		x.Signal, x.Core = int32(e.status), e.code == cldDumped
	}
	x.UserMS, x.SysMS = e.usage.Utime.Nano()/1e6, e.usage.Stime.Nano()/1e6
	x.RSSKiB = e.usage.Maxrss
	return x
}

// died is told that the process of s has ended. A child is reaped; one that was
// adopted leaves its code in /proc until somebody reaps it, and then in its
// descriptor.
func (k *keeper) died(s *slot) {
	if s == nil || s.pid == 0 {
		return
	}
	k.reap()
	if s.pid == 0 || k.lives(s) {
		return
	}
	if x, ok := s.code(); ok {
		k.ended(s, x)
		k.forget(s, int(x.PID))
		return
	}
	_ = syscall.EpollCtl(k.ep, syscall.EPOLL_CTL_DEL, s.pidfd, nil) // or it would wake us till then
	s.codeBy = k.now() + codeWait
	k.lookSoon(s)
}

// lives reports whether the main process of s is there and no zombie.
func (k *keeper) lives(s *slot) bool {
	st := statOf(s.pid)
	return st.exists && st.ticks == s.rec.Slot.Ticks && st.state != 'Z' && st.state != 'X'
}

func (k *keeper) forget(s *slot, pid int) {
	delete(k.pids, pid)
	k.lookAgain(s)
}

// code finds how a process that is not our child ended.
func (s *slot) code() (keeperwire.Exit, bool) {
	x := keeperwire.Exit{At: wall(), PID: int32(s.pid)}
	st := statOf(s.pid)
	ws, ok := syscall.WaitStatus(st.wait), st.exists && st.state == 'Z' && st.ticks == s.rec.Slot.Ticks
	if ok {
		x.UserMS, x.SysMS = st.utime*10, st.stime*10 // USER_HZ is 100 wherever Go runs
	} else if ws, ok = exitInfo(s.pidfd); !ok {
		return x, false
	}
	x.Known = true
	if ws.Exited() {
		x.Code = int32(ws.ExitStatus())
	} else {
		x.Signal, x.Core = int32(ws.Signal()), ws.CoreDump()
	}
	return x, true
}

// ended writes down that the main process of s has ended: the event first, for
// the ring tells the next keeper what the record does not say yet.
func (k *keeper) ended(s *slot, x keeperwire.Exit) {
	if s.link >= 0 {
		k.staged(s)
	}
	if s.piped {
		k.pumper.drain(s)
	}
	r := &s.rec
	x.Asked, x.Reason, x.Stage = r.Asked, r.Reason, s.failed
	x.OOM = x.Signal == int32(syscall.SIGKILL) && !s.killed && k.ooms(s) > s.oomBefore
	s.judge(x)
	wasStarting := r.Slot.State == keeperwire.Starting
	r.Slot.State = keeperwire.Stopping
	k.tell(s, keeperwire.Event{Kind: keeperwire.EvExited, PID: x.PID, Exit: x})
	s.pid, r.Slot.PID, r.Slot.Ready = 0, 0, false
	k.unwatch(&s.pidfd)
	k.unwatch(&s.link)
	if wasStarting && x.Code == stageFailed && s.failed == "" {
		r.Machine.Running, r.Crashed = false, false // the stage of a keeper that died: no fault of the service
	}
	k.save(s)
}

// judge records how a run has ended. A kill that is to be followed by a start has
// said already that it counts as a crash; a stop never does.
func (s *slot) judge(x keeperwire.Exit) {
	r := &s.rec
	r.Slot.Last, r.Ended = x, true
	r.Crashed = r.Crashed || !r.Asked && (!x.Known || x.Code != 0 || x.Signal != 0)
}

func (k *keeper) ooms(s *slot) int {
	if s.rec.Cgroup == "" || k.cg.base == "" {
		return 0
	}
	return k.cg.count(s.rec.Cgroup, "memory.events", "oom_kill")
}

// lookSoon begins to look whether the tree of s is gone.
func (k *keeper) lookSoon(s *slot) {
	s.look, s.lookAt = lookMin, k.now()+lookMin
	k.at(s.lookAt)
}

func (k *keeper) lookLater(s *slot) {
	s.look = min(max(2*s.look, lookMin), lookMax)
	s.lookAt = k.now() + s.look
	k.at(s.lookAt)
}

// lookAgain goes on with the end of a run: the code of the main process, then the
// rest of its tree, then what the machine says.
func (k *keeper) lookAgain(s *slot) {
	switch {
	case s.pid > 0:
		k.lookForCode(s)
	case !s.rec.Ended:
	case k.alive(s.rec.Cgroup, s.rec.Slot.ID):
		k.clear(s)
		k.lookLater(s)
	default:
		k.gone(s)
	}
}

// lookForCode is for a process that was adopted: has it died, and how?
func (k *keeper) lookForCode(s *slot) {
	if k.lives(s) {
		k.adoptedStage(s)
		return
	}
	x, ok := s.code()
	if !ok && k.now() < s.codeBy {
		k.lookLater(s)
		return
	}
	pid := s.pid
	k.ended(s, x)
	k.forget(s, pid)
}

// clear ends what is left of a tree whose main process is gone. After a stop the
// rest is told, and has what is left of the grace; after a crash nothing of it
// may stand in the way of the next run.
func (k *keeper) clear(s *slot) {
	if s.rec.KillAt == 0 || !s.rec.Asked {
		s.killed = true
		k.killTree(s.rec.Cgroup, s.rec.Slot.ID)
		return
	}
	if !s.told {
		s.told = true
		k.signalTree(s.rec.Cgroup, s.rec.Slot.ID, s.stopSignal())
	}
}

// gone is the end of a run: nothing of it is left.
func (k *keeper) gone(s *slot) {
	if s.piped {
		k.pumper.drain(s)
	}
	r := &s.rec
	ev := restart.Exited
	switch {
	case r.Crashed && r.Machine.Running:
		ev = restart.Crashed
	case !r.Machine.Running || r.Asked && r.Machine.Wanted: // stopped, and by now it is wanted again
		ev = restart.Undone
	}
	r.Ended, r.KillAt, r.Asked, r.Reason = false, 0, false, ""
	s.killed, s.lookAt = false, 0
	r.Slot.State = keeperwire.Backoff // until the machine says otherwise
	k.step(s, ev)
}
