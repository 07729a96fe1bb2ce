package l7

import (
	"errors"
	"net"
	"sync/atomic"
	"time"
)

// WatchAfter is how long a server may be silent before its client is watched.
// Nearly all answers are here by then and pay nothing; a goroutine and two
// deadlines are little beside a request that takes so long.
const WatchAfter = 50 * time.Millisecond

// watch is the look at a client whose server thinks: one that has left is no
// reason to go on. Its goroutine lives until the answer is whole.
//
// The end of what a client sends counts as leaving, as with nginx, Envoy and
// net/http: it cannot be told from a close. See docs/decisions/0007-leaving.md.
type watch struct {
	done chan struct{} // closed when the goroutine is gone; nil: it never began
	over bool          // it has been waited for
	left atomic.Bool   // nobody waits for the answer any more

	buf *[]byte // what has come meanwhile: of the next request
	n   int
}

// readAnswer reads once from a server that has within to send something. While
// it is silent for longer, its client is watched.
func (ex *exchange) readAnswer(from *timed, b []byte, within time.Duration) (int, error) {
	if ex.watch.done != nil || within <= WatchAfter {
		return ex.readOnce(from, b, within)
	}
	n, err := ex.readOnce(from, b, WatchAfter)
	if n > 0 || !isTimeout(err) {
		return n, err
	}
	ex.c.watchClient()
	from.rd = 0
	return ex.readOnce(from, b, within-WatchAfter)
}

func (ex *exchange) readOnce(from *timed, b []byte, within time.Duration) (int, error) {
	from.readWithin(from.now(), within)
	if ex.c.fault() != nil { // looked at after the deadline was set, see runStream
		return 0, errStopped
	}
	return from.Read(b)
}

// watchClient begins the watch, unless the client is being read already: whoever
// sends a body is noticed by that.
func (c *conn) watchClient() {
	w := &c.ex.watch
	if !c.ex.bodyIsOut() {
		return
	}
	_ = c.SetReadDeadline(time.Time{})
	c.rd = 0
	w.buf, w.done = getBuffer(smallBuffers), make(chan struct{})
	go func() {
		defer close(w.done)
		c.lookOut(w)
	}()
}

// lookOut reads until the client has left, or has sent more than there is room
// for: then it is busy, and not watched any more.
func (c *conn) lookOut(w *watch) {
	for w.n < len(*w.buf) {
		n, err := c.Read((*w.buf)[w.n:])
		w.n += n
		switch {
		case err == nil:
		case isTimeout(err), errors.Is(err, net.ErrClosed): // the watch is over, or we have ended the connection
			return
		default:
			w.left.Store(true) // before its connection is looked for: see try
			c.serving.Load().close()
			return
		}
	}
}

// endWatch waits for the watch to be over: from here on the client is read by
// others, and the server's connection may become somebody else's.
func (c *conn) endWatch() {
	w := &c.ex.watch
	if w.done == nil || w.over {
		return
	}
	c.interruptRead()
	<-w.done
	w.over, c.rd = true, 0
}

// came is what the client has sent during the watch.
func (w *watch) came() []byte {
	if w.buf == nil {
		return nil
	}
	return (*w.buf)[:w.n]
}

// forget gives back what came has returned.
func (w *watch) forget() {
	if w.buf != nil {
		smallBuffers.Put(w.buf)
		w.buf, w.n = nil, 0
	}
}

// statusLeft is what logs say of a request whose client did not wait for an
// answer. No client ever gets it; nginx has the same number for it.
const statusLeft = 499

// settleLeft ends a request that nobody wants the answer to. Its server is not
// to blame, and no other one is asked.
func (c *conn) settleLeft() bool {
	c.ex.dropUpstream()
	c.stopStream()
	c.ex.status, c.ex.class = statusLeft, classLeft
	return c.aborted()
}

// aborted counts a client that has left before its answer was whole, and ends
// the connection.
func (c *conn) aborted() bool {
	c.ex.aborted = true
	c.home().aborted.Add(1)
	return false
}
