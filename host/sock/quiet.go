package sock

import "golang.org/x/sys/unix"

// Quiet reports whether nothing has arrived on the connected socket fd: no byte,
// no end, no error. It does not wait and takes nothing away. It is asked for each
// request that goes over a kept connection, so it allocates nothing: a peek by
// recvfrom would, for the address that nobody wants.
func Quiet(fd uintptr) bool {
	look := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN | unix.POLLRDHUP}}
	for {
		n, err := unix.Poll(look[:], 0)
		if err != unix.EINTR {
			return err == nil && n == 0
		}
	}
}
