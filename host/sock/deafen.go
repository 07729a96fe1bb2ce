package sock

import (
	"errors"
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// Hop counts below which a socket takes no packet.
const (
	deaf  = 255 // no packet has more, and hardly any system sends with as many: Linux does with 64
	hears = 0
)

// Deafen has the kernel hear no newcomer on l, whoever else holds its socket: so
// its queue can be emptied for good before it is closed. A client that comes
// meanwhile tries again after a second and is refused then, where shutdown(2)
// would reset who is in the queue. A handshake that has begun goes on, and its
// connection is as deaf until it is given to [Hear].
//
// It is done with the least hop count, which is checked for a SYN and for none of
// the other packets of a handshake. A filter would be the plainer means, and is
// refused to those who are not root on some hosts. Only plain TCP can be
// deafened; a Unix socket is left as it is.
func Deafen(l net.Listener) error {
	if tcp, ok := l.(*net.TCPListener); ok {
		return setMinHops(tcp, deaf)
	}
	return nil
}

// Hear has c hear everybody, which a deafened listener has accepted.
func Hear(c net.Conn) error {
	if tcp, ok := c.(*net.TCPConn); ok {
		return setMinHops(tcp, hears)
	}
	return nil
}

// setMinHops sets the least hop count of both families: a socket of IPv6 may have
// peers of IPv4.
func setMinHops(s syscall.Conn, hops int) error {
	raw, err := s.SyscallConn()
	if err != nil {
		return fmt.Errorf("set least hop count: %w", err)
	}
	var four, six error
	err = raw.Control(func(fd uintptr) {
		four = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_MINTTL, hops)
		six = unix.SetsockoptInt(int(fd), unix.SOL_IPV6, unix.IPV6_MINHOPCOUNT, hops)
	})
	if errors.Is(six, unix.ENOPROTOOPT) { // it is of IPv4
		six = nil
	}
	if err := errors.Join(err, four, six); err != nil {
		return fmt.Errorf("set least hop count: %w", err)
	}
	return nil
}
