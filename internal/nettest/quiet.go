package nettest

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Quiet reports whether nothing has arrived on the connected socket fd, as
// host/sock.Quiet does, for the tests of rooms, which know no host.
func Quiet(fd uintptr) bool {
	var one [1]byte
	for {
		_, _, err := unix.Recvfrom(int(fd), one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		if !errors.Is(err, unix.EINTR) {
			return errors.Is(err, unix.EAGAIN)
		}
	}
}
