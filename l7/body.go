package l7

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/backstay/backstay/l7/h1"
)

// Sizes of buffers. They come from pools and are held while a request runs; a
// connection that waits for its next request holds a small one.
const (
	smallBuffer = 4 << 10  // the heads of nearly all requests
	largeBuffer = 32 << 10 // two fill a socket buffer; more wins nothing
)

var (
	smallBuffers = bufferPool(smallBuffer)
	largeBuffers = bufferPool(largeBuffer)
)

// bufferPool keeps pointers to slices: a slice in an interface would be
// allocated each time.
func bufferPool(size int) *sync.Pool {
	return &sync.Pool{New: func() any { b := make([]byte, size); return &b }}
}

func getBuffer(from *sync.Pool) *[]byte { return from.Get().(*[]byte) } //nolint:forcetypeassert // the pool has nothing else

// errCut is a body that ended before its frame said so.
var errCut = errors.New("body ended early")

// errTooLarge is a body above its limit.
var errTooLarge = errors.New("body is larger than the limit")

// errStopped is a body that nobody wants any more.
var errStopped = errors.New("body no longer wanted")

// bodyReader takes a body off a connection, from either side.
type bodyReader struct {
	from    *timed
	of      *exchange     // whose answer it is; nil: a body from a client
	stall   time.Duration // without a byte
	kind    h1.BodyKind
	left    int64 // of kind Length
	chunks  h1.ChunkReader
	pending []byte // raw bytes that have been read and not used
	buf     []byte // where more is read to
	ended   bool
	total   int64       // bytes of payload so far
	limit   int64       // of total; 0 is none
	stop    atomic.Bool // set by another goroutine, before it interrupts the read
	drained atomic.Bool // all has been read, and what is left of it is being sent
}

// begin makes b ready for a body whose first bytes may be in pending.
func (b *bodyReader) begin(from *timed, stall time.Duration, body h1.Body, pending, buf []byte) {
	b.from, b.stall, b.kind, b.left = from, stall, body.Kind, body.Length
	b.chunks, b.pending, b.buf, b.total = h1.ChunkReader{}, pending, buf, 0
	b.ended = body.Kind == h1.None || body.Kind == h1.Length && body.Length == 0
	b.stop.Store(false)
	b.drained.Store(false)
}

// next returns more payload, valid until the next call, and io.EOF at the end.
func (b *bodyReader) next() ([]byte, error) {
	for {
		data, err := b.more()
		if err != nil || len(data) > 0 {
			return data, err
		}
		if b.ended {
			return nil, io.EOF
		}
		if err := b.fill(); err != nil {
			return nil, err
		}
	}
}

// more returns payload from what is pending. If there is none, nothing is
// pending any more, or the body is at its end.
func (b *bodyReader) more() (data []byte, err error) {
	if b.ended || len(b.pending) == 0 {
		return nil, nil
	}
	switch b.kind {
	case h1.Length:
		data = b.pending[:min(b.left, int64(len(b.pending)))]
		b.pending = b.pending[len(data):]
		b.left -= int64(len(data))
		b.ended = b.left == 0
	case h1.Chunked:
		n := 0
		data, n, err = b.chunks.Next(b.pending)
		b.pending = b.pending[n:]
		b.ended = b.chunks.Done()
	default:
		data, b.pending = b.pending, nil
	}
	b.total += int64(len(data))
	if err == nil && b.limit > 0 && b.total > b.limit {
		err = errTooLarge
	}
	return data, err
}

// fill reads once. Of a body with a length never more than the body.
func (b *bodyReader) fill() error {
	room := b.buf
	if b.kind == h1.Length {
		room = room[:min(b.left, int64(len(room)))]
	}
	n, err := b.read(room)
	b.pending = room[:n]
	if n > 0 {
		return nil
	}
	if errors.Is(err, io.EOF) && b.kind == h1.UntilClose {
		b.ended = true
		return nil
	}
	if errors.Is(err, io.EOF) {
		return errCut
	}
	return err
}

func (b *bodyReader) read(room []byte) (int, error) {
	if b.of != nil {
		return b.of.readAnswer(b.from, room, b.stall)
	}
	b.from.readWithin(b.from.now(), b.stall)
	if b.stop.Load() { // looked at after the deadline was set, see interrupt
		return 0, errStopped
	}
	return b.from.Read(room)
}

// detach copies what is pending out of a buffer that has other uses.
func (b *bodyReader) detach() {
	if len(b.pending) > 0 {
		b.pending = append([]byte(nil), b.pending...)
	}
}

// interrupt makes a next that another goroutine is in return.
func (b *bodyReader) interrupt() {
	b.stop.Store(true)
	b.from.interruptRead()
}

// bodyWriter sends payload in the frame that its receiver was promised.
type bodyWriter struct {
	to       *timed
	within   time.Duration
	toServer bool // within is for each piece, else for each byte
	kind     h1.BodyKind
	out      []byte // what is not sent yet: a head at first
}

// copyFrom sends all of r, and first what is in out. Whatever has been read is
// sent before more is waited for. It says which side an error was of.
func (w *bodyWriter) copyFrom(r *bodyReader) (readErr, writeErr error) {
	for {
		data, err := r.more()
		if r.ended {
			r.drained.Store(true)
		}
		switch {
		case err != nil:
			return err, w.flush()
		case len(data) > 0:
			if err := w.write(data); err != nil {
				return nil, err
			}
			continue
		case r.ended:
			return nil, w.end()
		}
		if err := w.flush(); err != nil {
			return nil, err
		}
		if err := r.fill(); err != nil {
			return err, nil
		}
	}
}

// chunkFrame is the most that a chunk adds to its data.
const chunkFrame = 20

func (w *bodyWriter) write(data []byte) error {
	if len(w.out)+len(data)+chunkFrame > cap(w.out) {
		if err := w.flush(); err != nil {
			return err
		}
	}
	switch {
	case w.kind == h1.Chunked && len(data)+chunkFrame > cap(w.out):
		w.out = h1.AppendChunkSize(w.out, len(data))
		if err := w.flushWith(data); err != nil {
			return err
		}
		w.out = append(w.out, h1.ChunkEnd...)
		return nil
	case w.kind == h1.Chunked:
		w.out = h1.AppendChunk(w.out, data)
		return nil
	case len(data) > cap(w.out)/2: // a copy costs more than a write
		return w.flushWith(data)
	default:
		w.out = append(w.out, data...)
		return nil
	}
}

func (w *bodyWriter) end() error {
	if w.kind == h1.Chunked {
		w.out = append(w.out, h1.LastChunk...)
	}
	return w.flush()
}

func (w *bodyWriter) flush() error { return w.flushWith(nil) }

func (w *bodyWriter) flushWith(data []byte) error {
	if len(w.out) > 0 {
		if err := w.send(w.out); err != nil {
			return err
		}
		w.out = w.out[:0]
	}
	if len(data) == 0 {
		return nil
	}
	return w.send(data)
}

func (w *bodyWriter) send(b []byte) error {
	if w.toServer {
		return w.to.writePiece(b, w.within)
	}
	return w.to.writeAll(b, w.within)
}
