package proc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// lockEvery is how often a lock that somebody has is tried again.
const lockEvery = 20 * time.Millisecond

// LockedError is that another process has a file locked.
type LockedError struct {
	Path string
	PID  int // of who has it; 0 where the kernel does not tell, as of another PID namespace
}

func (e *LockedError) Error() string {
	if e.PID == 0 {
		return "lock " + e.Path + ": another process has it"
	}
	return fmt.Sprintf("lock %s: process %d has it", e.Path, e.PID)
}

// Lock takes the file at path for this process and waits for it until ctx is done;
// then the error is a [LockedError]. flock(2) keeps others out, and a record lock
// beside it tells them who it is. The kernel lets go of both when the process ends,
// and no child has them.
func Lock(ctx context.Context, path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	tick := time.NewTicker(lockEvery)
	defer tick.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			_ = unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
			return f, nil
		case !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR):
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, errors.Join(&LockedError{Path: path, PID: holder(f)}, f.Close())
		}
	}
}

// holder is the process that has f locked, 0 where the kernel does not tell.
func holder(f *os.File) int {
	who := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_GETLK, &who); err != nil || who.Type == unix.F_UNLCK {
		return 0
	}
	return max(int(who.Pid), 0)
}
