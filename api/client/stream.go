package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
)

// maxLine is the longest line of a stream: a line of a log is cut at 64 KiB, and
// JSON may write six bytes for one.
const maxLine = 1 << 20

// cutError says that a stream broke before its end.
type cutError struct{ err error }

func (e *cutError) Error() string { return e.err.Error() }

// lines sends r and calls line with each value of the answer.
func lines[T any](ctx context.Context, c *Client, r request, line func(T) error) error {
	resp, err := c.open(ctx, r)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // only read
	s := bufio.NewScanner(resp.Body)
	s.Buffer(make([]byte, 0, 64<<10), maxLine)
	for s.Scan() {
		if err := ended(s.Bytes()); err != nil {
			return err
		}
		var v T
		if err := decode(s.Bytes(), &v); err != nil {
			return err
		}
		if err := line(v); err != nil {
			return err
		}
	}
	if err := s.Err(); err != nil {
		return errors.Join(ctx.Err(), &cutError{err})
	}
	return nil
}

// ended returns the problem that a stream ends with, if text is one.
func ended(text []byte) error {
	var last struct {
		Problem *api.Refusal `json:"problem"`
	}
	if err := json.Unmarshal(text, &last); err != nil {
		return badAnswer(err)
	}
	switch {
	case last.Problem == nil:
		return nil
	case last.Problem.Code == "canceled": // the agent stops: the next one goes on
		return &cutError{last.Problem}
	default:
		return plain(*last.Problem)
	}
}

// resume calls stream until it comes to its end, again when it was cut or the
// agent is not back yet. Each call has to go on where the one before broke.
func (c *Client) resume(ctx context.Context, stream func(wait time.Duration) error) error {
	wait := c.wait
	for {
		began := time.Now()
		err := stream(wait)
		var cut *cutError
		var lost *lostError
		if err == nil || ctx.Err() != nil || !errors.As(err, &cut) && !errors.As(err, &lost) {
			return err
		}
		if wait = resumeWait; time.Since(began) < again { // it broke at once: do not spin
			if err := pause(ctx); err != nil {
				return err
			}
		}
	}
}

// Events calls event with what q asks for. It goes on over restarts of the agent
// and misses nothing that is kept.
func (c *Client) Events(ctx context.Context, q api.EventQuery, event func(backstay.Event) error) error {
	return c.resume(ctx, func(wait time.Duration) error {
		r := request{method: http.MethodGet, path: "/v1/events", wait: wait, query: url.Values{}}
		setIf(r.query, "after", q.After)
		setIf(r.query, "ref", string(q.Ref))
		setTime(r.query, "since", q.Since)
		setTail(r.query, q.Tail, q.Follow)
		return lines(ctx, c, r, func(e backstay.Event) error {
			q.After, q.Since, q.Tail = e.ID, time.Time{}, 0
			return event(e)
		})
	})
}

// Watch calls line with what a deploy tells, each line once, and returns after
// the last.
func (c *Client) Watch(ctx context.Context, service, id string, line func(api.Progress) error) error {
	after, final := 0, false
	return c.resume(ctx, func(wait time.Duration) error {
		r := request{method: http.MethodGet, path: "/v1/services/" + service + "/progress", wait: wait, query: url.Values{}}
		setIf(r.query, "deploy", id)
		if after > 0 {
			r.query.Set("after", strconv.Itoa(after))
		}
		err := lines(ctx, c, r, func(p api.Progress) error {
			after, final = max(after, p.N), final || p.Final
			return line(p)
		})
		if err == nil && !final {
			return &cutError{fmt.Errorf("the agent ended the answer before the deploy ended")}
		}
		return err
	})
}

// Down stops everything and calls line with each step. Broken off by a restart
// of the agent, it is asked for again.
func (c *Client) Down(ctx context.Context, line func(api.Progress) error) error {
	final := false
	return c.resume(ctx, func(wait time.Duration) error {
		err := lines(ctx, c, request{method: http.MethodPost, path: "/v1/down", wait: wait}, func(p api.Progress) error {
			final = final || p.Final
			return line(p)
		})
		if err == nil && !final {
			return &cutError{fmt.Errorf("the agent ended the answer before all was stopped")}
		}
		return err
	})
}

// Logs calls line with what q asks for. A stream that broke goes on after the
// last line of each instance.
func (c *Client) Logs(ctx context.Context, q api.LogQuery, line func(api.LogLine) error) error {
	var at place
	return c.resume(ctx, func(wait time.Duration) error {
		r := request{method: http.MethodGet, path: "/v1/logs", wait: wait, query: url.Values{"ref": {string(q.Ref)}}}
		setTime(r.query, "since", q.Since)
		setTail(r.query, q.Tail, q.Follow)
		at.again()
		return lines(ctx, c, r, func(l api.LogLine) error {
			if at.seen(l) {
				return nil
			}
			q.Since, q.Tail = at.oldest(), 0
			return line(l)
		})
	})
}

func setIf(q url.Values, name, value string) {
	if value != "" {
		q.Set(name, value)
	}
}

func setTime(q url.Values, name string, t time.Time) {
	if !t.IsZero() {
		q.Set(name, t.UTC().Format(time.RFC3339Nano))
	}
}

func setTail(q url.Values, tail int, follow bool) {
	if tail > 0 {
		q.Set("tail", strconv.Itoa(tail))
	}
	if follow {
		q.Set("follow", "true")
	}
}
