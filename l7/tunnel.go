package l7

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/backstay/backstay/l7/h1"
)

// tunnel carries bytes both ways after a server has agreed to switch protocols.
func (c *conn) tunnel() bool {
	ex := &c.ex
	c.endWatch()
	if ex.watch.left.Load() {
		return c.settleLeft()
	}
	out := h1.AppendResponse((*ex.out)[:0], &ex.resp, &c.req, true)
	ex.status, ex.class = http.StatusSwitchingProtocols, class1xx
	out = append(out, (*ex.rbuf)[ex.rhead:ex.rn]...)
	c.long.Store(true)
	ex.member.upgrade()
	ex.inside = false
	defer func() {
		ex.member.release.inFlight.Add(-1)
		ex.member.hangUp()
	}()
	if c.writeAll(out, c.front.stall) != nil {
		return c.aborted()
	}
	if !c.sendEarly(c.in[c.head:c.n]) || !c.sendEarly(ex.watch.came()) {
		return false
	}
	ex.sent = int64(len(out))
	t := tunnel{idle: ex.route.idle, stall: c.front.stall}
	t.last.Store(c.now())
	done := make(chan struct{})
	c.p.working.Go(func() {
		defer close(done)
		in := getBuffer(largeBuffers)
		defer largeBuffers.Put(in)
		t.carry(&ex.up.timed, &c.timed, *in)
	})
	ex.sent += t.carry(&c.timed, &ex.up.timed, *ex.rbuf)
	<-done
	return false
}

// sendEarly sends on what the client has sent without waiting for the answer.
func (c *conn) sendEarly(b []byte) bool {
	return len(b) == 0 || c.ex.up.writeAll(b, c.front.stall) == nil
}

// tunnel is two directions that share the time since either has moved.
type tunnel struct {
	idle, stall time.Duration
	last        atomic.Int64
	broken      atomic.Bool
}

// carry copies until from ends, then ends to's other half. If either breaks or
// both are silent for too long, both directions end.
func (t *tunnel) carry(to, from *timed, buf []byte) (carried int64) {
	for !t.broken.Load() {
		from.readWithin(from.now(), t.wait(from.now()))
		n, err := from.Read(buf)
		if n > 0 {
			t.last.Store(from.now())
			if to.writeAll(buf[:n], t.stall) != nil {
				break
			}
			carried += int64(n)
		}
		switch {
		case err == nil, isTimeout(err) && from.now()-t.last.Load() < int64(t.idle) && !t.broken.Load():
			from.rd = 0
		case isTimeout(err):
			t.hangUp(to, from)
			return carried
		case !errors.Is(err, io.EOF):
			t.hangUp(to, from)
			return carried
		default:
			if half, ok := to.Conn.(interface{ CloseWrite() error }); !ok || half.CloseWrite() != nil {
				t.hangUp(to, from)
			}
			return carried
		}
	}
	t.hangUp(to, from)
	return carried
}

// wait is how long a read may take: until the idle time is over for both.
func (t *tunnel) wait(now int64) time.Duration {
	return max(time.Duration(t.last.Load()+int64(t.idle)-now), time.Millisecond)
}

func (t *tunnel) hangUp(to, from *timed) {
	t.broken.Store(true)
	_ = to.Close()
	_ = from.Close()
}
