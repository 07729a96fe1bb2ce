package keeper

import (
	"errors"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/backstay/backstay/host/proc/keeper/sys"
	"github.com/backstay/backstay/host/proc/keeper/trees"
	"github.com/backstay/backstay/internal/keeperwire"
	"github.com/backstay/backstay/internal/restart"
)

// A start that fails for no fault of the instance (no descriptors, no processes,
// no memory, a full disk for records) is tried again at these pauses.
const (
	retryMin = 100 * time.Millisecond
	retryMax = 5 * time.Second
)

// maxStages is how many may be between clone and execve: each takes a megabyte
// and some milliseconds of a CPU, so more at once are not sooner done.
var maxStages = 2 * runtime.NumCPU()

// start begins a run of s, or has it wait for what is missing: a descriptor that
// nobody has put yet (after the death of a keeper, until the agent puts its
// copies again), its turn, or what the system lacks.
func (k *keeper) start(s *slot) {
	if s.busy() || !s.rec.Machine.Wanted {
		return
	}
	if s.waits = k.missing(s); s.waits != "" {
		s.rec.Slot.Why, s.rec.Slot.NextStart = "waits for descriptor "+s.waits, 0
		k.become(s, keeperwire.Backoff)
		return
	}
	if k.stages() >= maxStages {
		k.turns = append(k.turns, s)
		k.save(s) // that it is wanted must outlive us
		return
	}
	err := k.launch(s)
	if err == nil {
		s.retry = 0
		return
	}
	s.retry = min(max(2*s.retry, retryMin), retryMax)
	s.retryAt = k.Clock + s.retry
	s.rec.Slot.Why, s.rec.Slot.NextStart = clip(err.Error()), int64(s.retryAt)
	sys.Say("start", s.rec.Slot.ID+":", s.rec.Slot.Why)
	k.become(s, keeperwire.Backoff)
}

// nextTurns starts those that have waited for others to get out of the way.
func (k *keeper) nextTurns() {
	for len(k.turns) > 0 && k.stages() < maxStages {
		s := k.turns[0]
		k.turns = k.turns[1:]
		if k.slots[s.rec.Slot.ID] == s {
			k.start(s)
		}
	}
}

// stages is how many are between clone and execve.
func (k *keeper) stages() (n int) {
	for _, s := range k.slots {
		if s.link >= 0 {
			n++
		}
	}
	return n
}

// missing is the first descriptor that s needs and is not held.
func (k *keeper) missing(s *slot) string {
	for _, name := range s.spec.FDs {
		if k.held(name) < 0 {
			return name
		}
	}
	return ""
}

// launch clones the stage, writes down who it is, and only then lets it go: a
// keeper that dies in between takes the stage with it and leaves no orphan.
func (k *keeper) launch(s *slot) error {
	spec, err := k.state.Spec(s.place, &s.rec)
	if err != nil {
		return sys.Fail("read spec", err)
	}
	stdio, err := k.stdio(s, spec.LogFile)
	if err != nil {
		return err
	}
	if !k.trees.Cgroups() {
		spec.Cgroup = ""
	}
	p, err := k.spawn(&spec, s.rec.Slot.ID, stdio)
	closeAll(&stdio)
	if err != nil {
		return err
	}
	before := s.rec
	k.begun(s, p, &spec)
	if !k.save(s) {
		sys.CloseFD(&s.link) // the stage ends with its link, and is reaped as a stranger
		sys.CloseFD(&s.pidfd)
		s.proc, s.rec = noProc, before
		return sys.Fail("write record", errors.New("the run directory does not take it"))
	}
	k.pids[p.pid] = s
	k.settle()
	k.follow(s.proc, func() { k.died(s) }, func() { k.staged(s) })
	return nil
}

// begun changes the record of s: p is its process now.
func (k *keeper) begun(s *slot, p proc, spec *keeperwire.Spec) {
	r := &s.rec
	s.proc, r.Cgroup, r.LogFile = p, spec.Cgroup, spec.LogFile
	r.KillAt, r.Ended, r.Asked, r.Crashed, r.Reason = 0, false, false, false, ""
	s.killed, s.told, s.lookAt, s.heard = false, false, 0, k.Clock
	r.Slot.PID, r.Slot.Ticks, r.Slot.Starts = int32(p.pid), trees.StatOf(p.pid).Ticks, r.Slot.Starts+1
	r.Slot.State, r.Slot.Ready, r.Slot.Why, r.Slot.NextStart = keeperwire.Starting, false, "", 0
	r.Slot.Started, r.Slot.StartedAt = int64(k.Clock), sys.Wall()
	r.Machine.Step(s.spec.Restart, restart.Started, k.Clock, 0)
}

// follow lets a stage go on, and has its end and its words heard. One that is
// gone already is seen as an end.
func (k *keeper) follow(p proc, ended, said func()) {
	_, _ = sys.Again(func() (int, error) { return syscall.Write(p.link, []byte{1}) })
	k.Watch(p.pidfd, func(uint32) { ended() })
	k.WatchEnd(p.link, func(uint32) { said() })
}

// spawn clones the stage for spec, whose processes carry mark.
func (k *keeper) spawn(spec *keeperwire.Spec, mark string, stdio [3]int) (proc, error) {
	spec.Env = k.environment(spec.Env, mark)
	frame := spec.Append(k.out[:0])
	k.out = frame[:0]
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return noProc, sys.Fail("socketpair", err)
	}
	defer sys.CloseFD(&pair[1])
	_ = syscall.SetNonblock(pair[0], true)
	files := []uintptr{uintptr(stdio[0]), uintptr(stdio[1]), uintptr(stdio[2])}
	for _, name := range spec.FDs {
		files = append(files, uintptr(k.fds[name]))
	}
	p := noProc
	if err = syscall.Sendto(pair[0], frame, syscall.MSG_NOSIGNAL, nil); err != nil {
		err = sys.Fail("send spec", err)
	} else {
		p, err = k.clone(spec.Cgroup, mark, append(files, uintptr(pair[1])))
	}
	if p.link = pair[0]; err != nil {
		sys.CloseFD(&p.link)
	}
	return p, err
}

func (k *keeper) clone(cgroup, mark string, files []uintptr) (p proc, err error) {
	p = noProc
	attr := &syscall.ProcAttr{Env: append(k.trees.Marker(mark), "GOGC=off", "GOMAXPROCS=1"), Files: files, Sys: &syscall.SysProcAttr{PidFD: &p.pidfd}}
	if cgroup != "" {
		fd, err := k.trees.Open(cgroup)
		if err != nil {
			return p, sys.Fail("make cgroup "+cgroup, err)
		}
		defer sys.CloseFD(&fd)
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, fd
	}
	argv := []string{"backstay-keeper", "stage", strconv.Itoa(len(files) - 1)}
	if p.pid, err = syscall.ForkExec("/proc/self/exe", argv, attr); err != nil {
		return noProc, sys.Fail("clone", err)
	}
	return p, nil
}

// environment is env with what the keeper alone may say.
func (k *keeper) environment(env []string, mark string) []string {
	out := make([]string, 0, len(env)+5)
	for _, v := range env {
		if !strings.HasPrefix(v, "LISTEN_") && !strings.HasPrefix(v, "BACKSTAY_INSTANCE=") && !strings.HasPrefix(v, "BACKSTAY_KEEPER=") {
			out = append(out, v)
		}
	}
	return append(out, k.trees.Marker(mark)...)
}

// staged hears from the stage of s.
func (k *keeper) staged(s *slot) {
	if k.hearStage(&s.proc) && s.done && s.failed == "" && s.rec.Slot.State == keeperwire.Starting {
		k.running(s)
	}
}

// hearStage reads what a stage has said, and reports whether that was all.
func (k *keeper) hearStage(p *proc) (over bool) {
	buf := make([]byte, keeperwire.MaxText)
	for p.link >= 0 {
		n, err := sys.Again(func() (int, error) { return syscall.Read(p.link, buf) })
		switch {
		case errors.Is(err, syscall.EAGAIN):
			return false
		case err != nil || n == 0:
			k.Unwatch(&p.link)
			return true
		case string(buf[:n]) == stageDone:
			p.done = true
		default:
			p.failed = string(buf[:n])
		}
	}
	return false
}

func (k *keeper) running(s *slot) {
	s.rec.Slot.State, s.heard = keeperwire.Running, k.Clock
	s.rec.Slot.Started, s.rec.Slot.StartedAt = int64(k.Clock), sys.Wall()
	k.save(s)
	k.tell(s, keeperwire.Event{Kind: keeperwire.EvStarted})
}
