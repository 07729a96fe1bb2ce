package keeper

import (
	"errors"
	"strconv"
	"syscall"
	"time"

	"github.com/backstay/backstay/host/proc/keeper/sys"
	"github.com/backstay/backstay/host/proc/keeper/trees"
	"github.com/backstay/backstay/internal/keeperwire"
	"github.com/backstay/backstay/internal/restart"
)

// adopt takes over what an earlier keeper has left: same says that it was in this
// boot. All slots exist before the first of them is acted on.
func (k *keeper) adopt(same bool) {
	for i, rec := range k.state.All() {
		s := &slot{place: i, proc: noProc, rec: rec}
		spec, err := k.state.Spec(i, &rec)
		if err != nil {
			sys.Say("slot", rec.Slot.ID+":", sys.Named(err), "- the agent must put it again")
		}
		spec.ID = rec.Slot.ID
		k.seat(s, spec)
	}
	for _, s := range k.slots {
		switch {
		case !same:
			k.afterBoot(s)
		case s.rec.Slot.PID > 0:
			k.adoptRun(s)
		default:
			k.adoptRest(s)
		}
	}
	k.sweepAt = k.Clock + strangersLive
	if len(k.pids) > 0 {
		sys.Say("adopted", strconv.Itoa(len(k.pids)), "instances")
	}
}

// afterBoot is for a record of an earlier boot: how its run ended nobody knows,
// and times of that boot's clock say nothing. What was wanted starts afresh.
func (k *keeper) afterBoot(s *slot) {
	r := &s.rec
	wanted, busy := r.Machine.Wanted, s.busy() || r.Slot.PID > 0
	if r.Slot.PID > 0 {
		r.Slot.Last = keeperwire.Exit{At: sys.Wall(), PID: r.Slot.PID, Reason: "the host was started anew"}
		k.tell(s, keeperwire.Event{Kind: keeperwire.EvExited, Exit: r.Slot.Last})
	}
	r.Machine = restart.Machine{}
	r.Slot.PID, r.Slot.Ready, r.Slot.NextStart, r.KillAt, r.Ended = 0, false, 0, 0, false
	if busy || wanted {
		r.Slot.State = keeperwire.Stopped
	}
	k.save(s)
	if wanted {
		k.step(s, restart.Start)
	}
}

// adoptRun takes over a process. The descriptor first, then the comparison: so
// it cannot be another one that got the same number in between.
func (k *keeper) adoptRun(s *slot) {
	r, pid := &s.rec, int(s.rec.Slot.PID)
	s.pid, s.heard = pid, k.Clock
	k.adoptPipes(s)
	fd, err := sys.PidfdOpen(pid)
	st := trees.StatOf(pid)
	if err != nil || st.Ticks != r.Slot.Ticks || !st.Dead && !k.trees.Has(s.tree(), pid) {
		sys.CloseFD(&fd)
		// It ended while no keeper lived: if that was told, that was it, else nobody knows.
		x, told := k.ring.Ended(r.Slot.ID, r.Slot.PID, r.Slot.Starts)
		if !told {
			x = keeperwire.Exit{At: sys.Wall(), PID: r.Slot.PID}
		}
		k.ended(s, x, told)
		return
	}
	s.pidfd, k.pids[pid] = fd, s
	k.Watch(fd, func(uint32) { k.died(s) })
	if r.Cgroup != "" && k.trees.Cgroups() {
		k.trees.Kill(trees.Tree{Cgroup: r.Cgroup + probePlace}) // who asked for those will not get their answers
	}
	if r.Slot.State == keeperwire.Starting {
		k.lookSoon(s)
	}
}

// adoptRest goes on with a slot that has no process: its tree may be half
// killed, its start due or under way.
func (k *keeper) adoptRest(s *slot) {
	m := &s.rec.Machine
	switch {
	case s.rec.Ended:
		k.adoptPipes(s)
		k.lookSoon(s)
	case k.trees.Cgroups() && s.spec.Cgroup != "" && k.trees.Alive(trees.Tree{Cgroup: s.spec.Cgroup}):
		// Cloned by a keeper that did not live to write it down.
		s.rec.Cgroup, s.rec.Ended, s.rec.Machine.Running = s.spec.Cgroup, true, false
		k.lookSoon(s)
	case m.Wanted && m.Due == 0 && (!m.Failed || s.spec.Restart.RetryEvery > 0):
		k.start(s)
	}
}

func (k *keeper) adoptPipes(s *slot) {
	if err := k.openPipes(s, s.rec.LogFile, false); err != nil {
		sys.Say("adopt", s.rec.Slot.ID+":", err.Error())
	}
}

// adoptedStage looks whether a stage that was adopted has become its service:
// nobody is there any more to say so.
func (k *keeper) adoptedStage(s *slot) {
	switch {
	case s.rec.Slot.State != keeperwire.Starting || s.link >= 0:
	case sameProgram(s.pid):
		k.lookLater(s)
	default:
		k.running(s)
	}
}

// sameProgram reports whether a process is the program that we are.
func sameProgram(pid int) bool {
	var a, b syscall.Stat_t
	return syscall.Stat("/proc/self/exe", &a) == nil && syscall.Stat("/proc/"+strconv.Itoa(pid)+"/exe", &b) == nil &&
		a.Dev == b.Dev && a.Ino == b.Ino
}

// maxBoot bounds the boot file: the agent is its one customer.
const maxBoot = 1 << 20

// bootFile starts what must run and has no slot yet, and tells the others what
// has changed.
func (k *keeper) bootFile() {
	b, err := sys.Slurp(k.dir+"/boot", make([]byte, maxBoot))
	if err != nil {
		return
	}
	specs, err := keeperwire.DecodeBoot(b)
	if err != nil {
		sys.Say(err.Error())
	}
	for i := range specs {
		_, known := k.slots[specs[i].ID]
		if err := k.put(&specs[i]); err != nil {
			sys.Say("boot file:", err.Error())
		} else if !known {
			k.step(k.slots[specs[i].ID], restart.Start)
		}
	}
}

// How long to wait for the keeper that holds the lock.
const (
	leaveIn  = 10 * time.Second
	lockPoll = 2 * time.Millisecond
)

// take gets the lock of the directory. Where a keeper of the same program holds it
// and listens, nothing is to be gained; one of another program is told to end,
// which leaves its children to us. flock keeps the others out, and beside it a
// record lock says who it is.
func (k *keeper) take() (locked bool, err error) {
	fd, err := sys.Open(k.dir+"/lock", syscall.O_RDWR|syscall.O_CREAT|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return false, sys.Fail("open "+k.dir+"/lock", err)
	}
	asked := 0
	for until := sys.Boottime() + leaveIn; sys.Boottime() < until; pause(lockPoll) {
		who := syscall.Flock_t{Type: syscall.F_WRLCK}
		if syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			_ = syscall.FcntlFlock(uintptr(fd), syscall.F_SETLK, &who)
			return true, nil
		}
		_ = syscall.FcntlFlock(uintptr(fd), syscall.F_GETLK, &who)
		switch pid := int(who.Pid); {
		case pid <= 1 || pid == asked:
		case !sameProgram(pid):
			asked = pid
			_ = syscall.Kill(pid, syscall.SIGTERM)
		case k.listens():
			return false, nil
		}
	}
	return false, sys.Fail("lock "+k.dir, errors.New("another keeper holds it and does not end; kill it, this one then adopts what it has"))
}

func pause(d time.Duration) {
	ts := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&ts, nil)
}

// listens reports whether somebody is at the socket.
func (k *keeper) listens() bool {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC, 0)
	defer sys.CloseFD(&fd)
	return err == nil && syscall.Connect(fd, &syscall.SockaddrUnix{Name: k.sockPath()}) == nil
}
