package l7

import (
	"errors"
	"io"
	"time"

	"github.com/backstay/backstay/l7/h1"
)

// try sends the request to m and waits for the head of its answer.
func (ex *exchange) try(m *member) try {
	c := ex.c
	u, err := c.p.upstreamTo(m, ex.fresh, min(ex.route.connect, ex.patience()))
	if err != nil {
		return try{outcome: unreached, kept: ex.replay}
	}
	ex.up = u
	c.serving.Store(u)
	if c.p.dialing.Err() != nil { // everybody is being cut: nobody else closes it
		u.close()
	}
	t := try{reused: u.used, kept: ex.replay}
	if t.wrote, err = ex.send(u); err != nil && !t.wrote {
		t.outcome = cut
		return t
	}
	// After a write that failed in the middle an answer may be here all the same:
	// a server that refuses a body early says so and closes.
	if ex.stream.on {
		ex.startStream(u)
		t.kept, ex.replay = false, false
	}
	t.outcome = ex.await(u)
	t.kept = ex.replay
	t.status = ex.resp.Status
	ex.markAnswered()
	if t.outcome == cut && t.reused {
		m.idle.drop() // the others are as old
	}
	return t
}

// send writes the head and what is kept of the body, in one piece if it fits.
func (ex *exchange) send(u *upstream) (wrote bool, err error) {
	c := ex.c
	c.fwd.Expect = ex.stream.on && c.req.Expect
	out := h1.AppendRequest((*ex.out)[:0], &c.req, &c.fwd)
	body := ex.kept
	if len(body) > 0 && !ex.stream.on && len(out)+len(body) <= cap(out) {
		out, body = append(out, body...), nil
	}
	u.writeWithin(u.now(), c.front.stall)
	n, err := u.Write(out)
	if err != nil || len(body) == 0 || ex.stream.on {
		return n > 0, err
	}
	return true, u.writeAll(body, c.front.stall)
}

// patience is how long the head of the answer may take once the request is out.
func (ex *exchange) patience() time.Duration {
	if per := ex.route.retry.perTry; per > 0 {
		return min(per, ex.route.response)
	}
	return ex.route.response
}

// maxInterims bounds the 1xx answers before the one that counts.
const maxInterims = 16

// await reads the head of the answer into ex.resp. Interim ones go to the client.
func (ex *exchange) await(u *upstream) outcome {
	c, buf := ex.c, *ex.rbuf
	limits := h1.Limits{Head: len(buf)}
	ex.resp.Reset()
	ex.rn = 0
	if !ex.stream.on {
		u.readWithin(u.now(), ex.patience())
	}
	for interims := 0; ; {
		n, err := u.Read(buf[ex.rn:])
		if ex.rn += n; n == 0 {
			return ex.silence(err)
		}
		for err = nil; err == nil && ex.rn > 0; {
			ex.rhead, err = ex.resp.Parse(buf[:ex.rn], &c.req, limits)
			switch {
			case err == nil && !ex.resp.Interim():
				return answered
			case err == nil:
				if interims++; interims > maxInterims || !ex.passInterim() {
					return unreadable
				}
			case err != h1.ErrIncomplete: //nolint:errorlint // one value, never wrapped
				c.p.refused.answers.count(err)
				return unreadable
			}
		}
	}
}

// silence says what it means that no more of an answer comes.
func (ex *exchange) silence(err error) outcome {
	switch {
	case isTimeout(err):
		return late
	case ex.rn > 0:
		return unreadable
	default:
		return cut
	}
}

// passInterim sends a 1xx on, to a client that can take it and, if it is 100,
// has asked for it. From then on there is only one answer.
func (ex *exchange) passInterim() bool {
	c := ex.c
	if c.req.Minor > 0 && (ex.resp.Status != 100 || c.req.Expect) {
		ex.replay = false
		text := h1.AppendResponse((*ex.out)[:0], &ex.resp, &c.req, true)
		if c.writeAll(text, c.front.stall) != nil {
			return false
		}
	}
	copy(*ex.rbuf, (*ex.rbuf)[ex.rhead:ex.rn])
	ex.rn -= ex.rhead
	return true
}

// gather reads a body that is small enough to be kept, whole. Of another it
// keeps nothing: it goes to the server as it comes.
func (c *conn) gather() bool {
	ex, came := &c.ex, c.in[c.head:c.n]
	body := c.req.Body
	if body.Kind == h1.None {
		return true
	}
	if err := h1.CheckBody(body, came); err != nil {
		return c.blame(err)
	}
	ex.gathered = true
	c.body.begin(&c.timed, c.front.stall, body, came, *ex.rbuf)
	c.body.limit = int64(c.front.says.Limits.Body)
	if c.req.Expect || body.Kind == h1.Length && body.Length > keptBody {
		ex.stream.on = true
		return true
	}
	ex.keptBuf = getBuffer(keptBodies)
	if body.Kind == h1.Chunked && !ex.keepsChunked(came) {
		c.body.stall = chunkPause
	}
	return c.gatherInto((*ex.keptBuf)[:0])
}

// chunkPause is how long the client of a chunked body may pause while its
// beginning is read. A body sent in one go is here by then, and judged before a
// server hears of it; one that pauses may be a conversation.
const chunkPause = 10 * time.Millisecond

// keepsChunked reports whether a chunked body is read whole first, however long
// that takes: all of it is here, or only so can its request be sent twice.
// Others may be a conversation that goes on for hours.
func (ex *exchange) keepsChunked(came []byte) bool {
	c := ex.c
	var chunks h1.ChunkReader
	for len(came) > 0 && !chunks.Done() {
		_, n, err := chunks.Next(came)
		if err != nil {
			return false
		}
		came = came[n:]
	}
	return chunks.Done() || idempotent(c.req.Method) || ex.route.retry.nonIdempotent
}

func (c *conn) gatherInto(kept []byte) bool {
	ex := &c.ex
	for {
		data, err := c.body.next()
		if errors.Is(err, io.EOF) {
			ex.kept, c.req.Body = kept, h1.Body{Kind: h1.Length, Length: int64(len(kept))}
			c.body.detach()
			return true
		}
		pauses := c.body.stall == chunkPause && isTimeout(err)
		if err != nil && !pauses {
			return c.blame(err)
		}
		kept = append(kept, data...)
		if pauses || len(kept) > keptBody { // it is not small: what is here goes first
			ex.kept, ex.stream.on = kept, true
			c.body.stall = c.front.stall
			c.body.detach()
			return true
		}
	}
}

// startStream sends the body to u while the answer is awaited.
func (ex *exchange) startStream(u *upstream) {
	_ = u.SetReadDeadline(time.Time{}) // until the body is out
	u.rd = 0
	done := make(chan struct{})
	ex.stream.done = done
	go func() {
		in, out := getBuffer(largeBuffers), getBuffer(largeBuffers)
		ex.runStream(u, *in, *out)
		largeBuffers.Put(in)
		largeBuffers.Put(out)
		close(done) // and from here on nothing of ex is touched
	}()
}

func (ex *exchange) runStream(u *upstream, in, out []byte) {
	c := ex.c
	c.body.buf = in
	w := bodyWriter{to: &u.timed, stall: c.front.stall, kind: c.req.Body.Kind, out: out[:0]}
	fault, whole := ex.pump(&w)
	c.body.detach()
	s := &ex.stream
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over, s.whole, s.fault = true, whole, fault
	switch {
	case fault != nil:
		u.interruptRead()
	case !s.answered:
		_ = u.SetReadDeadline(time.Now().Add(ex.patience()))
	}
}

// pump sends what is kept and then the rest. It returns what was wrong with the
// client, if anything, and whether the server has all of it: one that takes no
// more is no fault, its answer says why.
func (ex *exchange) pump(w *bodyWriter) (fault error, whole bool) {
	b := &ex.c.body
	if begun := len(ex.kept) == 0 || w.write(ex.kept) == nil; !begun {
		return nil, false
	}
	readErr, writeErr := w.copyFrom(b)
	if readErr != nil && !b.stop.Load() { // else we have ended it
		return readErr, false
	}
	return nil, readErr == nil && writeErr == nil
}

// markAnswered says that the head is here: from now on the reader of the answer
// sets the deadlines.
func (ex *exchange) markAnswered() {
	if !ex.stream.on {
		return
	}
	ex.stream.mu.Lock()
	defer ex.stream.mu.Unlock()
	ex.stream.answered = true
	ex.up.rd = 0
}

// fault returns what was wrong with the body of the request so far.
func (c *conn) fault() error {
	s := &c.ex.stream
	if !s.on {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.fault
}

// stopStream ends the sending of a body, if there is any, and reports whether
// all of the body has been read from the client: else what follows on the
// connection is not a request.
func (c *conn) stopStream() bool {
	s := &c.ex.stream
	if !s.on {
		return true
	}
	if s.done == nil { // it never began
		return false
	}
	s.mu.Lock()
	over := s.over
	s.mu.Unlock()
	if !over {
		c.body.interrupt()
		c.ex.dropUpstream() // a write to it ends too
	}
	<-s.done
	c.rd = 0
	return s.whole
}
