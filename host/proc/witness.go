package proc

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Witness stands by a process that somebody else is the parent of: with it open,
// the exit status outlives the parent, and so does what is unread in the FIFOs.
type Witness struct {
	pid   int
	ticks uint64
	pidfd int
	fifos []int
}

// Watch returns a witness of the process pid that started at ticks, where that is
// not 0: it holds the FIFOs out and err of dir. FIFOs that are not there are left
// out.
func Watch(pid int, ticks uint64, dir string) (*Witness, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("watch process %d: %w", pid, err)
	}
	s, err := Stat(pid)
	if err != nil || ticks != 0 && s.Ticks != ticks { // opened first, compared then: another one may have the pid by now
		_ = unix.Close(fd)
		return nil, fmt.Errorf("watch process %d: it is another one by now", pid)
	}
	w := &Witness{pid: pid, ticks: s.Ticks, pidfd: fd}
	for _, name := range []string{"out", "err"} {
		// Both ends: with one of them alone the open would wait for the other. No
		// [os.File]: its poller would wake us at every line that is written.
		fifo, err := unix.Open(filepath.Join(dir, name), unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err == nil {
			w.fifos = append(w.fifos, fifo)
		}
	}
	return w, nil
}

// PID returns whom w watches.
func (w *Witness) PID() int { return w.pid }

// Close lets go of everything.
func (w *Witness) Close() error {
	err := unix.Close(w.pidfd)
	for _, fifo := range w.fifos {
		err = errors.Join(err, unix.Close(fifo))
	}
	return err //nolint:wrapcheck // nothing is lost by it
}

// Exit returns the wait status of the process, if it has ended and the kernel
// tells: a zombie's is in /proc, and of one that has been taken away Linux 6.15
// tells who holds a pidfd.
func (w *Witness) Exit() (status syscall.WaitStatus, known bool) {
	if s, err := Stat(w.pid); err == nil && s.Ticks == w.ticks && s.State == 'Z' && os.Geteuid() == 0 {
		return s.Exit, true
	}
	info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
	if err := unix.IoctlPidfdInfo(w.pidfd, &info); err != nil || info.Mask&unix.PIDFD_INFO_EXIT == 0 {
		return 0, false
	}
	return syscall.WaitStatus(uint32(info.Exit_code)), true //nolint:gosec // the same bits
}
