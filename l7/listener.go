package l7

import (
	"errors"
	"maps"
	"net"
	"slices"
	"sync"
	"time"
)

// listener is a listening socket that was handed in.
type listener struct {
	net.Listener

	bind      string
	accepting bool
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

func (p *Proxy) accept(l *listener) {
	pause := acceptPause
	for {
		c, err := l.Accept()
		switch {
		case err == nil:
			pause = acceptPause
			p.working.Go(func() { p.engine.serve(c, l.bind) })
		case errors.Is(err, net.ErrClosed):
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
// accepts while such a frontend is in force and is closed when that goes; until
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
	return p.listeners[bind] != nil
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
		if p.listeners[bind] == nil {
			missing = append(missing, bind)
		}
	}
	return missing
}
