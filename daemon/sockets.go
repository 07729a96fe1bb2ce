package daemon

import (
	"fmt"
	"maps"
	"net"
	"os"
	"sync"

	"github.com/backstay/backstay/host/sock"
)

// sockets are those of the proxy role. It keeps each until it is told that agent
// and keeper have let go of it: an agent that has lost its keeper asks for them,
// and one that nobody serves any more must not be left open, or clients wait in
// its queue for ever and nobody can bind its address again.
type sockets struct {
	mu  sync.Mutex // guards all below
	has map[string]*socket
}

// socket is one, under the name it is held by.
type socket struct {
	file   *os.File
	served bool // the proxy has a listener on it
}

func newSockets() *sockets { return &sockets{has: map[string]*socket{}} }

// take keeps f. One of a name that is there already is the same one.
func (s *sockets) take(name string, f *os.File) error {
	_, isBind := bindOf(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.has[name] != nil:
		return f.Close() //nolint:wrapcheck // nothing is lost
	case !isBind && name != heldAPI && name != heldFiles:
		_ = f.Close()
		return fmt.Errorf("%q is no address", name)
	}
	s.has[name] = &socket{file: f, served: !isBind}
	return nil
}

// all returns all of them; they stay ours.
func (s *sockets) all() map[string]*os.File {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]*os.File{}
	for name, one := range s.has {
		out[name] = one.file
	}
	return out
}

// waiting reports whether a socket has come that nothing serves yet.
func (s *sockets) waiting() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, one := range s.has {
		if !one.served {
			return true
		}
	}
	return false
}

// listener returns a listener on the socket of bind, nil where there is none.
func (s *sockets) listener(bind string) (net.Listener, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.has[heldName(bind)]
	if one == nil {
		return nil, nil //nolint:nilnil // it has not come yet
	}
	l, err := sock.Listener(one.file)
	if err != nil {
		return nil, fmt.Errorf("serve %s: %w", bind, err)
	}
	one.served = true
	return l, nil
}

// gone closes the socket of a frontend that has gone, before its listener is.
func (s *sockets) gone(bind string) {
	s.closeWhere(func(name string, _ *socket) bool { return name == heldName(bind) })
}

// closeIdle closes what no frontend in force has asked for: it is of a file that
// was not taken in the end.
func (s *sockets) closeIdle() {
	s.closeWhere(func(_ string, one *socket) bool { return !one.served })
}

func (s *sockets) closeWhere(this func(string, *socket) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.has, func(name string, one *socket) bool {
		if !this(name, one) {
			return false
		}
		_ = one.file.Close() // nobody is to be told
		return true
	})
}
