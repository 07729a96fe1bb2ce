// Package client speaks to the agent over its Unix socket. What it returns as an
// error is a *backstay.Problem or an *api.Refusal.
//
// An agent that is restarting is waited for, up to [Options].Wait. What is the
// same when it is done twice is asked again when the agent went away in the
// middle; what is not (a deploy, a restart) is sent once, and a lost answer is
// said to be lost. Streams go on where they broke.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
)

// Times of a client.
const (
	// defaultWait is how long an agent may take to come back: it takes 20–70 ms to
	// start, and its back-off after some crashes in a row 100 ms to seconds.
	defaultWait = 5 * time.Second
	// resumeWait is the same for a stream that has begun: losing the end of a
	// deploy costs more than waiting for it.
	resumeWait = 30 * time.Second
	// again is the pause between two tries.
	again = 50 * time.Millisecond
	// patience is how long nothing is said about waiting.
	patience = 300 * time.Millisecond
	// maxAnswer bounds what is read of an answer that is no stream.
	maxAnswer = 64 << 20
)

// Options are where the agent is and how a client waits.
type Options struct {
	Socket  string
	Log     string        // file that the agent prints to, to be named where it does not answer; may be empty
	Wait    time.Duration // for the agent to answer; 0 is 5s
	Waiting func()        // called once, when that takes longer than a moment; may be nil
}

// Client is a client of one agent. It may be used from many goroutines.
type Client struct {
	socket, log string
	wait        time.Duration
	told        func()
}

// New returns a client of the agent at o.Socket. It connects with each call.
func New(o Options) *Client {
	c := &Client{socket: o.Socket, log: o.Log, wait: o.Wait, told: o.Waiting}
	if c.wait == 0 {
		c.wait = defaultWait
	}
	return c
}

// request is one call.
type request struct {
	method, path string
	query        url.Values
	body         []byte
	kind         string // media type of body
	ifMatch      string
	wait         time.Duration
	once         bool // is not the same when it is done twice
}

// get asks for something that only reads.
func get[T any](ctx context.Context, c *Client, path string, query url.Values) (T, error) {
	return call[T](ctx, c, request{method: http.MethodGet, path: path, query: query})
}

// change asks for what r is, with body as JSON; nil sends none.
func change[T any](ctx context.Context, c *Client, r request, body any) (T, error) {
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			var none T
			return none, fmt.Errorf("encode request: %w", err)
		}
		r.body, r.kind = text, "application/json"
	}
	return call[T](ctx, c, r)
}

// call sends r and reads the whole answer.
func call[T any](ctx context.Context, c *Client, r request) (T, error) {
	var v T
	until := time.Now().Add(c.wait)
	for {
		text, err := c.once(ctx, r)
		if err == nil {
			return v, decode(text, &v)
		}
		var lost *lostError
		if ctx.Err() != nil || !errors.As(err, &lost) || r.once || time.Now().After(until) {
			return v, problem(err)
		}
		if err := pause(ctx); err != nil {
			return v, err
		}
	}
}

func decode(text []byte, v any) error {
	if err := json.Unmarshal(text, v); err != nil {
		return badAnswer(err)
	}
	return nil
}

func badAnswer(err error) error {
	return &backstay.Problem{
		Code: "bad_answer", What: "what answers at the socket is no agent that this program understands", Why: err.Error(),
		Do: "compare backstay version with the agent's, and use the same",
	}
}

// lostError says that the agent went away after it had been reached.
type lostError struct{ err error }

func (e *lostError) Error() string { return e.err.Error() }

// problem returns what a person is told about err.
func problem(err error) error {
	if lost, ok := errors.AsType[*lostError](err); ok {
		return &backstay.Problem{
			Code: "agent_gone", What: "the agent went away in the middle of its answer", Why: lost.err.Error(),
			Do: "look what came of it: backstay status",
		}
	}
	return err
}

// once sends r and returns the text of a good answer.
func (c *Client) once(ctx context.Context, r request) ([]byte, error) {
	resp, err := c.open(ctx, r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }() // only read
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, errors.Join(ctx.Err(), &lostError{err})
	}
	return text, nil
}

// open sends r, waiting for an agent that is not there yet, and returns its
// answer if it is a good one.
func (c *Client) open(ctx context.Context, r request) (*http.Response, error) {
	w := c.newWait(r.wait)
	for {
		resp, err := c.ask(ctx, r, w)
		if err == nil {
			return resp, nil
		}
		if !w.worth(err) {
			return nil, err
		}
		if err := pause(ctx); err != nil {
			return nil, err
		}
	}
}

// ask sends r to an agent that answers.
func (c *Client) ask(ctx context.Context, r request, w *wait) (*http.Response, error) {
	conn, err := c.reach(ctx, w)
	if err != nil {
		return nil, err
	}
	resp, err := send(ctx, conn, r)
	if err != nil {
		_ = conn.Close() // where it was never used; else it is closed already
	}
	return resp, err
}

// wait is how long one call has waited for the agent.
type wait struct {
	began, until time.Time
	told         func()
}

func (c *Client) newWait(d time.Duration) *wait {
	if d == 0 {
		d = c.wait
	}
	now := time.Now()
	return &wait{began: now, until: now.Add(d), told: c.told}
}

// worth reports whether to try again after err, and says once that it waits.
func (w *wait) worth(err error) bool {
	var p *backstay.Problem
	if !errors.As(err, &p) || p.Code != "no_agent" && p.Code != "starting" || time.Now().After(w.until) {
		return false
	}
	if time.Since(w.began) > patience {
		w.say()
	}
	return true
}

// say says once that it waits.
func (w *wait) say() {
	if w.told != nil {
		w.told()
		w.told = nil
	}
}

func pause(ctx context.Context) error {
	t := time.NewTimer(again)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// send sends r over conn, which is for nothing else: a kept connection may lead to
// an agent that is gone.
func send(ctx context.Context, conn net.Conn, r request) (*http.Response, error) {
	to := url.URL{Scheme: "http", Host: "backstay", Path: r.path, RawQuery: r.query.Encode()}
	req, err := http.NewRequestWithContext(ctx, r.method, to.String(), bytes.NewReader(r.body))
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	if r.kind != "" {
		req.Header.Set("Content-Type", r.kind)
	}
	if r.ifMatch != "" {
		req.Header.Set("If-Match", `"`+r.ifMatch+`"`)
	}
	once := &http.Transport{
		DialContext:       func(context.Context, string, string) (net.Conn, error) { return conn, nil },
		DisableKeepAlives: true,
	}
	resp, err := once.RoundTrip(req)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, &lostError{err}
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer func() { _ = resp.Body.Close() }() // only read
	return nil, refusal(resp)
}

// maxRefusal bounds what is read of an answer that is no good one.
const maxRefusal = 1 << 20

// refusal returns the problem that an answer is.
func refusal(resp *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
	if err != nil {
		return &lostError{err}
	}
	var r api.Refusal
	if err := json.Unmarshal(text, &r); err != nil || r.Code == "" {
		return badAnswer(fmt.Errorf("HTTP %s", resp.Status))
	}
	return plain(r)
}

// plain returns r as the simplest error that it is.
func plain(r api.Refusal) error {
	if len(r.Mistakes) == 0 && r.Text == "" {
		return &r.Problem
	}
	return &r
}
