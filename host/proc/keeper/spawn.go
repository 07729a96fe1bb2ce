package keeper

import (
	"errors"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

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

// start begins a run of s.
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
	if err := k.launch(s); err != nil {
		k.undone(s, err)
		return
	}
	s.retry = 0
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

// missing is the first descriptor that s needs and nobody has put yet: it
// happens after the death of a keeper, until the agent puts its copies again.
func (k *keeper) missing(s *slot) string {
	for _, name := range s.spec.FDs {
		if _, ok := k.fds[name]; !ok {
			return name
		}
	}
	return ""
}

func (k *keeper) undone(s *slot, err error) {
	s.retry = min(max(2*s.retry, retryMin), retryMax)
	s.retryAt = k.now() + s.retry
	s.rec.Slot.Why, s.rec.Slot.NextStart = clip(err.Error()), int64(s.retryAt)
	say("start", s.rec.Slot.ID+":", s.rec.Slot.Why)
	k.become(s, keeperwire.Backoff)
	k.at(s.retryAt)
}

// launch clones the stage, writes down who it is, and only then lets it go: a
// keeper that dies in between takes the stage with it and leaves no orphan.
func (k *keeper) launch(s *slot) error {
	spec, err := k.state.spec(s.place, &s.rec)
	if err != nil {
		return failure{"read spec", named(err)}
	}
	if err := k.openPipes(s, true); err != nil {
		return err
	}
	if k.cg.base == "" {
		spec.Cgroup = ""
	}
	stdio, err := k.childEnds(s)
	if err != nil {
		return err
	}
	p, err := k.spawn(&spec, s.rec.Slot.ID, stdio)
	closeAll(&stdio)
	if err != nil {
		return err
	}
	r := &s.rec
	s.proc, r.Cgroup, r.LogFile = p, spec.Cgroup, spec.LogFile
	r.KillAt, r.Ended, r.Asked, r.Crashed, r.Reason = 0, false, false, false, ""
	s.killed, s.told, s.lookAt = false, false, 0
	r.Slot.PID, r.Slot.Ticks, r.Slot.Starts = int32(p.pid), statOf(p.pid).ticks, r.Slot.Starts+1
	r.Slot.State, r.Slot.Ready, r.Slot.Why, r.Slot.NextStart = keeperwire.Starting, false, "", 0
	r.Slot.Started, r.Slot.StartedAt = int64(k.now()), wall()
	s.heard, s.oomBefore = k.now(), k.ooms(s)
	before := r.Machine
	r.Machine.Step(s.spec.Restart, restart.Started, k.now(), 0)
	if !k.save(s) {
		r.Machine, r.Slot.PID = before, 0
		k.abandon(s)
		return failure{"write record", "the run directory does not take it"}
	}
	p.letGo()
	k.pids[p.pid] = s
	k.watch(p.pidfd, forPid, s.place)
	k.watch(p.link, forLink, s.place)
	k.at(s.due())
	return nil
}

// letGo tells the stage that it may go on. One that is gone already is seen as an
// end.
func (p *proc) letGo() { _, _ = again(func() (int, error) { return syscall.Write(p.link, []byte{1}) }) }

// abandon gives up a stage that has not been let go: it ends with its link.
func (k *keeper) abandon(s *slot) {
	closeFD(&s.link)
	closeFD(&s.pidfd)
	s.proc = noProc // its end is reaped as a stranger's
}

// spawn clones the stage for spec. out are its stdin, stdout and stderr.
func (k *keeper) spawn(spec *keeperwire.Spec, mark string, stdio [3]int) (proc, error) {
	spec.Env = k.environment(spec.Env, mark)
	frame := spec.Append(k.out[:0])
	k.out = frame[:0]
	var pair [2]int
	pair, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		return noProc, failure{"socketpair", named(err)}
	}
	defer closeFD(&pair[1])
	_ = syscall.SetNonblock(pair[1], false)
	if err := syscall.Sendto(pair[0], frame, syscall.MSG_NOSIGNAL, nil); err != nil {
		closeFD(&pair[0])
		return noProc, failure{"send spec", named(err)}
	}
	files := append(make([]uintptr, 0, 4+len(spec.FDs)), uintptr(stdio[0]), uintptr(stdio[1]), uintptr(stdio[2]))
	for _, name := range spec.FDs {
		files = append(files, uintptr(k.fds[name]))
	}
	p, err := k.clone(spec.Cgroup, mark, append(files, uintptr(pair[1])))
	if err != nil {
		closeFD(&pair[0])
		return noProc, err
	}
	p.link = pair[0]
	return p, nil
}

func (k *keeper) clone(cgroup, mark string, files []uintptr) (proc, error) {
	p := noProc
	attr := &syscall.ProcAttr{Env: append(k.marker(mark), "GOGC=off", "GOMAXPROCS=1"), Files: files, Sys: &syscall.SysProcAttr{PidFD: &p.pidfd}}
	if cgroup != "" && k.cg.base != "" {
		fd, err := k.cg.open(cgroup)
		if err != nil {
			return noProc, failure{"make cgroup " + cgroup, named(err)}
		}
		defer closeFD(&fd)
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, fd
	}
	argv := []string{"backstay-keeper", "stage", strconv.Itoa(len(files) - 1)}
	pid, err := syscall.ForkExec("/proc/self/exe", argv, attr)
	if err != nil {
		return noProc, failure{"clone", named(err)}
	}
	if p.pid = pid; p.pidfd < 0 {
		if p.pidfd, err = pidfdOpen(pid); err != nil {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			return noProc, failure{"pidfd_open", named(err)}
		}
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
	return append(out, k.marker(mark)...)
}

// staged hears from the stage of s.
func (k *keeper) staged(s *slot) {
	if s != nil && s.link >= 0 && k.hearStage(&s.proc) && s.done && s.failed == "" && s.rec.Slot.State == keeperwire.Starting {
		k.running(s)
	}
}

// hearStage reads what a stage has said, and reports whether that was all.
func (k *keeper) hearStage(p *proc) (over bool) {
	buf := make([]byte, keeperwire.MaxText)
	for {
		n, err := again(func() (int, error) { return syscall.Read(p.link, buf) })
		switch {
		case errors.Is(err, syscall.EAGAIN):
			return false
		case err != nil || n == 0:
			k.unwatch(&p.link)
			return true
		case string(buf[:n]) == stageDone:
			p.done = true
		default:
			p.failed = string(buf[:n])
		}
	}
}

func (k *keeper) running(s *slot) {
	s.rec.Slot.State, s.heard = keeperwire.Running, k.now()
	s.rec.Slot.Started, s.rec.Slot.StartedAt = int64(k.now()), wall()
	k.save(s)
	k.tell(s, keeperwire.Event{Kind: keeperwire.EvStarted})
	k.at(s.due())
}
