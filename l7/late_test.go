package l7

import (
	"io"
	"net"
	"net/netip"
	"testing"

	"github.com/backstay/backstay/l7/h1"
)

// begun is a proxy and a connection whose request, of method, is about to be
// tried.
func begun(t *testing.T, method string) (*Proxy, *exchange) {
	t.Helper()
	p, c := newHot(t)
	if _, err := c.req.Parse([]byte(method+" /x HTTP/1.1\r\nHost: www.example\r\n\r\n"), h1.Limits{}); err != nil {
		t.Fatal(err)
	}
	ex := &c.ex
	ex.begin(c)
	ex.way = c.find()
	ex.rbuf, ex.out = getBuffer(largeBuffers), getBuffer(largeBuffers)
	t.Cleanup(ex.dropUpstream)
	return p, ex
}

// Whoever has left between two tries is not seen by the second: its connection
// must not be waited on for an answer that nobody wants.
func TestATryThatBeginsAfterItsClientHasLeftEndsAtOnce(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and says nothing for a minute
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, ex := begun(t, "GET")
	m := *ex.target.list[0]
	m.addr, m.idle = netip.MustParseAddrPort(l.Addr().String()).String(), &idlePool{}
	ex.watch.left.Store(true)
	if got := ex.try(&m); got.outcome != cut {
		t.Errorf("the try ended as %v", got.outcome)
	}
}

// broken takes so many bytes and ends.
type broken struct {
	pipe

	takes int
}

func (b *broken) Write([]byte) (int, error) { return b.takes, io.ErrClosedPipe }
func (b *broken) Read([]byte) (int, error)  { return 0, io.EOF }

// A kept connection whose end crosses a request that may not be sent twice: it
// may be sent again if not a byte of it went out.
func TestOnlyWhatWasNotWrittenIsSentAgain(t *testing.T) {
	for takes, want := range map[int]verdict{0: afresh, 1: settle} {
		p, ex := begun(t, "POST")
		m := *ex.target.list[0]
		m.idle = &idlePool{}
		u := &upstream{timed: timed{Conn: &broken{takes: takes}, base: p.base}, used: true, file: calm{}}
		u.look = func(uintptr) { u.calm = true }
		m.idle.put(u, m.server, 1)
		got := ex.try(&m)
		if got.outcome != cut || got.wrote != (takes > 0) || !got.reused {
			t.Errorf("%d bytes written: %+v", takes, got)
		}
		if v := ex.judge(got); v != want {
			t.Errorf("%d bytes written: verdict %d, want %d", takes, v, want)
		}
	}
}

// calm is the file of a connection on which nothing has come.
type calm struct{}

func (calm) Control(look func(uintptr)) error { look(0); return nil }

// A request that began before an instance left finds the one that has come for
// it: the gate that refuses it says that there is a newer table.
func TestARequestThatBeganWithAnOldTableFindsTheNewServer(t *testing.T) {
	p, ex := begun(t, "GET")
	next := p.table.Load().says
	next.Gen++
	pool := next.Pools["shop"]
	pool.Servers = []Server{{ID: "shop-9", Release: "shop@2", Address: "127.0.0.1", Ports: map[string]uint16{"http": 2}, Ready: true}}
	next.Pools = map[string]Pool{"shop": pool}
	if err := p.Apply(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	m, _ := ex.choose()
	if m == nil || m.id != "shop-9" {
		t.Fatalf("it goes to %+v", m)
	}
	m.leave(false)
}
