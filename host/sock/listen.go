package sock

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Listen binds addr and listens there: ":8080" in both families, an IP address
// and port as in "127.0.0.1:8080" or "[::1]:8080", or "unix:" and an absolute
// path. It never asks a name server. The socket is closed on exec unless it is
// handed down.
//
// A Unix socket gets mode 0660. A socket that is left at its path is replaced if
// it is ours and nobody answers there; nothing else is ever removed.
func Listen(addr string) (*os.File, error) {
	l, err := listen(addr)
	if err != nil {
		return nil, fmt.Errorf("listen at %s: %w", addr, err)
	}
	return detach(l)
}

func listen(addr string) (net.Listener, error) {
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		return listenUnix("unix", path, 0o660)
	}
	if port, ok := strings.CutPrefix(addr, ":"); ok {
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return nil, fmt.Errorf("%q is not a port", port)
		}
	} else if _, err := netip.ParseAddrPort(addr); err != nil {
		return nil, errors.New("it is neither :PORT nor IP:PORT nor unix:PATH")
	}
	var plain net.ListenConfig
	plain.SetMultipathTCP(false) // a socket of several paths cannot be deafened: see Deafen
	l, err := plain.Listen(context.Background(), "tcp", addr)
	return l, short(err)
}

// short drops what Go's network errors repeat: the caller has said it.
func short(err error) error {
	if sys, ok := errors.AsType[*os.SyscallError](err); ok {
		return sys.Err
	}
	return err
}

// detach returns the socket of l without what Go wraps around it, which closes
// it and removes its path.
func detach(l net.Listener) (*os.File, error) {
	f, err := File(l)
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	return f, errors.Join(err, l.Close())
}

// File returns a duplicate of the socket of l: it goes on listening when l is
// closed.
func File(l net.Listener) (*os.File, error) {
	s, ok := l.(interface{ File() (*os.File, error) })
	if !ok {
		return nil, fmt.Errorf("duplicate listener: a %T has no file", l)
	}
	f, err := s.File()
	if err != nil {
		return nil, fmt.Errorf("duplicate listener: %w", err)
	}
	return f, nil
}

// Listener returns a listener on a duplicate of f. Closing it leaves f, and the
// path of a Unix socket, as they are.
func Listener(f *os.File) (net.Listener, error) {
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", f.Name(), err)
	}
	return l, nil
}

// Free reports whether an instance could listen on port: on loopback, and on
// all addresses of both families.
func Free(port uint16) bool {
	if port == 0 {
		return false
	}
	p := strconv.Itoa(int(port))
	for _, addr := range []string{"127.0.0.1:" + p, ":" + p} {
		l, err := listen(addr)
		if err != nil {
			return false
		}
		_ = l.Close()
	}
	return true
}

// maxPath is the longest path of a Unix socket: sun_path without its final NUL.
const maxPath = len(unix.RawSockaddrUnix{}.Path) - 1

// NotHere reports whether err is that the host does not have the address.
func NotHere(err error) bool { return errors.Is(err, unix.EADDRNOTAVAIL) }
