package l7

import (
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/backstay/backstay/l7/h1"
)

// keptBody is the largest body that is kept for a retry. A small one is read
// whole before a server is bothered with it.
const keptBody = 64 << 10

// keptBodies have room for what the last read brings.
var keptBodies = bufferPool(keptBody + largeBuffer)

// exchange is one request and what has become of it. A connection has one, and
// uses it again.
type exchange struct {
	c *conn
	way
	began int64

	member *member // where the request is, or was last
	inside bool    // member counts it in flight
	up     *upstream
	resp   h1.Response
	rhead  int // bytes of the answer's head in rbuf
	rn     int // bytes in rbuf

	rbuf, out *[]byte

	tries tries
	tried []*server
	first [maxAttempts + 2]*server // room for tried
	fresh bool                     // the next try wants a new connection

	gathered bool    // the body has been read, all or its beginning
	kept     []byte  // what has been read
	keptBuf  *[]byte // where it lies, if not in the connection's buffer
	replay   bool    // the request is still whole here
	stream   stream
	watch    watch
	until    int64 // the head of the answer is late; 0 as long as the body is on its way
	sent     int64 // bytes to the client

	status  int
	class   int
	aborted bool   // the client has left before its answer was whole
	refused string // the rule that its body has broken
}

// stream is a request body on its way while the answer is awaited. Its
// goroutine and that of the connection share it.
type stream struct {
	on   bool
	done chan struct{} // closed when the goroutine is gone; nil: it never began

	mu       sync.Mutex // guards what follows, and the read deadline that follows from it
	answered bool       // the head of an answer is here
	fault    error      // why there will be no more of the body
	whole    bool       // all of it has been sent
	stuck    bool       // the server has not taken the next piece in its time
	over     bool       // the goroutine has ended
}

// handle serves the request whose head has been read. It reports whether the
// connection goes on.
func (c *conn) handle() bool {
	c.refresh()
	c.ex.begin(c)
	w := c.find()
	c.ex.way = w
	if w.target == nil {
		return c.local(c.own(w))
	}
	return c.forward()
}

// begin forgets the request before.
func (ex *exchange) begin(c *conn) {
	rbuf, out, resp := ex.rbuf, ex.out, ex.resp
	*ex = exchange{c: c, began: c.now(), rbuf: rbuf, out: out, resp: resp, replay: true}
	ex.tried = ex.first[:0]
}

// local answers without a server. A body that comes with the request and has not
// been read yet stays unread, so the connection ends then.
func (c *conn) local(a answer) bool {
	ex := &c.ex
	read := c.req.Body.Kind == h1.None || ex.gathered && !ex.stream.on
	keep := c.req.KeepAlive && !c.closing.Load() && read
	text := a.append(nil, time.Now(), keep, string(c.req.Method) == http.MethodHead)
	err := c.writeAll(text, c.front.stall)
	ex.status, ex.class, ex.sent = a.status, classOf(a.status), int64(len(text))
	if err != nil {
		return c.aborted()
	}
	if !keep {
		c.lingers = true
	}
	return keep
}

// forward sends the request to a server and its answer back.
func (c *conn) forward() bool {
	ex := &c.ex
	ex.rbuf, ex.out = getBuffer(largeBuffers), getBuffer(largeBuffers)
	if !c.gather() {
		return false
	}
	home := c.home()
	home.inFlight.Add(1)
	defer home.inFlight.Add(-1)
	var t try
	for n := 0; ; n++ {
		m, w := ex.choose()
		if m == nil {
			return c.unserved(t, w, n)
		}
		ex.leave()
		ex.dropUpstream()
		ex.way = w
		ex.enter(m, n)
		t = ex.try(m)
		switch {
		case c.fault() != nil:
			return c.settleFault()
		case ex.watch.left.Load():
			return c.settleLeft()
		}
		ex.account(t, n)
		v := ex.judge(t)
		if v == settle {
			return c.settle(t)
		}
		ex.fresh = v == afresh
	}
}

// unserved answers a request that finds no server by w for its n-th try: what the
// try before brought is better than nothing.
func (c *conn) unserved(t try, w way, n int) bool {
	ex := &c.ex
	switch {
	case w.target == nil:
		ex.leave()
		ex.dropUpstream()
		ex.way = w
		return c.local(c.own(w))
	case n > 0:
		return c.settle(t)
	}
	ex.way = w
	w.target.service.nobody.Add(1)
	return c.sayError(http.StatusServiceUnavailable)
}

func (ex *exchange) leave() {
	if ex.inside {
		ex.inside = false
		ex.member.release.inFlight.Add(-1)
		ex.member.leave(ex.c.asks())
	}
}

func (ex *exchange) dropUpstream() {
	if ex.up != nil {
		ex.up.close()
		ex.up = nil
	}
}

// judge says what follows t.
func (ex *exchange) judge(t try) verdict {
	r := ex.route
	return r.retry.after(t, &ex.tries, idempotent(ex.c.req.Method), func() bool {
		return r.budget.pay(ex.c.p.now(), r.retry.ratio)
	})
}

// enter says that m, which counts the request in, gets its n-th try, from 0.
func (ex *exchange) enter(m *member, n int) {
	ex.member, ex.inside = m, true
	ex.tried = append(ex.tried, m.server)
	m.release.inFlight.Add(1)
	if n == 0 {
		ex.route.budget.first.Add(1)
		m.requests.Add(1)
		m.release.sent.Add(1)
		return
	}
	m.retried.Add(1)
	m.series.retried.Add(1)
	m.release.retried.Add(1)
}

// account says how the n-th try ended, to the counters and to passive health.
func (ex *exchange) account(t try, n int) {
	m, bad := ex.member, t.outcome != answered || t.status >= http.StatusInternalServerError
	if t.outcome == answered {
		m.release.classes[classOf(t.status)].Add(1)
	}
	if t.outcome == cut && t.reused && ex.replayable(t) {
		return // the close of a kept connection crossed the request: nobody failed
	}
	if bad {
		ex.failed(n)
	} else if n == 0 {
		m.release.latency.add(ex.c.p.now() - ex.began)
	}
	if ex.target.outlier != nil {
		what := ""
		if bad {
			what = t.why()
		}
		ex.c.p.note(ex.target, m.server, bad, what)
	}
}

// failed counts a failure of the n-th try.
func (ex *exchange) failed(n int) {
	ex.member.failed.Add(1)
	ex.member.release.failed.Add(1)
	if n == 0 {
		ex.member.release.lost.Add(1)
	}
}

// replayable reports whether a kept connection's end costs nothing.
func (ex *exchange) replayable(t try) bool {
	return !ex.tries.afresh && t.kept && (!t.wrote || idempotent(ex.c.req.Method) || ex.route.retry.nonIdempotent)
}

// why returns the end of t in words.
func (t try) why() string {
	if t.outcome == answered {
		return "HTTP " + strconv.Itoa(t.status)
	}
	return t.outcome.String()
}

// finish counts the request and gives back what it held.
func (ex *exchange) finish() {
	ex.leave()
	c := ex.c
	c.endWatch()
	s := ex.front.local
	if ex.member != nil {
		s = ex.member.series
	}
	s.add(ex.class, c.p.now()-ex.began)
	c.logAccess()
	ex.free()
}

// free gives buffers back.
func (ex *exchange) free() {
	ex.dropUpstream()
	if ex.rbuf != nil {
		largeBuffers.Put(ex.rbuf)
		largeBuffers.Put(ex.out)
		ex.rbuf, ex.out = nil, nil
	}
	if ex.keptBuf != nil {
		keptBodies.Put(ex.keptBuf)
		ex.keptBuf, ex.kept = nil, nil
	}
}

// abandon is finish for a connection that ends in the middle.
func (ex *exchange) abandon() {
	ex.leave()
	ex.dropUpstream()
	if ex.c != nil {
		ex.c.endWatch()
	}
}
