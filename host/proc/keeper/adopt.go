package keeper

import (
	"hash/crc32"
	"strconv"
	"syscall"
	"time"

	"github.com/backstay/backstay/internal/keeperwire"
	"github.com/backstay/backstay/internal/restart"
)

// adopt takes over what an earlier keeper has left: same says that it was in this
// boot. All slots exist before the first of them is acted on.
func (k *keeper) adopt(same bool) {
	for i, rec := range k.state.records() {
		s := newSlot(i)
		s.rec = rec
		spec, err := k.state.spec(i, &rec)
		if err != nil {
			say("slot", rec.Slot.ID+":", named(err), "- the agent must put it again")
		}
		spec.ID = rec.Slot.ID
		k.place(s, spec)
	}
	adopted := 0
	for _, s := range k.slots {
		switch {
		case !same:
			k.afterBoot(s)
		case s.rec.Slot.PID > 0:
			adopted++
			k.adoptRun(s)
		default:
			k.adoptRest(s)
		}
		k.at(s.due())
	}
	k.sweep()
	k.at(k.strangersAt)
	if adopted > 0 {
		say("adopted", strconv.Itoa(adopted), "instances")
	}
}

// place gives s its place among the others, and what we keep of its spec.
func (k *keeper) place(s *slot, spec keeperwire.Spec) {
	for len(k.places) <= s.place {
		k.places = append(k.places, nil)
	}
	k.places[s.place], k.slots[spec.ID] = s, s
	spec.Argv, spec.Env = nil, nil
	s.spec = spec
}

// afterBoot is for a record of an earlier boot: how its run ended nobody knows,
// and times of that boot's clock say nothing. What was wanted starts afresh.
func (k *keeper) afterBoot(s *slot) {
	r := &s.rec
	wanted := r.Machine.Wanted
	if r.Slot.PID > 0 {
		r.Slot.Last = keeperwire.Exit{At: wall(), PID: r.Slot.PID, Reason: "the host was started anew"}
		k.tell(s, keeperwire.Event{Kind: keeperwire.EvExited, Exit: r.Slot.Last})
	}
	r.Machine = restart.Machine{}
	r.Slot.PID, r.Slot.Ready, r.Slot.NextStart, r.KillAt, r.Ended = 0, false, 0, 0, false
	if !wanted {
		if s.busy() {
			r.Slot.State = keeperwire.Stopped
		}
		k.save(s)
		return
	}
	r.Slot.State = keeperwire.Stopped
	k.step(s, restart.Start)
}

// adoptRun takes over a process. The descriptor first, then the comparison: so
// it cannot be another one that got the same number in between.
func (k *keeper) adoptRun(s *slot) {
	r := &s.rec
	pid := int(r.Slot.PID)
	s.pid, s.heard = pid, k.now()
	k.openRun(s)
	fd, err := pidfdOpen(pid)
	st := statOf(pid)
	ours := err == nil && st.exists && st.ticks == r.Slot.Ticks
	if ours && st.state != 'Z' && k.cg.base != "" && r.Cgroup != "" {
		ours = k.cg.has(strconv.Itoa(pid), r.Cgroup)
	}
	if !ours {
		closeFD(&fd)
		k.lostRun(s)
		return
	}
	s.pidfd = fd
	k.pids[pid] = s
	if k.cg.base != "" && r.Cgroup != "" {
		k.cg.kill(r.Cgroup + "/probe") // who asked for those will not get their answers
	}
	k.watch(fd, forPid, s.place)
	if r.Slot.State == keeperwire.Starting {
		k.lookSoon(s)
	}
}

// lostRun is a run that ended while no keeper lived: if its end was told, that
// was it, else nobody knows.
func (k *keeper) lostRun(s *slot) {
	r := &s.rec
	x, told := k.ring.ended(r.Slot.ID, r.Slot.PID, r.Slot.Starts)
	if !told {
		k.ended(s, keeperwire.Exit{At: wall(), PID: r.Slot.PID})
		k.lookAgain(s)
		return
	}
	s.judge(x)
	s.pid, r.Slot.PID, r.Slot.State = 0, 0, keeperwire.Stopping
	k.save(s)
	k.lookAgain(s)
}

// adoptRest goes on with a slot that has no process: its tree may be half
// killed, its start due or under way.
func (k *keeper) adoptRest(s *slot) {
	m := &s.rec.Machine
	switch {
	case s.rec.Ended:
		k.openRun(s)
		k.lookAgain(s)
	case k.cg.base != "" && s.spec.Cgroup != "" && k.cg.populated(s.spec.Cgroup):
		// Cloned by a keeper that did not live to write it down.
		s.rec.Cgroup, s.rec.Ended, s.rec.Machine.Running = s.spec.Cgroup, true, false
		k.lookAgain(s)
	case m.Wanted && m.Due == 0 && (!m.Failed || s.spec.Restart.RetryEvery > 0):
		k.start(s)
	}
}

// openRun opens the FIFOs and the log of a run that is adopted.
func (k *keeper) openRun(s *slot) {
	if err := k.openPipes(s, false); err != nil {
		say("adopt", s.rec.Slot.ID+":", err.Error())
	}
}

// adoptedStage looks whether a stage that was adopted has become its service:
// nobody is there any more to say so.
func (k *keeper) adoptedStage(s *slot) {
	if s.rec.Slot.State != keeperwire.Starting || s.link >= 0 {
		return
	}
	if sameFile("/proc/self/exe", "/proc/"+strconv.Itoa(s.pid)+"/exe") {
		k.lookLater(s)
		return
	}
	k.running(s)
}

func sameFile(a, b string) bool {
	var x, y syscall.Stat_t
	return syscall.Stat(a, &x) == nil && syscall.Stat(b, &y) == nil && x.Dev == y.Dev && x.Ino == y.Ino
}

// maxBoot bounds the boot file: the agent is its one customer.
const maxBoot = 1 << 20

// bootFile starts what must run and has no slot yet, and tells the others what
// has changed.
func (k *keeper) bootFile() {
	b, err := slurp(k.dir+"/boot", make([]byte, maxBoot))
	if err != nil {
		return
	}
	specs, err := keeperwire.DecodeBoot(b)
	if err != nil {
		say(err.Error())
	}
	for i := range specs {
		_, known := k.slots[specs[i].ID]
		if code, text := k.put(&specs[i]); code != "" {
			say("boot file:", code, text)
		} else if !known {
			k.step(k.slots[specs[i].ID], restart.Start)
		}
	}
}

// How long to wait for the keeper that holds the lock.
const (
	answerIn = 2 * time.Second
	leaveIn  = 10 * time.Second
	lockPoll = 2 * time.Millisecond
)

// take gets the lock of the directory. Where another keeper holds it: if that
// one answers and is the same program, k.lock stays -1, for nothing is to be
// gained; if it is another program it is asked to leave.
func (k *keeper) take() error {
	fd, err := syscall.Open(k.dir+"/lock", syscall.O_RDWR|syscall.O_CREAT|syscall.O_CLOEXEC|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return failure{"open " + k.dir + "/lock", named(err)}
	}
	k.lock = -1
	for until := boottime() + leaveIn; boottime() < until; {
		if syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			k.lock = fd
			return nil
		}
		if same, answered := k.relieve(); answered && same {
			return nil
		}
		pause(lockPoll)
	}
	return failure{"lock " + k.dir, "another keeper holds it and does not answer; kill it, this one then adopts what it has"}
}

func pause(d time.Duration) {
	ts := syscall.NsecToTimespec(int64(d))
	_ = syscall.Nanosleep(&ts, nil)
}

// relieve asks the keeper at the socket who it is, and to leave if it is another
// program than this.
func (k *keeper) relieve() (same, answered bool) {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return false, false
	}
	defer closeFD(&fd)
	tv := syscall.NsecToTimeval(int64(answerIn))
	_ = syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &tv)
	if syscall.Connect(fd, &syscall.SockaddrUnix{Name: k.sockPath()}) != nil {
		return false, false
	}
	hello := keeperwire.Msg{Kind: keeperwire.Hello, Version: keeperwire.Version}
	m, ok := k.ask(fd, &hello)
	if !ok || m.Welcome == nil {
		return false, false
	}
	if m.Welcome.Build == k.buildSum() {
		return true, true
	}
	_, ok = k.ask(fd, &keeperwire.Msg{Kind: keeperwire.Leave})
	return false, ok
}

func (k *keeper) ask(fd int, m *keeperwire.Msg) (keeperwire.Msg, bool) {
	if syscall.Sendto(fd, m.Append(nil), syscall.MSG_NOSIGNAL, nil) != nil {
		return keeperwire.Msg{}, false
	}
	n, err := again(func() (int, error) { return syscall.Read(fd, k.frame) })
	if err != nil || n == 0 {
		return keeperwire.Msg{}, false
	}
	answer, err := keeperwire.Decode(k.frame[:n])
	return answer, err == nil
}

// buildSum tells programs apart: the sum of this one's bytes.
func (k *keeper) buildSum() uint64 {
	if k.build > 0 {
		return k.build
	}
	fd, err := syscall.Open("/proc/self/exe", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer closeFD(&fd)
	size, crc := uint64(0), uint32(0)
	for {
		n, err := again(func() (int, error) { return syscall.Read(fd, k.frame) })
		if err != nil || n == 0 {
			k.build = size<<32 | uint64(crc)
			return k.build
		}
		size, crc = size+uint64(n), crc32.Update(crc, castagnoli, k.frame[:n])
	}
}
