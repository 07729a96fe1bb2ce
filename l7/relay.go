package l7

import (
	"net/http"
	"time"

	"github.com/backstay/backstay/l7/h1"
)

// relay sends the answer whose head is in ex.resp to the client.
func (c *conn) relay() bool {
	ex := &c.ex
	keep := !c.closing.Load() && c.streamed()
	out := h1.AppendResponse((*ex.out)[:0], &ex.resp, &c.req, keep)
	out = ex.dated(out)
	ex.status, ex.class = ex.resp.Status, classOf(ex.resp.Status)

	var r bodyReader
	r.of = ex
	r.begin(&ex.up.timed, ex.route.idle, ex.resp.Body, (*ex.rbuf)[ex.rhead:ex.rn], *ex.rbuf)
	w := bodyWriter{to: &c.timed, within: c.front.stall, kind: ex.resp.Down(&c.req).Kind, out: out}
	head := len(out)
	readErr, writeErr := w.copyFrom(&r)
	c.endWatch()
	ex.sent = int64(head) + r.total
	if writeErr != nil || ex.watch.left.Load() {
		ex.dropUpstream()
		c.stopStream()
		return c.aborted()
	}
	if readErr != nil {
		c.p.refused.answers.count(readErr)
		return c.breakOff()
	}
	return c.finishAnswer(&r, keep)
}

// dated adds the Date that a server without a clock has left out (RFC 9110,
// 6.6.1) before the empty line that ends out.
func (ex *exchange) dated(out []byte) []byte {
	if _, has := ex.resp.Get("date"); has {
		return out
	}
	out = append(out[:len(out)-2], "Date: "...)
	return append(append(out, httpDate(time.Now())...), "\r\n\r\n"...)
}

// lastPiece is how long an answer waits for the last piece of the request's body
// to be out: a server that has it may answer before the sender has looked up.
const lastPiece = 10 * time.Millisecond

// streamed reports whether all of the request's body has been sent, so that the
// answer does not come before its end.
func (c *conn) streamed() bool {
	s := &c.ex.stream
	if !s.on || s.done == nil {
		return !s.on
	}
	if c.body.drained.Load() {
		wait := time.NewTimer(lastPiece)
		defer wait.Stop()
		select {
		case <-s.done:
		case <-wait.C:
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.whole
}

// breakOff ends an answer that cannot be finished. The client has been promised
// more, so it is shown that this is not the end: neither a last chunk nor an
// orderly close.
func (c *conn) breakOff() bool {
	ex := &c.ex
	ex.class = classCut
	if c.fault() != nil { // not the server's doing: the client broke off its body
		c.aborted()
	} else {
		ex.blameServer()
	}
	ex.dropUpstream()
	c.stopStream()
	c.reset()
	return false
}

// blameServer counts an answer that was good until it broke off.
func (ex *exchange) blameServer() {
	n := len(ex.tried) - 1
	ex.member.release.classes[classCut].Add(1)
	if ex.resp.Status < http.StatusInternalServerError {
		ex.failed(n)
	}
	ex.c.p.note(ex.target, ex.member.server, true, "cut in the middle of an answer")
}

// finishAnswer keeps the connections that can carry another request.
func (c *conn) finishAnswer(r *bodyReader, keep bool) bool {
	ex := &c.ex
	again := ex.resp.Keeps(&c.req, keep)
	if !c.streamed() {
		ex.dropUpstream()
	}
	if ex.up != nil && ex.resp.KeepAlive && len(r.pending) == 0 {
		u := ex.up
		ex.up = nil
		c.p.keep(ex.member, ex.target, u)
	}
	again = c.stopStream() && again
	if !again {
		c.lingers = true
	}
	return again
}
