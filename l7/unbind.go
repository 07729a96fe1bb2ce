package l7

import (
	"net"
	"slices"
	"sync"
	"time"
)

// emptyWithin is how long a listener that is being closed still accepts: whose
// handshake has begun is in its queue a round trip later. Newcomers do not
// notice: their first packet is not heard, and they send it again after a second.
const emptyWithin = 400 * time.Millisecond

// Unbind closes the listeners that no frontend in force names, with all every
// listener there is, and returns when they are closed. Whoever else holds one of
// the sockets must have let go of it before: what one holder closes, another
// keeps open, and clients wait in its queue for nothing. Who has come by then is
// served, with one answer and Connection: close; who comes later is refused.
func (p *Proxy) Unbind(all bool) {
	var closing sync.WaitGroup
	anew, already := p.part(all)
	for _, l := range anew {
		if p.opt.Gone != nil {
			p.opt.Gone(l.bind)
		}
		closing.Go(func() { p.empty(l) })
	}
	for _, l := range already {
		<-l.done
		l.close() // it waits for who is at it
	}
	closing.Wait()
}

// part returns what [Proxy.Unbind] closes, which is nobody's from now on, and
// what an earlier one is about to close.
func (p *Proxy) part(all bool) (anew, already []*listener) {
	p.applying.Lock() // a snapshot that wants one again gets it whole, or not at all
	defer p.applying.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	for bind, l := range p.listeners {
		switch {
		case l.parting:
			already = append(already, l)
		case all || !p.names(bind):
			l.parting = true
			anew = append(anew, l)
		}
	}
	return anew, already
}

func (p *Proxy) names(bind string) bool {
	t := p.table.Load()
	return t != nil && t.binds[bind] != nil
}

// empty closes l once its queue is empty, and no longer grows where the kernel
// can be told so.
func (p *Proxy) empty(l *listener) {
	p.mu.Lock()
	accepting := l.accepting
	p.mu.Unlock()
	if patient, ok := l.Listener.(interface{ SetDeadline(t time.Time) error }); ok && accepting {
		p.deafen(l)
		_ = patient.SetDeadline(time.Now().Add(emptyWithin))
		<-l.done
	}
	l.close()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listeners[l.bind] == l {
		delete(p.listeners, l.bind)
	}
}

// deafen has the kernel take nobody new on l. Where it cannot, who comes between
// the last look at the queue and the close is reset.
func (p *Proxy) deafen(l *listener) {
	if p.opt.Deafen == nil || p.opt.Hear == nil {
		return
	}
	l.deaf.Store(true) // before it is: none that it makes deaf is missed
	if err := p.opt.Deafen(l.Listener); err != nil {
		p.log.Warn("newcomers not kept away from a closing address", "addr", l.Addr().String(), "why", err.Error())
	}
}

func (p *Proxy) hear(c net.Conn) {
	if err := p.opt.Hear(c); err != nil {
		p.log.Warn("connection may not be heard", "client", c.RemoteAddr().String(), "why", err.Error())
	}
}

// partingFronts gives t those fronts of old whose bind it has not, as long as a
// listener or a connection is there: who comes there, or has a request on its way,
// is served by them once more, by the servers that t has.
func (p *Proxy) partingFronts(old, t *table) {
	if old == nil {
		return
	}
	t.parting = map[string]*front{}
	for _, binds := range []map[string]*front{old.parting, old.binds} {
		for bind, f := range binds {
			if t.binds[bind] == nil && (p.listensAt(bind) || f.state.servesAt(bind)) {
				t.parting[bind] = p.partedFront(f, t)
			}
		}
	}
}

func (p *Proxy) listensAt(bind string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.listeners[bind] != nil
}

// servesAt reports whether a connection to bind is there.
func (f *frontState) servesAt(bind string) bool {
	return slices.ContainsFunc(f.list(), func(c *conn) bool { return c.bind == bind })
}

// partedFront is f with the servers of t.
func (p *Proxy) partedFront(f *front, t *table) *front {
	p.lasting.mu.Lock()
	defer p.lasting.mu.Unlock()
	parted := *f
	parted.parted, parted.targets = true, map[targetKey]*target{}
	for key := range f.targets {
		p.compileTarget(&t.says, &parted, key)
	}
	return &parted
}

// partingStates are the names of frontends that are counted on, though they have
// gone.
func (p *Proxy) partingStates(t *table) (names []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for bind, f := range t.parting {
		if p.listeners[bind] != nil {
			names = append(names, f.name)
		}
	}
	return names
}

// at returns the frontend that serves who comes to bind, nil if there is none.
func (t *table) at(bind string) *front {
	if f := t.binds[bind]; f != nil {
		return f
	}
	return t.parting[bind]
}
