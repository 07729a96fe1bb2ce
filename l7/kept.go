package l7

import (
	"errors"
	"io"
	"time"

	"github.com/backstay/backstay/l7/h1"
)

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
	c.bodyLimits()
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

// bodyLimits has the rest of the body obey the frontend as it is now.
func (c *conn) bodyLimits() {
	c.body.stall, c.body.limit = c.front.stall, int64(c.front.says.Limits.Body)
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
