package sock

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// collect asks for all files; no file has a name with a blank.
const collect = "collect all"

// maxCollected bounds what one process hands out: every address of a large file.
const maxCollected = 1000

// Collect asks the process that serves path with [Receive] for copies of all
// files it gives: whoever held them before may be dead.
func Collect(ctx context.Context, path string) (map[string]*os.File, error) {
	ctx, cancel := context.WithTimeout(ctx, passWithin)
	defer cancel()
	found, err := collectFrom(ctx, path)
	if err != nil {
		for _, f := range found {
			_ = f.Close()
		}
		return nil, fmt.Errorf("collect files from %s: %w", path, err)
	}
	return found, nil
}

func collectFrom(ctx context.Context, path string) (map[string]*os.File, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, "unixpacket", path)
	if err != nil {
		return nil, short(err)
	}
	defer closeWith(ctx, c)()
	if _, err := c.Write([]byte(collect)); err != nil {
		return nil, stopped(ctx, err)
	}
	found := map[string]*os.File{}
	for len(found) < maxCollected {
		name, f, err := message(c.(*net.UnixConn))
		switch {
		case err != nil && !errors.Is(err, io.EOF):
			return found, stopped(ctx, err)
		case err == nil && f != nil:
			if old := found[name]; old != nil {
				_ = old.Close()
			}
			found[name] = f
		case name == accepted:
			return found, nil
		default:
			return found, errors.New("it ended in the middle")
		}
	}
	return found, fmt.Errorf("more than %d", maxCollected)
}

// handOut sends every file and then that these are all.
func handOut(c *net.UnixConn, files map[string]*os.File) {
	for name, f := range files {
		raw, err := f.SyscallConn()
		if err != nil {
			return
		}
		e := raw.Control(func(fd uintptr) { _, _, err = c.WriteMsgUnix([]byte(name), unix.UnixRights(int(fd)), nil) })
		if errors.Join(err, e) != nil {
			return
		}
	}
	_, _ = c.Write([]byte(accepted))
}
