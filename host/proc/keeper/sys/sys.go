// Package sys is what the keeper needs of Linux that package syscall, frozen long
// ago, does not have, and what makes the rest of it short.
package sys

import (
	"errors"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// Numbers that package syscall, frozen long ago, does not have. System calls
// from 424 on have one number on every architecture.
const (
	sysPidfdSendSignal = 424
	sysPidfdOpen       = 434
	SysCloseRange      = 436

	clockBoottime = 7
	WNoWait       = 0x01000000
	PAll          = 0
	PPID          = 1
	EpollEdge     = 1 << 31 // EPOLLET
	PunchHole     = 3       // FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE
	cldExited     = 1
	cldDumped     = 3

	pidfdGetInfo  = 3<<30 | pidfdInfoSize<<16 | 0xFF<<8 | 11 // _IOWR(0xFF, 11, struct pidfd_info)
	pidfdInfoSize = 64
	pidfdInfoExit = 1 << 3

	SetPipeSize   = 1031
	PrSubreaper   = 36
	SpliceNow     = 2        // SPLICE_F_NONBLOCK
	CloseCloexec  = 4        // CLOSE_RANGE_CLOEXEC
	OpenPath      = 0x200000 // O_PATH
	timerAbsolute = 1
)

// Boottime is the clock of every deadline: it grows, and counts sleep.
func Boottime() time.Duration {
	var ts syscall.Timespec
	_, _, _ = syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clockBoottime, uintptr(unsafe.Pointer(&ts)), 0)
	return time.Duration(ts.Nano())
}

// Wall is the time of people, Unix ns.
func Wall() int64 { return time.Now().UnixNano() }

func timerfd() (int, error) {
	fd, _, e := syscall.RawSyscall(syscall.SYS_TIMERFD_CREATE, clockBoottime, syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	return int(fd), Errno(e)
}

// setTimer has fd readable at `at`, at once if that is past; 0 is never.
func setTimer(fd int, at time.Duration) {
	spec := [2]syscall.Timespec{{}, syscall.NsecToTimespec(int64(at))}
	_, _, _ = syscall.RawSyscall6(syscall.SYS_TIMERFD_SETTIME, uintptr(fd), timerAbsolute, uintptr(unsafe.Pointer(&spec)), 0, 0, 0)
}

// Errno is e as an error: nil for 0.
func Errno(e syscall.Errno) error {
	if e == 0 {
		return nil
	}
	return e
}

// PidfdOpen opens a process.
func PidfdOpen(pid int) (int, error) {
	fd, _, e := syscall.RawSyscall(sysPidfdOpen, uintptr(pid), 0, 0)
	if e != 0 {
		return -1, e
	}
	return int(fd), nil // close-on-exec by nature
}

// PidfdSignal signals a process; fd < 0 is one that is gone.
func PidfdSignal(fd int, sig syscall.Signal) error {
	if fd < 0 {
		return syscall.ESRCH
	}
	_, _, e := syscall.RawSyscall6(sysPidfdSendSignal, uintptr(fd), uintptr(sig), 0, 0, 0, 0)
	return Errno(e)
}

// End is how a child ended.
type End struct {
	PID    int
	Status syscall.WaitStatus
	Usage  syscall.Rusage
}

// Waitid asks for a child that has ended, without waiting for one.
func Waitid(kind, id, options int) (End, error) {
	var info [128]byte
	var e End
	_, _, err := syscall.RawSyscall6(syscall.SYS_WAITID, uintptr(kind), uintptr(id), uintptr(unsafe.Pointer(&info)),
		uintptr(options|syscall.WEXITED|syscall.WNOHANG), uintptr(unsafe.Pointer(&e.Usage)), 0)
	code, status := *(*int32)(unsafe.Pointer(&info[8])), *(*int32)(unsafe.Pointer(&info[24]))
	e.PID = int(*(*int32)(unsafe.Pointer(&info[16])))
	switch code {
	case cldExited:
		status <<= 8
	case cldDumped:
		status |= 0x80
	}
	e.Status = syscall.WaitStatus(status)
	return e, Errno(err)
}

// ExitInfo asks a descriptor how its process ended: Linux 6.15 knows, once
// somebody has reaped it.
func ExitInfo(pidfd int) (syscall.WaitStatus, bool) {
	var info [pidfdInfoSize]byte
	*(*uint64)(unsafe.Pointer(&info[0])) = pidfdInfoExit
	_, _, e := syscall.RawSyscall(syscall.SYS_IOCTL, uintptr(pidfd), pidfdGetInfo, uintptr(unsafe.Pointer(&info)))
	if e != 0 || *(*uint64)(unsafe.Pointer(&info[0]))&pidfdInfoExit == 0 {
		return 0, false
	}
	return syscall.WaitStatus(*(*int32)(unsafe.Pointer(&info[60]))), true
}

// Mkdir makes path, where it is not.
func Mkdir(path string) error {
	if err := syscall.Mkdir(path, 0o755); err != nil && err != syscall.EEXIST {
		return err
	}
	return nil
}

// Fcntl is fcntl(2).
func Fcntl(fd, op, arg int) (int, error) {
	n, _, e := syscall.RawSyscall(syscall.SYS_FCNTL, uintptr(fd), uintptr(op), uintptr(arg))
	return int(n), Errno(e)
}

// Unread is how many bytes wait in a FIFO.
func Unread(fd int) int {
	n := int32(0)
	_, _, e := syscall.RawSyscall(syscall.SYS_IOCTL, uintptr(fd), syscall.TIOCINQ, uintptr(unsafe.Pointer(&n)))
	if e != 0 {
		return 0
	}
	return int(n)
}

// Readable reports whether something can be read from one of two descriptors. It
// takes no lock of a pipe, which a write to a disk that hangs may hold.
func Readable(a, b int) bool {
	const pollIn = 1
	fds := [2]struct {
		fd              int32
		events, revents int16
	}{{fd: int32(a), events: pollIn}, {fd: int32(b), events: pollIn}}
	var now syscall.Timespec
	n, _, e := syscall.RawSyscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&fds)), 2, uintptr(unsafe.Pointer(&now)), 0, 0, 0)
	return e != 0 || n > 0
}

// Again calls f until no signal interrupts it.
func Again(f func() (int, error)) (int, error) {
	for {
		n, err := f()
		if !errors.Is(err, syscall.EINTR) {
			return n, err
		}
	}
}

// Open opens path, for us alone.
func Open(path string, flags int, mode uint32) (int, error) {
	fd, err := Again(func() (int, error) { return syscall.Open(path, flags|syscall.O_CLOEXEC, mode) })
	if err != nil {
		return -1, err
	}
	return fd, nil
}

// Slurp reads what fits b of a file, of /proc mostly.
func Slurp(path string, b []byte) ([]byte, error) {
	fd, err := Open(path, syscall.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer CloseFD(&fd)
	for n := 0; ; {
		m, err := Again(func() (int, error) { return syscall.Read(fd, b[n:]) })
		if err != nil || m == 0 {
			return b[:n], err
		}
		n += m
	}
}

// Spill writes s to an existing file of /proc or a cgroup.
func Spill(path, s string) error {
	fd, err := Open(path, syscall.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer CloseFD(&fd)
	return Pwrite(fd, []byte(s), 0)
}

// CloseFD closes fd once.
func CloseFD(fd *int) {
	if *fd >= 0 {
		_ = syscall.Close(*fd)
	}
	*fd = -1
}

// Say writes a line for people to the keeper's own log.
func Say(words ...string) {
	b := time.Now().UTC().AppendFormat(make([]byte, 0, 256), time.RFC3339)
	for _, w := range words {
		b = append(append(b, ' '), w...)
	}
	_, _ = syscall.Write(2, append(b, '\n'))
}

// errnoNames are the errors that are numbered alike on every machine, from 1 on.
const errnoNames = "EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT ENOTBLK " +
	"EBUSY EEXIST EXDEV ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE EROFS"

// Named is an error's name as the manual has it, with what it means.
func Named(err error) string {
	var e syscall.Errno
	if !errors.As(err, &e) {
		return err.Error()
	}
	name := "errno " + strconv.Itoa(int(e))
	if all := strings.Fields(errnoNames); e > 0 && int(e) <= len(all) {
		name = all[e-1]
	}
	return name + " (" + e.Error() + ")"
}

// failure is an error with its story: "open /run/x: EACCES (permission denied)".
type failure struct{ did, why string }

func (f failure) Error() string { return f.did + ": " + f.why }

// Fail says at what err came up.
func Fail(did string, err error) error { return failure{did, Named(err)} }

// Pwrite writes all of b at off, or says why not.
func Pwrite(fd int, b []byte, off int64) error {
	for len(b) > 0 {
		n, err := Again(func() (int, error) { return syscall.Pwrite(fd, b, off) })
		if err != nil {
			return err
		}
		b, off = b[n:], off+int64(n)
	}
	return nil
}
