package sock

import (
	"errors"
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// Cred is who a process was when it connected.
type Cred struct {
	UID, GID uint32
	PID      int32 // as seen from here; 0 if it is in no namespace we can see
}

// ErrNotUnix is wrapped by [PeerCred]'s error for a connection that is no Unix
// socket.
var ErrNotUnix = errors.New("not a Unix socket")

// PeerCred returns who is at the other end of c, a Unix socket: the kernel's
// word, not the peer's. For a listener's connection it is who called connect.
func PeerCred(c net.Conn) (Cred, error) {
	s, ok := c.(syscall.Conn)
	if _, is := c.LocalAddr().(*net.UnixAddr); !ok || !is {
		return Cred{}, fmt.Errorf("ask for peer: %w", ErrNotUnix)
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return Cred{}, fmt.Errorf("ask for peer: %w", err)
	}
	var peer *unix.Ucred
	e := raw.Control(func(fd uintptr) { peer, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err = errors.Join(err, e); err != nil {
		return Cred{}, fmt.Errorf("ask for peer: %w", err)
	}
	return Cred{UID: peer.Uid, GID: peer.Gid, PID: peer.Pid}, nil
}

// Guarded returns l without the connections that allow does not want: they are
// closed as soon as they are accepted, before a byte is read. allow must not
// block.
func Guarded(l net.Listener, allow func(Cred) bool) net.Listener { return guarded{l, allow} }

type guarded struct {
	net.Listener

	allow func(Cred) bool
}

func (g guarded) Accept() (net.Conn, error) {
	for {
		c, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if peer, err := PeerCred(c); err == nil && g.allow(peer) {
			return c, nil
		}
		_ = c.Close()
	}
}
