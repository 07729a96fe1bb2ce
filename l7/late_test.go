package l7

import (
	"net"
	"net/netip"
	"testing"

	"github.com/backstay/backstay/l7/h1"
)

// Whoever has left between two tries is not seen by the second: its connection
// must not be waited on for an answer that nobody wants.
func TestATryThatBeginsAfterItsClientHasLeftEndsAtOnce(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and says nothing for a minute
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p, c := newHot(t)
	if _, err := c.req.Parse([]byte("GET /x HTTP/1.1\r\nHost: www.example\r\n\r\n"), h1.Limits{}); err != nil {
		t.Fatal(err)
	}
	ex := &c.ex
	ex.begin(c)
	c.look()
	ex.route = p.table.Load().binds["b"].router.find(&c.q)
	ex.target = ex.route.target
	ex.rbuf, ex.out = getBuffer(largeBuffers), getBuffer(largeBuffers)
	m := *ex.target.list[0]
	m.addr, m.idle = netip.MustParseAddrPort(l.Addr().String()).String(), &idlePool{}
	ex.watch.left.Store(true)
	if got := ex.try(&m); got.outcome != cut {
		t.Errorf("the try ended as %v", got.outcome)
	}
	ex.dropUpstream()
}
