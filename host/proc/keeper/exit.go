package keeper

import (
	"syscall"
	"time"

	"github.com/backstay/backstay/host/proc/keeper/sys"
	"github.com/backstay/backstay/host/proc/keeper/trees"
	"github.com/backstay/backstay/internal/keeperwire"
	"github.com/backstay/backstay/internal/restart"
)

// How long to look for the code of a process that was adopted and has died: its
// new parent must reap it before the kernel says it.
const (
	lookMin  = 200 * time.Microsecond
	lookMax  = 100 * time.Millisecond
	codeWait = 2 * time.Second

	// goneWait is how long the next run of what was adopted waits for the last
	// one's new parent to reap it: a program that finds its own pid of the run
	// before in use, as PostgreSQL does, would not start beside it. The front and
	// the agent take some milliseconds.
	goneWait = 500 * time.Millisecond
)

// reap takes every child that has ended. Who ended is asked before it is reaped:
// a keeper that dies in between leaves the rest to the next one, and what it has
// never seen is a stranger's grandchild, not an error.
func (k *keeper) reap() {
	for {
		e, err := sys.Waitid(sys.PAll, 0, sys.WNoWait)
		if err != nil || e.PID == 0 {
			return
		}
		x := exitOf(e.PID, e.Status)
		x.UserMS, x.SysMS, x.RSSKiB = e.Usage.Utime.Nano()/1e6, e.Usage.Stime.Nano()/1e6, e.Usage.Maxrss
		s := k.pids[e.PID]
		if s != nil {
			k.ended(s, x, false)
		} else {
			k.probeEnded(e.PID, x)
		}
		if r, err := sys.Waitid(sys.PPID, e.PID, 0); err != nil || r.PID == 0 {
			return // a tracer has it still
		}
		if s != nil {
			k.lookAgain(s)
		}
	}
}

func exitOf(pid int, ws syscall.WaitStatus) keeperwire.Exit {
	x := keeperwire.Exit{At: sys.Wall(), PID: int32(pid), Known: true}
	if ws.Exited() {
		x.Code = int32(ws.ExitStatus())
	} else {
		x.Signal, x.Core = int32(ws.Signal()), ws.CoreDump()
	}
	return x
}

// died is told that the process of s has ended, or looks again whether it has. A
// child is reaped; one that was adopted leaves its code in /proc until somebody
// reaps it, and then in its descriptor.
func (k *keeper) died(s *slot) {
	k.reap()
	if s.pid == 0 {
		return
	}
	if st := trees.StatOf(s.pid); st.Exists && st.Ticks == s.rec.Slot.Ticks && !st.Dead {
		k.adoptedStage(s)
		return
	}
	x, known := s.code()
	if s.codeBy == 0 {
		s.codeBy = k.Clock + codeWait
	}
	if !known && k.Clock < s.codeBy {
		_ = k.Control(syscall.EPOLL_CTL_DEL, s.pidfd, 0) // or it would wake us till then
		k.lookLater(s)
		return
	}
	k.ended(s, x, false)
	k.lookAgain(s)
}

// code finds how a process that is not our child ended.
func (s *slot) code() (keeperwire.Exit, bool) {
	if st := trees.StatOf(s.pid); st.Dead && st.Ticks == s.rec.Slot.Ticks {
		x := exitOf(s.pid, syscall.WaitStatus(st.Wait))
		x.UserMS, x.SysMS = st.UTime*10, st.STime*10 // USER_HZ is 100 wherever Go runs
		return x, true
	}
	if ws, ok := sys.ExitInfo(s.pidfd); ok {
		return exitOf(s.pid, ws), true
	}
	return keeperwire.Exit{At: sys.Wall(), PID: int32(s.pid)}, false
}

// ended writes down that the main process of s has ended: the event first, for
// the ring tells the next keeper what the record does not say yet. told says that
// it is there already. A kill that is to be followed by a start has said that it
// counts as a crash; a stop never does.
func (k *keeper) ended(s *slot, x keeperwire.Exit, told bool) {
	k.staged(s)
	k.drain(s)
	r := &s.rec
	wasStarting := r.Slot.State == keeperwire.Starting
	r.Slot.State = keeperwire.Stopping
	if !told {
		x.Asked, x.Reason, x.Stage = r.Asked, r.Reason, s.failed
		x.OOM = x.Signal == int32(syscall.SIGKILL) && !s.killed && k.trees.OutOfMemory(s.tree()) > 0
		k.tell(s, keeperwire.Event{Kind: keeperwire.EvExited, PID: x.PID, Exit: x})
	}
	r.Crashed = r.Crashed || !r.Asked && (!x.Known || x.Code != 0 || x.Signal != 0)
	if wasStarting && x.Code == stageFailed && x.Stage == "" {
		r.Machine.Running, r.Crashed = false, false // the stage of a keeper that died: no fault of the service
	}
	delete(k.pids, s.pid)
	k.Unwatch(&s.pidfd)
	k.Unwatch(&s.link)
	s.pid, s.codeBy = 0, 0
	r.Slot.PID, r.Slot.Ready, r.Slot.Last, r.Ended = 0, false, x, true
	k.save(s)
	k.lookSoon(s)
}

// lookSoon begins to look whether the tree of s is gone.
func (k *keeper) lookSoon(s *slot) { s.look, s.lookAt = lookMin, k.Clock+lookMin }

func (k *keeper) lookLater(s *slot) {
	s.look = min(max(2*s.look, lookMin), lookMax)
	s.lookAt = k.Clock + s.look
}

// lookAgain goes on with the end of a run: the code of the main process, then the
// rest of its tree, then what the machine says.
func (k *keeper) lookAgain(s *slot) {
	switch {
	case s.pid > 0:
		k.died(s)
	case !s.rec.Ended:
	case k.trees.Alive(s.tree()):
		k.clear(s)
		k.lookLater(s)
	case k.unreaped(s):
		k.lookLater(s)
	default:
		k.gone(s)
	}
}

// unreaped reports whether the main process of a run that has ended is a zombie
// still, of a parent that may yet reap it.
func (k *keeper) unreaped(s *slot) bool {
	if s.goneBy == 0 {
		s.goneBy = k.Clock + goneWait
	}
	st := trees.StatOf(int(s.rec.Slot.Last.PID))
	return st.Dead && st.Ticks == s.rec.Slot.Ticks && k.Clock < s.goneBy
}

// clear ends what is left of a tree whose main process is gone. After a stop the
// rest is told, and has what is left of the grace; after a crash nothing of it
// may stand in the way of the next run.
func (k *keeper) clear(s *slot) {
	if s.rec.KillAt == 0 || !s.rec.Asked {
		s.killed = true
		k.trees.Kill(s.tree())
		return
	}
	if s.told {
		return
	}
	s.told = true
	for _, pid := range k.trees.Members(s.tree()) {
		_ = syscall.Kill(pid, s.stopSignal())
		_ = syscall.Kill(pid, syscall.SIGCONT)
	}
}

// gone is the end of a run: nothing of it is left.
func (k *keeper) gone(s *slot) {
	k.drain(s)
	r := &s.rec
	ev := restart.Exited
	switch {
	case r.Crashed && r.Machine.Running:
		ev = restart.Crashed
	case !r.Machine.Running || r.Asked && r.Machine.Wanted: // stopped, and by now it is wanted again
		ev = restart.Undone
	}
	r.Ended, r.KillAt, r.Asked, r.Reason = false, 0, false, ""
	s.killed, s.lookAt, s.goneBy = false, 0, 0
	r.Slot.State = keeperwire.Backoff // until the machine says otherwise
	k.step(s, ev)
}
