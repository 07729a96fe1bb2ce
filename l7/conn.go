package l7

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/backstay/backstay/l7/h1"
)

// goroutines is the engine that gives each client connection a goroutine.
type goroutines struct{ *Proxy }

func (g goroutines) serve(nc net.Conn, bind string) {
	t := g.table.Load()
	if t == nil || t.at(bind) == nil {
		_ = nc.Close()
		return
	}
	c := newConn(g.Proxy, t, bind, nc)
	defer c.end()
	if status := c.enter(); status != 0 {
		c.home().refused.Add(1)
		if g.turning.Add(1) <= maxTurning {
			c.turnAway(status)
			c.farewell()
		}
		g.turning.Add(-1)
		return
	}
	if g.dialing.Err() != nil { // everybody is being cut, and this one came too late to be seen
		return
	}
	c.refresh() // who came while the table changed is not among those that it has told
	if c.proto == "http" || c.handshake() {
		c.run()
	}
	c.farewell()
}

// maxTurning is how many clients at once are told why they are not served. The
// others are hung up on: telling takes a second.
const maxTurning = 256

// conn is a client connection. Its goroutine owns it; others touch the atomics
// and may close it or interrupt its reads.
type conn struct {
	timed

	p     *Proxy
	raw   net.Conn // below TLS, if there is any
	bind  string
	table *table
	front *front
	seat

	addr  netip.Addr
	by    peer
	proto string // http, https; as it was when the connection came
	fwd   h1.Forward

	idleSince atomic.Int64             // waits for a request since; busy and leaving are not times
	closing   atomic.Bool              // the next answer is the last
	long      atomic.Bool              // upgraded
	lingers   bool                     // has answered for the last time, and its client may not have read that yet
	serving   atomic.Pointer[upstream] // where its request is or was last: closed with it by cut

	small *[]byte
	in    []byte // what has been read, in small or where it has grown to
	n     int
	head  int // bytes of the head in in
	since int64

	req  h1.Request
	q    query
	host [256]byte
	path []byte
	body bodyReader
	ex   exchange
}

// States of a conn that are no time to be idle since.
const (
	busy    = 0
	leaving = -1 // another goroutine has decided that it closes
)

// peer is whom connections are counted by: an IPv4 address, or the /64 that an
// IPv6 host can choose its addresses from.
type peer struct{ netip.Prefix }

func peerOf(a netip.Addr) peer {
	bits := 32
	if a.Is6() {
		bits = 64
	}
	prefix, err := a.Prefix(bits)
	if err != nil {
		return peer{}
	}
	return peer{prefix}
}

func newConn(p *Proxy, t *table, bind string, nc net.Conn) *conn {
	f := t.at(bind)
	c := &conn{
		timed: timed{Conn: nc, base: p.base}, p: p, raw: nc, bind: bind, table: t, front: f,
		addr: addrOf(nc.RemoteAddr()), proto: f.proto(), small: getBuffer(smallBuffers),
	}
	c.at.Store(f.state)
	c.in, c.by, c.q.fields = *c.small, peerOf(c.addr), &c.req
	c.fwd = h1.Forward{Peer: c.addr.String(), Host: hostOf(nc.LocalAddr())}
	c.closing.Store(t.binds[bind] == nil)
	return c
}

// addrOf returns the address of a peer. Whoever comes by a Unix socket is on
// this host.
func addrOf(a net.Addr) netip.Addr {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap().WithZone("")
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

// hostOf is the Host of a request of HTTP/1.0 that has none: the address that
// the client connected to. A path is none.
func hostOf(a net.Addr) string {
	if _, ok := a.(*net.TCPAddr); ok {
		return a.String()
	}
	return "localhost"
}

// end closes the connection, whatever its goroutine was at. A panic is one
// client's trouble and not everybody's.
func (c *conn) end() {
	if r := recover(); r != nil {
		c.p.log.Error("connection ended by a panic", "why", fmt.Sprint(r), "stack", string(debug.Stack()))
	}
	c.ex.abandon()
	_ = c.Close()
	c.stand()
	smallBuffers.Put(c.small)
}

// cut closes the connection from outside, and what it waits for.
func (c *conn) cut() {
	_ = c.raw.Close()
	if u := c.serving.Load(); u != nil {
		u.close()
	}
}

func (c *conn) handshake() bool {
	c.since = c.now()
	secure := tls.Server(c.raw, c.p.liveTLS(c.bind))
	_ = c.raw.SetDeadline(time.Now().Add(c.front.header))
	err := secure.HandshakeContext(c.p.dialing)
	var plain tls.RecordHeaderError
	if errors.As(err, &plain) && plain.Conn != nil && plain.RecordHeader[0] >= 'A' && plain.RecordHeader[0] <= 'Z' {
		c.logRefused(rulePlain, http.StatusBadRequest, c.turnAway(http.StatusBadRequest))
	}
	if err != nil {
		c.home().bad.Add(1)
		return false
	}
	c.Conn, c.rd, c.wd = secure, 0, 0
	return true
}

func (c *conn) run() {
	for c.readHead() {
		keep := c.handle()
		if c.ex.finish(); !keep {
			return
		}
		c.advance()
	}
}

// readHead reads the head of the next request. It returns false when there is
// none.
func (c *conn) readHead() bool {
	l := &c.front.says.Limits
	limits := h1.Limits{Head: int(l.Header), Fields: l.Fields}
	for {
		if c.n > 0 {
			n, err := c.req.Parse(c.in[:c.n], limits)
			if err == nil {
				c.head = n
				return true
			}
			if err != h1.ErrIncomplete { //nolint:errorlint // one value, never wrapped
				return c.refuse(err)
			}
			c.grow(limits.Head)
		}
		if !c.read() {
			return false
		}
	}
}

// grow makes room for a head that the small buffer cannot hold.
func (c *conn) grow(limit int) {
	if c.n < len(c.in) {
		return
	}
	bigger := make([]byte, min(4*len(c.in), max(limit, len(c.in))+smallBuffer))
	copy(bigger, c.in[:c.n])
	c.in = bigger
}

// read reads more of a head. Before its first byte the connection is idle.
func (c *conn) read() bool {
	now := c.now()
	if c.n > 0 {
		c.readWithin(now, time.Duration(c.since+int64(c.front.header)-now))
		n, err := c.Read(c.in[c.n:])
		c.n += n
		if n == 0 && isTimeout(err) {
			c.home().bad.Add(1)
			c.logRefused(ruleLate, http.StatusRequestTimeout, c.turnAway(http.StatusRequestTimeout))
		}
		return n > 0
	}
	c.readWithin(now, c.front.idle)
	c.idleSince.Store(now + 1) // never busy
	n, _ := c.Read(c.in)
	if !c.idleSince.CompareAndSwap(now+1, busy) {
		return false
	}
	c.n, c.since = n, c.now()
	return n > 0
}

// retire closes the connection if it has been idle since before. Another
// goroutine calls it.
func (c *conn) retire(before int64) bool {
	since := c.idleSince.Load()
	if since <= 0 || since > before || !c.idleSince.CompareAndSwap(since, leaving) {
		return false
	}
	_ = c.raw.SetReadDeadline(past)
	return true
}

// advance drops the request that has been handled from the buffer.
func (c *conn) advance() {
	rest := c.in[c.head:c.n]
	if c.ex.gathered {
		rest = c.body.pending
	}
	came := c.ex.watch.came()
	n := len(rest) + len(came)
	if n > 0 || len(c.in) > len(*c.small) {
		into := *c.small
		if n > len(into) {
			into = make([]byte, n+smallBuffer)
		}
		copy(into[copy(into, rest):], came)
		c.in = into
	}
	c.ex.watch.forget()
	c.n, c.since = n, c.now()
}

// refresh looks at the table in force and reports whether it is another one. A
// connection outlives tables and goes on with whatever frontend has its address;
// with none, it ends after one more answer.
func (c *conn) refresh() (anew bool) {
	for t := c.p.table.Load(); t != c.table; t = c.p.table.Load() { // until none came while it moved
		c.table, anew = t, true
		c.follow(t)
		if f := t.at(c.bind); f != nil {
			c.front = f
		}
	}
	return anew
}

// stale reports whether refresh would find another table.
func (c *conn) stale() bool { return c.p.table.Load() != c.table }

// follow has the connection be counted where t serves its address, and end if t
// serves nobody there, or not in its way. Whoever puts t in force calls it too.
func (c *conn) follow(t *table) {
	f := t.binds[c.bind]
	if f == nil || f.proto() != c.proto {
		c.closing.Store(true)
	}
	if f != nil {
		c.moveTo(f.state)
	}
}
