package keeperclient

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/backstay/backstay/internal/keeperwire"
)

// ask sends a request and returns its answer, of the kind want. A refusal is a
// [keeperwire.Msg] in the error's chain.
func (c *Client) ask(ctx context.Context, m keeperwire.Msg, want keeperwire.MsgKind) (keeperwire.Msg, error) {
	a, err := c.exchange(ctx, m, nil, want)
	if a.file != nil {
		_ = a.file.Close() // nobody asked for it
	}
	return a.msg, err
}

// exchange is ask with a file to send along, or one in the answer.
func (c *Client) exchange(ctx context.Context, m keeperwire.Msg, f *os.File, want keeperwire.MsgKind) (answer, error) {
	waiting := &call{answer: make(chan answer, 1)}
	n, err := c.enter(waiting)
	if err != nil {
		return answer{}, err
	}
	defer c.forget(n, waiting)
	m.N = n
	if err := c.send(ctx, m, f); err != nil {
		return answer{}, err
	}
	select {
	case a := <-waiting.answer:
		return judge(a, want)
	case <-ctx.Done():
		err = fmt.Errorf("wait for keeper: %w", context.Cause(ctx))
	case <-c.done:
		err = c.Err()
	}
	select {
	case a := <-waiting.answer: // both at once: what was answered counts
		return judge(a, want)
	default:
		return answer{}, err
	}
}

// judge returns a if it is what was asked for.
func judge(a answer, want keeperwire.MsgKind) (answer, error) {
	switch a.msg.Kind {
	case want:
		return a, nil
	case keeperwire.Err:
		return a, &a.msg
	default:
		return a, fmt.Errorf("the keeper's answer is of kind %d where %d is due", a.msg.Kind, want)
	}
}

// enter gives a request its number.
func (c *Client) enter(waiting *call) (uint32, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.err != nil:
		return 0, c.err
	case len(c.calls) >= maxCalls:
		return 0, fmt.Errorf("ask keeper: %d requests are under way already", maxCalls)
	}
	for c.last++; c.last == 0 || c.calls[c.last] != nil; c.last++ { // events have number 0
	}
	c.calls[c.last] = waiting
	return c.last, nil
}

// forget ends a request, answered or not: an answer that comes too late is
// dropped, and a file with it closed.
func (c *Client) forget(n uint32, waiting *call) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls[n] == waiting {
		delete(c.calls, n)
	}
	select {
	case a := <-waiting.answer: // it came while we gave up
		if a.file != nil {
			_ = a.file.Close()
		}
	default:
	}
}

// send writes one frame. It waits while the keeper reads nothing, but not longer
// than ctx.
func (c *Client) send(ctx context.Context, m keeperwire.Msg, f *os.File) error {
	b := m.Append(nil)
	if len(b) > keeperwire.MaxFrame {
		return fmt.Errorf("ask keeper: the request has %d bytes, and a frame %d at most", len(b), keeperwire.MaxFrame)
	}
	select {
	case <-c.writing:
	case <-ctx.Done():
		return fmt.Errorf("wait for keeper: %w", context.Cause(ctx))
	case <-c.done:
		return c.Err()
	}
	defer func() { c.writing <- struct{}{} }()
	undo := c.hurry(ctx)
	err := c.write(b, f)
	undo()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("wait for keeper: %w", context.Cause(ctx))
	}
	c.fail(fmt.Errorf("ask keeper: %w", gone(err)))
	return c.Err()
}

// hurry makes a write end when ctx is done, until undo is called. Only who has
// the writing token may call it: the deadline is the connection's.
func (c *Client) hurry(ctx context.Context) (undo func()) {
	hurried := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = c.conn.SetWriteDeadline(time.Unix(1, 0))
		close(hurried)
	})
	return func() {
		if !stop() {
			<-hurried
			_ = c.conn.SetWriteDeadline(time.Time{})
		}
	}
}

func (c *Client) write(b []byte, f *os.File) error {
	if f == nil {
		_, err := c.conn.Write(b)
		return err
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	// Not f.Fd(): it would make the file blocking, for everyone who shares it.
	e := raw.Control(func(fd uintptr) { _, _, err = c.conn.WriteMsgUnix(b, unix.UnixRights(int(fd)), nil) })
	return errors.Join(err, e)
}
