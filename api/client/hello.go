package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"time"

	"github.com/backstay/backstay"
)

// hello is answered by every HTTP server, and by no handler of it: whoever answers
// takes connections and lives. That one can connect says nothing: the keeper holds
// the socket, also while no agent takes anything from it.
const hello = "OPTIONS * HTTP/1.1\r\nHost: backstay\r\n\r\n"

// leastHello is what an agent has to answer in, also where nothing is to be waited
// for: one that lives takes a millisecond.
const leastHello = time.Second

// reach returns a connection to an agent that has just answered on it. A request
// is sent to nobody else: one that lies in the queue of a socket would be done
// whenever an agent comes back, long after who asked has given up.
func (c *Client) reach(ctx context.Context, w *wait) (net.Conn, error) {
	until := w.until
	if least := time.Now().Add(leastHello); least.After(until) {
		until = least
	}
	dialing, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(dialing, "unix", c.socket)
	if err != nil {
		return nil, c.unreached(ctx, err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := greet(conn, w, until); err != nil {
		_ = conn.Close()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, c.silent(err)
	}
	_ = conn.SetDeadline(time.Time{})
	return conn, nil
}

// greet says hello and reads the answer, which is the first thing that comes. It
// says that it waits when that takes longer than a moment.
func greet(conn net.Conn, w *wait, until time.Time) error {
	_ = conn.SetDeadline(until)
	if _, err := io.WriteString(conn, hello); err != nil {
		return fmt.Errorf("greet agent: %w", err)
	}
	in := bufio.NewReader(conn)
	if soon := w.began.Add(patience); w.told != nil && soon.Before(until) {
		_ = conn.SetReadDeadline(soon)
		if _, err := in.Peek(1); timedOut(err) {
			w.say()
		}
		_ = conn.SetReadDeadline(until)
	}
	resp, err := http.ReadResponse(in, &http.Request{Method: http.MethodOptions})
	if err != nil {
		return fmt.Errorf("greet agent: %w", err)
	}
	_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, maxRefusal))
	return errors.Join(err, resp.Body.Close())
}

func timedOut(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

// unreached returns why nobody could be connected to.
func (c *Client) unreached(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case timedOut(err): // so many wait in the queue of its socket that there is no room
		return c.silent(err)
	case errors.Is(err, fs.ErrPermission):
		return &backstay.Problem{
			Code: "denied", What: "this user may not speak to the agent", Where: c.socket, Why: reason(err),
			Do: "run the command as root, or as a member of the group that the socket belongs to",
		}
	}
	return &backstay.Problem{
		Code: "no_agent", What: "no agent answers", Where: c.socket, Why: reason(err),
		Do: "start one with backstay up FILE, or say where it is with --run-dir",
	}
}

// reason is why err came, without what was tried.
func reason(err error) string {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err.Error()
	}
	return err.Error()
}

// silent says that there is a socket and nobody who takes anything from it.
func (c *Client) silent(err error) error {
	why := "its socket is held for it, and nobody takes connections there"
	if !timedOut(err) {
		why += ": " + reason(err)
	}
	do := "backstay logs role/agent shows what it printed last, without an agent too"
	if c.log != "" {
		do += "; it is in " + c.log
	}
	return &backstay.Problem{Code: "no_agent", What: "the agent does not answer: it hangs, or ends as soon as it starts", Where: c.socket, Why: why, Do: do}
}
