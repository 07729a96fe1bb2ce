package l7

import (
	"bytes"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/l7/h1"
)

// pipe is a client that sends the same request for ever and swallows answers,
// or a server that gives the same answer to whatever is written.
type pipe struct {
	net.Conn

	text   []byte
	server bool
	asked  bool
}

func (p *pipe) Read(b []byte) (int, error) {
	if p.server && !p.asked {
		return 0, os.ErrDeadlineExceeded
	}
	p.asked = false
	return copy(b, p.text), nil
}

func (p *pipe) Write(b []byte) (int, error) { p.asked = true; return len(b), nil }

func (p *pipe) Close() error                     { return nil }
func (p *pipe) SetReadDeadline(time.Time) error  { return nil }
func (p *pipe) SetWriteDeadline(time.Time) error { return nil }
func (p *pipe) RemoteAddr() net.Addr             { return net.TCPAddrFromAddrPort(clientAt) }
func (p *pipe) LocalAddr() net.Addr              { return net.TCPAddrFromAddrPort(proxyAt) }

var clientAt, proxyAt = netip.MustParseAddrPort("10.1.2.3:4"), netip.MustParseAddrPort("10.0.0.1:80")

// newHot is a proxy with 100 hosts and a server that answers at once.
func newHot(tb testing.TB) (*Proxy, *conn) {
	tb.Helper()
	var f Frontend
	f.SetDefaults()
	f.Bind = []string{"b"}
	for i := range 100 {
		var r Route
		r.SetDefaults()
		r.Host, r.Path, r.To = []string{string(rune('a'+i%26)) + ".example"}, "/api/", "shop"
		f.Routes = append(f.Routes, r)
	}
	f.Routes[99].Host, f.Routes[99].Path = []string{"*.example"}, "/"
	var pool backstay.Pool
	pool.SetDefaults()
	servers := []Server{}
	for _, id := range []string{"shop-1", "shop-2", "shop-3"} {
		servers = append(servers, Server{ID: id, Release: "shop@1", Address: "127.0.0.1", Ports: map[string]uint16{"http": 1}, Ready: true})
	}
	p := New(Options{Log: slog.New(slog.DiscardHandler)})
	err := p.Apply(tb.Context(), Snapshot{
		Backstay: kindOfSnapshot, V: 1, Gen: 1, Frontends: map[string]Frontend{"web": f},
		Pools: map[string]Pool{"shop": {Pool: pool, Servers: servers}},
	})
	if err != nil {
		tb.Fatal(err)
	}
	request := []byte("GET /shop/basket?id=17 HTTP/1.1\r\nHost: www.example\r\nUser-Agent: curl/8\r\nAccept: */*\r\nCookie: a=b; c=d\r\n\r\n")
	t := p.table.Load()
	for _, m := range t.binds["b"].targets[targetKey{"shop", ""}].list {
		answer := []byte("HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello")
		m.idle.put(&upstream{timed: timed{Conn: &pipe{text: answer, server: true}, base: p.base}, used: true}, m.server, 64)
	}
	return p, newConn(p, t, "b", &pipe{text: request})
}

func TestARequestAllocatesNothingOnItsWay(t *testing.T) {
	if raceEnabled {
		t.Skip("pools are emptied at random under the race detector")
	}
	_, c := newHot(t)
	if !once(c) {
		t.Fatal("the request was not served")
	}
	if c.ex.status != 200 || c.ex.member == nil {
		t.Fatalf("served with %d", c.ex.status)
	}
	allocs := testing.AllocsPerRun(1000, func() {
		if !once(c) {
			t.Error("the request was not served")
		}
	})
	if allocs > 0 {
		t.Errorf("%v allocations for a request", allocs)
	}
}

// once serves one request: read, parse, route, pick, forward, answer, account.
func once(c *conn) bool {
	if !c.readHead() || !c.handle() {
		return false
	}
	c.ex.finish()
	c.advance()
	return true
}

func TestRoutingAndPickingAllocateNothing(t *testing.T) {
	p, c := newHot(t)
	text := bytes.Clone(c.Conn.(*pipe).text)
	tab := p.table.Load()
	allocs := testing.AllocsPerRun(1000, func() {
		n, err := c.req.Parse(text, h1.Limits{})
		if err != nil || n != len(text) {
			t.Error(err)
		}
		c.look()
		r := tab.binds["b"].router.find(&c.q)
		if r == nil || pick(r.target.balance, r.target.list, 1, 12345678901234567, 1, nil) < 0 {
			t.Error("nobody")
		}
	})
	if allocs > 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func BenchmarkRequest(b *testing.B) {
	_, c := newHot(b)
	b.ReportAllocs()
	for b.Loop() {
		once(c)
	}
}
