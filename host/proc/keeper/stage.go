package keeper

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"github.com/backstay/backstay/host/proc/keeper/sys"
	"github.com/backstay/backstay/internal/keeperwire"
)

// stageDone is said when nothing but execve is left to do.
const stageDone = "+"

// stageFailed is the exit status of a stage that did not become its service.
const stageFailed = 125

// Stage turns this process, just cloned by a keeper, into the service whose spec
// comes through descriptor link. It is a program of its own run between clone
// and exec because only it can know LISTEN_PID, and because what it does to
// itself no other process should have had for a moment. It does not return.
//
// The descriptor tells the keeper all that it needs: the spec comes first, then a
// byte when the keeper has written down who we are; a keeper that dies before
// takes us with it. What goes back is stageDone before execve, and after it, or
// in its place, the step that failed; so that the descriptor closes after
// stageDone alone means that execve has succeeded.
func Stage(link int) {
	runtime.LockOSThread() // nice and the signal mask belong to the thread, and execve keeps the caller's
	s := stage{link: link}
	s.receive()
	s.become()
}

type stage struct {
	link int
	spec keeperwire.Spec
	env  []string
}

// fail says what went wrong, and ends.
func (s *stage) fail(step string, err error) {
	text := step + ": " + sys.Named(err)
	_ = syscall.Sendmsg(s.link, []byte(text), nil, nil, syscall.MSG_NOSIGNAL)
	os.Exit(stageFailed) //nolint:forbidigo // the stage is a program
}

func (s *stage) must(step string, err error) {
	if err != nil {
		s.fail(step, err)
	}
}

// receive waits for the spec, and for the keeper's leave to go on.
func (s *stage) receive() {
	buf := make([]byte, keeperwire.MaxFrame)
	n, err := sys.Again(func() (int, error) { return syscall.Read(s.link, buf) })
	if err != nil || n == 0 {
		os.Exit(stageFailed) //nolint:forbidigo // nobody is there to be told
	}
	s.spec, err = keeperwire.DecodeSpec(buf[:n])
	s.must("read spec", err)
	n, err = sys.Again(func() (int, error) { return syscall.Read(s.link, buf[:1]) })
	if err != nil || n == 0 {
		os.Exit(stageFailed) //nolint:forbidigo // the keeper has died: no record of us was made
	}
}

// become is the stage: what needs rights comes before they are given up.
func (s *stage) become() {
	_, err := syscall.Setsid()
	s.must("setsid", err)
	s.badness()
	for _, r := range s.spec.Rlimits {
		lim := syscall.Rlimit{Cur: r.Soft, Max: r.Hard}
		s.must("setrlimit "+strconv.Itoa(int(r.Resource)), syscall.Setrlimit(int(r.Resource), &lim))
	}
	// Also for 0: the keeper's own must not be inherited. Without the right to go
	// back to 0 nobody who has not asked for a value is refused.
	if err := syscall.Setpriority(syscall.PRIO_PROCESS, 0, int(s.spec.Nice)); err != nil && s.spec.Nice != 0 {
		s.fail("nice "+strconv.Itoa(int(s.spec.Nice)), err)
	}
	syscall.Umask(int(s.spec.Umask))
	s.ids()
	dir := s.spec.Dir
	if dir == "" {
		dir = "/"
	}
	s.must("chdir "+dir, syscall.Chdir(dir)) // after the ids: it must be the user who may
	s.listen()
	s.signals()
	first := 3 + len(s.spec.FDs)
	_, _, e := syscall.RawSyscall(sys.SysCloseRange, uintptr(first), uintptr(^uint32(0)), sys.CloseCloexec)
	s.must("close_range", sys.Errno(e))
	s.exec()
}

// badness writes oom_score_adj always: a protected keeper would make protected
// services. Without a wish it is not worth a refusal.
func (s *stage) badness() {
	want := strconv.Itoa(int(s.spec.OOMScoreAdj))
	err := sys.Spill("/proc/self/oom_score_adj", want)
	if s.spec.OOMScoreAdj != 0 {
		s.must("oom_score_adj "+want, err)
	}
}

// ids gives up the rights of this thread alone, which is the one that execve
// keeps: package syscall would stop each of the runtime's threads three times to
// give up theirs too, which die in a moment.
func (s *stage) ids() {
	if !s.spec.SetIDs {
		return
	}
	uid, gid := uintptr(s.spec.UID), uintptr(s.spec.GID)
	if syscall.Getuid() == int(uid) && syscall.Getgid() == int(gid) && uid != 0 {
		return // without root we are who we are
	}
	groups := s.spec.Groups
	_, _, e := syscall.RawSyscall(syscall.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(unsafe.SliceData(groups))), 0)
	s.must("setgroups", sys.Errno(e))
	_, _, e = syscall.RawSyscall(syscall.SYS_SETRESGID, gid, gid, gid)
	s.must("setgid "+strconv.Itoa(int(gid)), sys.Errno(e))
	_, _, e = syscall.RawSyscall(syscall.SYS_SETRESUID, uid, uid, uid)
	s.must("setuid "+strconv.Itoa(int(uid)), sys.Errno(e))
}

// listen completes the environment by what only this process knows.
func (s *stage) listen() {
	s.env = s.spec.Env
	if n := len(s.spec.FDs); n > 0 {
		s.env = append(s.env, "LISTEN_PID="+strconv.Itoa(os.Getpid()), "LISTEN_FDS="+strconv.Itoa(n),
			"LISTEN_FDNAMES="+strings.Join(s.spec.FDs, ":"))
	}
}

// signals undoes what a keeper under nohup or a shell has left ignored, and
// unblocks all of them. The Go runtime's handlers go with execve by themselves.
func (s *stage) signals() {
	var ign [4]uint64 // struct kernel_sigaction: handler first, on every 64-bit machine
	for sig := 1; sig <= 64; sig++ {
		_, _, e := syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(sig), 0, uintptr(unsafe.Pointer(&ign)), 8, 0, 0)
		if e != 0 || ign[0] != 1 { // 1 is SIG_IGN
			continue
		}
		var dfl [4]uint64
		_, _, _ = syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&dfl)), 0, 8, 0, 0)
	}
	var none uint64
	_, _, e := syscall.RawSyscall6(syscall.SYS_RT_SIGPROCMASK, 2, uintptr(unsafe.Pointer(&none)), 0, 8, 0, 0) // SIG_SETMASK
	s.must("sigprocmask", sys.Errno(e))
}

// exec names the cause where execve's own word for it misleads.
func (s *stage) exec() {
	path := s.spec.Argv[0]
	_ = syscall.Sendmsg(s.link, []byte(stageDone), nil, nil, syscall.MSG_NOSIGNAL)
	err := syscall.Exec(path, s.spec.Argv, s.env)
	var st syscall.Stat_t
	switch {
	case err == syscall.ENOENT && syscall.Stat(path, &st) == nil:
		s.fail("exec "+path+" (its interpreter or loader is missing)", err)
	case err == syscall.EACCES && syscall.Stat(path, &st) == nil && st.Mode&syscall.S_IFMT == syscall.S_IFDIR:
		s.fail("exec "+path, syscall.EISDIR)
	case err == syscall.EACCES && syscall.Stat(path, &st) == nil && st.Mode&0o111 == 0:
		s.fail("exec "+path+" (it is not executable)", err)
	case err == syscall.ENOEXEC:
		s.fail("exec "+path+" (not a program of this machine, or a script without #!)", err)
	}
	s.fail("exec "+path, err)
}
