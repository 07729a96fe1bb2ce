package keeper

import (
	"errors"
	"strconv"
	"syscall"
	"time"
	"unsafe"
)

// Numbers that package syscall, frozen long ago, does not have. System calls
// from 424 on have one number on every architecture.
const (
	sysPidfdSendSignal = 424
	sysPidfdOpen       = 434
	sysCloseRange      = 436

	clockBoottime = 7
	wnowait       = 0x01000000
	pAll          = 0
	pPID          = 1
	cldExited     = 1
	cldDumped     = 3

	pidfdGetInfo  = 3<<30 | pidfdInfoSize<<16 | 0xFF<<8 | 11 // _IOWR(0xFF, 11, struct pidfd_info)
	pidfdInfoSize = 64
	pidfdInfoExit = 1 << 3

	setPipeSize   = 1031
	prSubreaper   = 36
	spliceNow     = 2 // SPLICE_F_NONBLOCK
	closeCloexec  = 4 // CLOSE_RANGE_CLOEXEC
	sigcont       = syscall.SIGCONT
	openPath      = 0x200000 // O_PATH
	timerAbsolute = 1
)

// boottime is the clock of every deadline: it grows, and counts sleep.
func boottime() time.Duration {
	var ts syscall.Timespec
	_, _, _ = syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clockBoottime, uintptr(unsafe.Pointer(&ts)), 0)
	return time.Duration(ts.Nano())
}

func wall() int64 { return time.Now().UnixNano() }

func timerfd() (int, error) {
	fd, _, e := syscall.RawSyscall(syscall.SYS_TIMERFD_CREATE, clockBoottime, syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	return int(fd), errno(e)
}

// setTimer has fd readable at `at`, at once if that is past; 0 is never.
func setTimer(fd int, at time.Duration) {
	spec := [2]syscall.Timespec{{}, syscall.NsecToTimespec(int64(at))}
	_, _, _ = syscall.RawSyscall6(syscall.SYS_TIMERFD_SETTIME, uintptr(fd), timerAbsolute, uintptr(unsafe.Pointer(&spec)), 0, 0, 0)
}

func errno(e syscall.Errno) error {
	if e == 0 {
		return nil
	}
	return e
}

func pidfdOpen(pid int) (int, error) {
	fd, _, e := syscall.RawSyscall(sysPidfdOpen, uintptr(pid), 0, 0)
	if e != 0 {
		return -1, e
	}
	return int(fd), nil // close-on-exec by nature
}

func pidfdSignal(fd int, sig syscall.Signal) error {
	if fd < 0 {
		return syscall.ESRCH
	}
	_, _, e := syscall.RawSyscall6(sysPidfdSendSignal, uintptr(fd), uintptr(sig), 0, 0, 0, 0)
	return errno(e)
}

// end is how a child ended, as the kernel says it.
type end struct {
	pid, code, status int
	usage             syscall.Rusage
}

// waitid asks for a child that has ended, without waiting for one.
func waitid(kind, id, options int) (end, error) {
	var info [128]byte
	var e end
	_, _, err := syscall.RawSyscall6(syscall.SYS_WAITID, uintptr(kind), uintptr(id), uintptr(unsafe.Pointer(&info)),
		uintptr(options|syscall.WEXITED|syscall.WNOHANG), uintptr(unsafe.Pointer(&e.usage)), 0)
	e.code = int(*(*int32)(unsafe.Pointer(&info[8])))
	e.pid = int(*(*int32)(unsafe.Pointer(&info[16])))
	e.status = int(*(*int32)(unsafe.Pointer(&info[24])))
	return e, errno(err)
}

// exitInfo asks a descriptor how its process ended: Linux 6.15 knows, once
// somebody has reaped it.
func exitInfo(pidfd int) (syscall.WaitStatus, bool) {
	var info [pidfdInfoSize]byte
	*(*uint64)(unsafe.Pointer(&info[0])) = pidfdInfoExit
	_, _, e := syscall.RawSyscall(syscall.SYS_IOCTL, uintptr(pidfd), pidfdGetInfo, uintptr(unsafe.Pointer(&info)))
	if e != 0 || *(*uint64)(unsafe.Pointer(&info[0]))&pidfdInfoExit == 0 {
		return 0, false
	}
	return syscall.WaitStatus(*(*int32)(unsafe.Pointer(&info[60]))), true
}

func fcntl(fd, op, arg int) (int, error) {
	n, _, e := syscall.RawSyscall(syscall.SYS_FCNTL, uintptr(fd), uintptr(op), uintptr(arg))
	return int(n), errno(e)
}

// unread is how many bytes wait in a FIFO.
func unread(fd int) int {
	n := int32(0)
	_, _, e := syscall.RawSyscall(syscall.SYS_IOCTL, uintptr(fd), syscall.TIOCINQ, uintptr(unsafe.Pointer(&n)))
	if e != 0 {
		return 0
	}
	return int(n)
}

// again calls f until no signal interrupts it.
func again(f func() (int, error)) (int, error) {
	for {
		n, err := f()
		if !errors.Is(err, syscall.EINTR) {
			return n, err
		}
	}
}

// slurp reads a small file, of /proc mostly, into b.
func slurp(path string, b []byte) ([]byte, error) {
	fd, err := again(func() (int, error) { return syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0) })
	if err != nil {
		return nil, err
	}
	defer closeFD(&fd)
	n := 0
	for n < len(b) {
		m, err := again(func() (int, error) { return syscall.Read(fd, b[n:]) })
		if err != nil {
			return nil, err
		}
		if m == 0 {
			break
		}
		n += m
	}
	return b[:n], nil
}

// spill writes s to an existing file of /proc or a cgroup.
func spill(path, s string) error {
	fd, err := again(func() (int, error) { return syscall.Open(path, syscall.O_WRONLY|syscall.O_CLOEXEC, 0) })
	if err != nil {
		return err
	}
	defer closeFD(&fd)
	_, err = again(func() (int, error) { return syscall.Write(fd, []byte(s)) })
	return err
}

// closeFD closes fd once.
func closeFD(fd *int) {
	if *fd >= 0 {
		_ = syscall.Close(*fd)
	}
	*fd = -1
}

// names are those in a directory.
func names(dir string) []string {
	fd, err := syscall.Open(dir, syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer closeFD(&fd)
	var found []string
	buf := make([]byte, 16<<10)
	for {
		n, err := syscall.ReadDirent(fd, buf)
		if err != nil || n <= 0 {
			return found
		}
		_, _, found = syscall.ParseDirent(buf[:n], -1, found)
	}
}

// say writes a line for people to the keeper's own log.
func say(words ...string) {
	b := time.Now().UTC().AppendFormat(make([]byte, 0, 256), time.RFC3339)
	for _, w := range words {
		b = append(append(b, ' '), w...)
	}
	_, _ = syscall.Write(2, append(b, '\n'))
}

// named is an error's name as the manual has it, with what it means.
func named(err error) string {
	var e syscall.Errno
	if !errors.As(err, &e) {
		return err.Error()
	}
	for _, n := range errnoNames {
		if n.e == e {
			return n.name + " (" + e.Error() + ")"
		}
	}
	return "errno " + strconv.Itoa(int(e)) + " (" + e.Error() + ")"
}

var errnoNames = []struct {
	e    syscall.Errno
	name string
}{
	{syscall.EPERM, "EPERM"},
	{syscall.ENOENT, "ENOENT"},
	{syscall.EACCES, "EACCES"},
	{syscall.ENOEXEC, "ENOEXEC"},
	{syscall.ETXTBSY, "ETXTBSY"},
	{syscall.EISDIR, "EISDIR"},
	{syscall.ENOTDIR, "ENOTDIR"},
	{syscall.EAGAIN, "EAGAIN"},
	{syscall.ENOMEM, "ENOMEM"},
	{syscall.EMFILE, "EMFILE"},
	{syscall.ENFILE, "ENFILE"},
	{syscall.EINVAL, "EINVAL"},
	{syscall.ENOSPC, "ENOSPC"},
	{syscall.EIO, "EIO"},
	{syscall.EROFS, "EROFS"},
	{syscall.E2BIG, "E2BIG"},
	{syscall.ELOOP, "ELOOP"},
	{syscall.ENAMETOOLONG, "ENAMETOOLONG"},
	{syscall.EDQUOT, "EDQUOT"},
	{syscall.EBUSY, "EBUSY"},
	{syscall.ENXIO, "ENXIO"},
	{syscall.ENODEV, "ENODEV"},
	{syscall.ESRCH, "ESRCH"},
	{syscall.EBADF, "EBADF"},
}
