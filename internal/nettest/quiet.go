package nettest

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Quiet reports whether nothing has arrived on the connected socket fd, as
// host/sock.Quiet does, for the tests of rooms, which know no host.
func Quiet(fd uintptr) bool {
	look := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN | unix.POLLRDHUP}}
	for {
		n, err := unix.Poll(look[:], 0)
		if !errors.Is(err, unix.EINTR) {
			return err == nil && n == 0
		}
	}
}
