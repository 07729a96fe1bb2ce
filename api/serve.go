package api

import (
	"context"
	"time"

	"github.com/backstay/backstay"
)

// askWithin bounds what is answered at once. Draining waits for proxies, so it
// has the time of a drain.
const (
	askWithin   = 30 * time.Second
	drainWithin = 10 * time.Minute
)

// recentEvents is how many events a proof may draw on.
const recentEvents = 200

// ask calls f, which reads or changes something at once, and answers what it
// returns.
func ask[T any](c *call, f func(ctx context.Context) (T, error)) error {
	return askFor(c, askWithin, f)
}

func askFor[T any](c *call, within time.Duration, f func(ctx context.Context) (T, error)) error {
	ctx, cancel := context.WithTimeout(c.r.Context(), within)
	defer cancel()
	v, err := f(ctx)
	if err != nil {
		return err
	}
	return c.answer(v)
}

// list makes an empty list of none: null is no list.
func list[T any](all []T, err error) ([]T, error) {
	if all == nil {
		all = []T{}
	}
	return all, err
}

func (s *server) version(c *call) error { return ask(c, s.Version) }

func (s *server) status(c *call) error { return ask(c, s.Status) }

func (s *server) configs(c *call) error {
	return ask(c, func(ctx context.Context) ([]Config, error) { return list(s.Configs(ctx)) })
}

func (s *server) why(c *call) error {
	text, err := c.need("ref", "send what to prove, as in ?ref=service/shop")
	if err != nil {
		return err
	}
	return ask(c, func(ctx context.Context) (Proof, error) {
		st, err := s.Status(ctx)
		if err != nil {
			return Proof{}, err
		}
		ref, err := Resolve(st, text)
		if err != nil {
			return Proof{}, err
		}
		return s.prove(ctx, st, ref)
	})
}

// prove gathers what a proof needs beside the status.
func (s *server) prove(ctx context.Context, st Status, ref backstay.Ref) (Proof, error) {
	events, err := s.Recent(ctx, "", recentEvents)
	if err != nil {
		return Proof{}, err
	}
	facts := Facts{Status: st, Events: events}
	if service, ok := releaseOf(ref); ok {
		if facts.Releases, err = s.Releases(ctx, service); err != nil {
			return Proof{}, err
		}
	} else if service := st.serviceOf(ref); service != "" {
		facts.Releases, _ = s.Releases(ctx, service) // a service without any has a proof too
	}
	return Why(facts, ref)
}

func (s *server) events(c *call) error {
	q := EventQuery{After: c.query.Get("after")}
	var err error
	if q.Since, err = c.moment("since"); err != nil {
		return err
	}
	if q.Ref, err = c.ref("ref"); err != nil {
		return err
	}
	if q.Tail, err = c.number("tail", maxTail); err != nil {
		return err
	}
	if q.Follow, err = c.flag("follow"); err != nil {
		return err
	}
	return c.stream(func() error {
		return s.Events(c.r.Context(), q, func(e backstay.Event) error { return c.line(e) })
	})
}

func (s *server) logs(c *call) error {
	text, err := c.need("ref", "send whose, as in ?ref=service/shop")
	if err != nil {
		return err
	}
	q := LogQuery{}
	if q.Ref, err = CheckRef(text); err != nil {
		return err
	}
	if q.Tail, err = c.number("tail", maxTail); err != nil {
		return err
	}
	if q.Since, err = c.moment("since"); err != nil {
		return err
	}
	if q.Follow, err = c.flag("follow"); err != nil {
		return err
	}
	return c.stream(func() error {
		return s.Logs(c.r.Context(), q, func(l LogLine) error { return c.line(l) })
	})
}

func (s *server) diff(c *call) error {
	from, err := c.need("from", "send a release as in shop@13, or the digest of a file, running, last_good or file")
	if err != nil {
		return err
	}
	to, err := c.need("to", "send what to compare with")
	if err != nil {
		return err
	}
	return ask(c, func(ctx context.Context) ([]Change, error) { return list(s.Diff(ctx, from, to)) })
}

func (s *server) releases(c *call) error {
	name, err := c.name("service")
	if err != nil {
		return err
	}
	return ask(c, func(ctx context.Context) ([]Release, error) { return list(s.Releases(ctx, name)) })
}

func (s *server) history(c *call) error {
	name, err := c.name("service")
	if err != nil {
		return err
	}
	return ask(c, func(ctx context.Context) ([]Deploy, error) { return list(s.History(ctx, name)) })
}

func (s *server) metrics(c *call) error {
	c.begun = true
	s.Metrics().ServeHTTP(c.w, c.r)
	return nil
}

// validity is the answer about a file without mistakes.
type validity struct {
	Valid bool `json:"valid"`
}

func (s *server) validate(c *call) error {
	by, _ := c.actor() // for nobody this host is not asked
	return ask(c, func(ctx context.Context) (validity, error) {
		return validity{Valid: true}, s.Validate(ctx, ConfigAsk{Name: c.fileName(), Text: c.body, By: by})
	})
}

// fileName is what the file is called in messages.
func (c *call) fileName() string {
	if v := c.query.Get("name"); v != "" {
		return short(v)
	}
	return "backstay.yaml"
}

func (s *server) plan(c *call) error {
	by, _ := c.actor() // for nobody only the texts are compared
	return ask(c, func(ctx context.Context) (Plan, error) {
		p, err := s.Plan(ctx, ConfigAsk{Name: c.fileName(), Text: c.body, By: by})
		p.overrule()
		return p, err
	})
}

func (s *server) apply(c *call) error {
	by, err := c.actor()
	if err != nil {
		return err
	}
	match, err := c.ifMatch()
	if err != nil {
		return err
	}
	stopAll, err := c.flag("stop_all")
	if err != nil {
		return err
	}
	gap, err := c.flag("gap")
	if err != nil {
		return err
	}
	return ask(c, func(ctx context.Context) (Applied, error) {
		done, err := s.Apply(ctx, ConfigAsk{Name: c.fileName(), Text: c.body, IfMatch: match, StopAll: stopAll, Gap: gap, By: by})
		done.overrule()
		return done, err
	})
}
