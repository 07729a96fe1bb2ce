package sock

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// answerWithin is how long a socket at a path may take to accept before it
// counts as alive and busy.
const answerWithin = time.Second

// listenUnix listens at path with exactly the permissions mode.
func listenUnix(network, path string, mode fs.FileMode) (net.Listener, error) {
	switch {
	case !filepath.IsAbs(path):
		return nil, fmt.Errorf("%q is not an absolute path", path)
	case len(path) > maxPath:
		return nil, fmt.Errorf("the path has %d bytes, and the kernel takes %d; choose a shorter one", len(path), maxPath)
	}
	unlock, err := lockDir(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer unlock()
	l, err := bindUnix(network, path, mode)
	if errors.Is(err, syscall.EADDRINUSE) {
		if err := removeStale(network, path); err != nil {
			return nil, err
		}
		l, err = bindUnix(network, path, mode)
	}
	if err != nil {
		return nil, short(err)
	}
	if err := os.Chmod(path, mode); err != nil { // bits that the umask took
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// bindUnix binds without a moment in which others may connect who should not:
// the socket has its mode before it has a name.
func bindUnix(network, path string, mode fs.FileMode) (net.Listener, error) {
	c := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		if e := raw.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), uint32(mode.Perm())) }); e != nil {
			return e
		}
		return err
	}}
	return c.Listen(context.Background(), network, path)
}

// lockDir keeps two processes from both finding a stale socket, where the slower
// would remove what the faster has just bound.
func lockDir(dir string) (unlock func(), err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("directory of the socket: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("lock directory %s: %w", dir, err), f.Close())
	}
	return func() { _ = f.Close() }, nil
}

// removeStale removes a socket of ours at path that nobody answers at.
func removeStale(network, path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("there is something that is no socket: %v; it is left as it is", info.Mode())
	case !ok || int(owner.Uid) != os.Geteuid():
		return errors.New("there is a socket of another user; it is left as it is")
	}
	ctx, cancel := context.WithTimeout(context.Background(), answerWithin)
	defer cancel()
	c, err := (&net.Dialer{}).DialContext(ctx, network, path)
	if err == nil {
		_ = c.Close()
		return fmt.Errorf("somebody listens there: %w", syscall.EADDRINUSE)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("there is a socket that may be in use: %w", short(err))
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("remove stale socket: %w", err)
	}
	return nil
}
