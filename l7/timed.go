package l7

import (
	"errors"
	"net"
	"os"
	"time"
)

// timed is a connection whose deadlines are set seldom. Setting one costs as
// much as parsing a head, so one that is still nearly right is left: it may
// come up to a quarter early, never late.
type timed struct {
	net.Conn

	base   time.Time
	rd, wd int64 // deadlines in force, as nanoseconds since base; 0: unknown
}

// readWithin bounds the reads that follow to d from now.
func (t *timed) readWithin(now int64, d time.Duration) {
	if nearly(t.rd, now, d) {
		return
	}
	t.rd = now + int64(d)
	_ = t.SetReadDeadline(t.base.Add(time.Duration(t.rd))) // a closed connection says so when it is read
}

// writeWithin bounds the writes that follow to d from now.
func (t *timed) writeWithin(now int64, d time.Duration) {
	if nearly(t.wd, now, d) {
		return
	}
	t.wd = now + int64(d)
	_ = t.SetWriteDeadline(t.base.Add(time.Duration(t.wd)))
}

func nearly(at, now int64, d time.Duration) bool {
	return at <= now+int64(d) && at >= now+int64(d)*3/4
}

func (t *timed) now() int64 { return int64(time.Since(t.base)) }

// interruptRead ends a read that another goroutine is in, and all that follow
// until a deadline is set anew.
func (t *timed) interruptRead() { _ = t.SetReadDeadline(past) }

var past = time.Unix(1, 0)

// writeAll writes b as long as the peer takes a byte every stall. Over TLS a
// write that was late once cannot go on, so there it is one stall for all.
func (t *timed) writeAll(b []byte, stall time.Duration) error {
	for {
		t.writeWithin(t.now(), stall)
		n, err := t.Write(b)
		b = b[n:]
		if err == nil || n == 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
		t.wd = 0
	}
}

// looks is how often within its time a piece is tried again. A kernel wakes who
// writes only when a third of its buffer is free: a server that reads slowly may
// have made room long before.
const looks = 4

// writePiece writes b, which has to be taken whole within that time. Unlike with
// writeAll a byte now and then does not renew it: for seconds after a server has
// stopped to read, the buffers in between go on to take some.
func (t *timed) writePiece(b []byte, within time.Duration) error {
	for until := t.now() + int64(within); ; {
		now := t.now()
		t.writeWithin(now, min(within/looks, time.Duration(until-now)))
		n, err := t.Write(b)
		b = b[n:]
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) || t.now() >= until {
			return err
		}
		t.wd = 0
	}
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
