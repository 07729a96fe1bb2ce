package l7

import (
	"net"
	"time"

	"github.com/backstay/backstay"
)

// upstream is one connection to a server. Whoever took it from the pool or
// dialled it owns it alone.
type upstream struct {
	timed

	used      bool // has carried a request before
	idleSince int64

	// How to look for what has come, made once so that a look allocates nothing.
	file interface {
		Control(look func(fd uintptr)) error
	}
	look func(fd uintptr)
	calm bool // what look has found
	one  [1]byte
}

// Bounds of idle connections to servers.
const (
	// upstreamIdle is how long one is kept. Servers close theirs after 5 s to
	// minutes; a close that crosses our request costs a free retry.
	upstreamIdle = 30 * time.Second
	// glance is how long a look for a close may take where the host has no way
	// to look without waiting.
	glance = 20 * time.Microsecond
)

func (p *Proxy) dial(addr string, within time.Duration) (*upstream, error) {
	d := net.Dialer{Timeout: within}
	c, err := d.DialContext(p.dialing, "tcp", addr)
	if err != nil {
		return nil, err
	}
	u := &upstream{timed: timed{Conn: c, base: p.base}}
	tcp, ok := c.(*net.TCPConn)
	if !ok || p.opt.Quiet == nil {
		return u, nil
	}
	if file, err := tcp.SyscallConn(); err == nil {
		u.file, u.look = file, func(fd uintptr) { u.calm = p.opt.Quiet(fd) }
	}
	return u, nil
}

func (u *upstream) close() { _ = u.Close() }

// upstreamTo returns a connection to m: a kept one unless fresh is asked for. A
// kept one on which anything has come is closed: a server that has hung up
// would fail a request that cannot be sent again, and an answer that nobody
// asked for would be taken for that of the next request, of another client.
func (p *Proxy) upstreamTo(m *member, fresh bool, within time.Duration) (*upstream, error) {
	for !fresh {
		u := m.idle.take()
		if u == nil {
			break
		}
		if u.quiet() {
			return u, nil
		}
		u.close()
	}
	return p.dial(m.addr, within)
}

// quiet reports whether nothing has come on a connection that should carry
// nothing: neither an end nor a byte.
func (u *upstream) quiet() bool {
	if u.file != nil {
		u.calm = false
		return u.file.Control(u.look) == nil && u.calm
	}
	_ = u.SetReadDeadline(time.Now().Add(glance))
	u.rd = 0
	n, err := u.Read(u.one[:])
	return n == 0 && isTimeout(err)
}

// keep puts u where the next request to m finds it, or closes it.
func (p *Proxy) keep(m *member, t *target, u *upstream) {
	u.used, u.idleSince = true, p.now()
	if !m.idle.put(u, m.server, t.keepalive) {
		u.close()
	}
}

// sweep closes what has been idle too long, tells of ejections that have ended,
// and lets the budgets know the time.
func (p *Proxy) sweep() {
	now := p.now()
	for _, s := range p.lasting.all() {
		s.mu.Lock()
		pools := make([]*idlePool, 0, len(s.idle))
		for _, pool := range s.idle {
			pools = append(pools, pool)
		}
		back := s.told && !s.ejected(now)
		s.told = s.told && !back
		s.mu.Unlock()
		for _, pool := range pools {
			pool.age(now - int64(upstreamIdle))
		}
		if back {
			p.reinstated(s, "its time was up")
		}
	}
	p.tickBudgets(now)
	p.retireIdle(now, retireAfter)
	p.forget()
}

// forget drops what is known about servers that are gone. Not while an Apply is
// at work: what its table hangs on is not named by the one in force yet.
func (p *Proxy) forget() {
	if !p.applying.TryLock() {
		return // the next sweep will do
	}
	defer p.applying.Unlock()
	if t := p.table.Load(); t != nil {
		p.lasting.forget(&t.says, p.partingStates(t))
	}
}

func (p *Proxy) reinstated(s *server, why string) {
	p.record(backstay.Event{
		Kind: backstay.Reinstated, Ref: backstay.NewRef("instance", s.id), From: "ejected", To: "in service", Because: why,
	})
}

func (p *Proxy) tickBudgets(now int64) {
	p.lasting.mu.Lock()
	defer p.lasting.mu.Unlock()
	for _, s := range p.lasting.services {
		s.mu.Lock()
		for ratio, b := range s.budgets {
			b.tick(now, ratio)
		}
		s.mu.Unlock()
	}
}
