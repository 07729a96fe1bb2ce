package l7

import (
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// piped is one end of a connection without buffers; take plays the other.
func piped(t *testing.T, take func(net.Conn)) *timed {
	t.Helper()
	ours, theirs := net.Pipe()
	done := make(chan struct{})
	go func() { defer close(done); take(theirs) }()
	t.Cleanup(func() { _ = ours.Close(); <-done })
	return &timed{Conn: ours, base: time.Now()}
}

// every reads n bytes, then waits, until the connection ends.
func every(wait time.Duration, n int64) func(net.Conn) {
	return func(c net.Conn) {
		for tick := time.NewTicker(wait); ; <-tick.C {
			if _, err := io.CopyN(io.Discard, c, n); err != nil {
				tick.Stop()
				return
			}
		}
	}
}

func TestBytesNowAndThenDoNotRenewTheTimeOfAPiece(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := piped(t, every(100*time.Millisecond, 1))
		if err := c.writePiece(make([]byte, largeBuffer), time.Second); !isTimeout(err) {
			t.Errorf("got %v", err)
		}
		if took := time.Since(c.base); took > time.Second {
			t.Errorf("given up after %v", took)
		}
	})
}

func TestAPieceThatIsTakenWithinItsTimeIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := piped(t, every(100*time.Millisecond, largeBuffer/8))
		for range 3 { // and the next has its own time
			if err := c.writePiece(make([]byte, largeBuffer), time.Second); err != nil {
				t.Error(err)
			}
		}
		if took := time.Since(c.base); took < 2*time.Second {
			t.Errorf("three pieces went in %v: the server was too fast for this test", took)
		}
	})
}
