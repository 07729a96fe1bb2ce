package sock

import "golang.org/x/sys/unix"

// Quiet reports whether nothing has arrived on the connected socket fd: no byte,
// no end, no error. It does not wait and takes nothing away.
func Quiet(fd uintptr) bool {
	var one [1]byte
	for {
		_, _, err := unix.Recvfrom(int(fd), one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		if err != unix.EINTR {
			return err == unix.EAGAIN
		}
	}
}
