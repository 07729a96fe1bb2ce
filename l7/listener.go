package l7

import (
	"errors"
	"net"
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
