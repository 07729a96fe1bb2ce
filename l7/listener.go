package l7

import (
	"errors"
	"maps"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// listener is a listening socket that was handed in.
type listener struct {
	net.Listener

	bind      string
	accepting bool        // guarded by the proxy's mu, as is parting
	parting   bool        // it is being closed, and nobody's any more
	deaf      atomic.Bool // the kernel takes nobody new
	once      sync.Once
	done      chan struct{} // closed by close
}

func (l *listener) close() {
	l.once.Do(func() {
		close(l.done)
		_ = l.Close()
	})
}

// listen starts what should accept and does not. Called with p.mu held.
func (p *Proxy) listen() {
	t := p.table.Load()
	if t == nil || !p.running || p.ending {
		return
	}
	for bind, l := range p.listeners {
		if t.binds[bind] != nil && !l.accepting {
			l.accepting = true
			p.working.Go(func() { p.accept(l) })
		}
	}
}

// Bounds of accepting again after an error, which is nearly always that the
// process has no file descriptor left.
const (
	acceptPause    = 5 * time.Millisecond
	maxAcceptPause = time.Second
)

// accept serves who comes, until l is closed or its deadline has passed, which
// closes it.
func (p *Proxy) accept(l *listener) {
	pause := acceptPause
	for {
		c, err := l.Accept()
		switch {
		case err == nil:
			pause = acceptPause
			if l.deaf.Load() {
				p.hear(c)
			}
			p.working.Go(func() { p.engine.serve(c, l.bind) })
		case errors.Is(err, net.ErrClosed):
			return
		case errors.Is(err, os.ErrDeadlineExceeded):
			l.close()
			return
		default:
			p.log.Error("connection not accepted", "bind", l.bind, "why", err.Error())
			select {
			case <-time.After(pause):
			case <-l.done:
				return
			}
			pause = min(2*pause, maxAcceptPause)
		}
	}
}

// SetListener hands l in for the frontend whose bind is name, and owns it. It
// accepts while such a frontend is in force, and then until [Proxy.Unbind]; until
// one comes, clients wait in the kernel's queue. A listener of the same name is
// replaced.
func (p *Proxy) SetListener(name string, l net.Listener) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ending {
		_ = l.Close()
		return
	}
	if old := p.listeners[name]; old != nil {
		old.close()
	}
	p.listeners[name] = &listener{Listener: l, bind: name, done: make(chan struct{})}
	p.listen()
}

// HasListener reports whether a listener is there for bind.
func (p *Proxy) HasListener(bind string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.has(bind)
}

// has is HasListener, called with p.mu held.
func (p *Proxy) has(bind string) bool {
	l := p.listeners[bind]
	return l != nil && !l.parting
}

// unbound returns the binds of frontends that no listener has come for.
func (p *Proxy) unbound() []string {
	t := p.table.Load()
	if t == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var missing []string
	for _, bind := range slices.Sorted(maps.Keys(t.binds)) {
		if !p.has(bind) {
			missing = append(missing, bind)
		}
	}
	return missing
}
