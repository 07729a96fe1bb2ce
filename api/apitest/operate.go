package apitest

import (
	"context"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
)

// Scale implements [api.Operator].
func (b *Backend) Scale(_ context.Context, service string, replicas *int, by api.Actor) (api.Done, error) {
	leave, err := b.enter()
	defer leave()
	s, missing := b.find(service)
	switch {
	case err != nil:
		return api.Done{}, err
	case missing != nil:
		return api.Done{}, missing
	}
	want, said := s.FileReplicas, "scale %s to what the file says by %[3]s"
	if replicas != nil {
		want, said = *replicas, "scale %s to %d by %s"
	}
	b.ask(said, service, want, by.Name)
	done := api.Done{Ref: backstay.NewRef("service", service), Changed: s.Replicas != want, Text: service + ": wanted otherwise now"}
	s.Replicas = want
	return done, nil
}

// Start implements [api.Operator].
func (b *Backend) Start(_ context.Context, ref backstay.Ref, by api.Actor) (api.Done, error) {
	return b.operate("start", ref, by)
}

// Stop implements [api.Operator].
func (b *Backend) Stop(_ context.Context, ref backstay.Ref, by api.Actor) (api.Done, error) {
	return b.operate("stop", ref, by)
}

// Restart implements [api.Operator].
func (b *Backend) Restart(_ context.Context, ref backstay.Ref, by api.Actor) (api.Done, error) {
	return b.operate("restart", ref, by)
}

// Drain implements [api.Operator].
func (b *Backend) Drain(_ context.Context, ref backstay.Ref, by api.Actor) (api.Done, error) {
	return b.operate("drain", ref, by)
}

// Undrain implements [api.Operator].
func (b *Backend) Undrain(_ context.Context, ref backstay.Ref, by api.Actor) (api.Done, error) {
	return b.operate("undrain", ref, by)
}

func (b *Backend) operate(verb string, ref backstay.Ref, by api.Actor) (api.Done, error) {
	leave, err := b.enter()
	defer leave()
	if err != nil {
		return api.Done{}, err
	}
	if _, err := api.Resolve(b.State, string(ref)); err != nil {
		return api.Done{}, err
	}
	b.ask("%s %s by %s", verb, ref, by.Name)
	return api.Done{Ref: ref, Changed: true, Text: string(ref) + ": " + verb + " done"}, nil
}

// Down implements [api.Operator].
func (b *Backend) Down(ctx context.Context, by api.Actor, line func(api.Progress) error) error {
	leave, err := b.enter()
	b.ask("down by %s", by.Name)
	leave()
	if err != nil {
		return err
	}
	return b.steps(ctx, 0, line)
}

// Watch implements [api.Deploys].
func (b *Backend) Watch(ctx context.Context, service, _ string, after int, line func(api.Progress) error) error {
	leave, err := b.enter()
	_, missing := b.find(service)
	leave()
	switch {
	case err != nil:
		return err
	case missing != nil:
		return missing
	}
	return b.steps(ctx, after, line)
}

func (b *Backend) steps(ctx context.Context, after int, line func(api.Progress) error) error {
	leave, _ := b.enter()
	steps := b.Steps
	leave()
	return send(ctx, b, steps, func(p api.Progress) bool { return p.N > after }, line)
}

// Events implements [api.Streamer].
func (b *Backend) Events(ctx context.Context, q api.EventQuery, event func(backstay.Event) error) error {
	leave, err := b.enter()
	past := b.Past
	leave()
	if err != nil {
		return err
	}
	known := q.After != ""
	return send(ctx, b, past, func(e backstay.Event) bool {
		if known {
			known = e.ID != q.After
			return false
		}
		return !e.At.Before(q.Since)
	}, event)
}

// Logs implements [api.Streamer].
func (b *Backend) Logs(ctx context.Context, q api.LogQuery, line func(api.LogLine) error) error {
	leave, err := b.enter()
	lines := b.Lines
	leave()
	if err != nil {
		return err
	}
	return send(ctx, b, lines, func(l api.LogLine) bool {
		mine := q.Ref.Kind() == "service" && q.Ref.Name() == l.Service || q.Ref.Kind() == "instance" && q.Ref.Name() == l.Instance
		return mine && !l.At.Before(q.Since)
	}, line)
}

// send sends what is wanted of all, and breaks off after the first as often as
// the backend is told to.
func send[T any](ctx context.Context, b *Backend, all []T, want func(T) bool, to func(T) error) error {
	for _, v := range all {
		if !want(v) {
			continue
		}
		if err := to(v); err != nil {
			return err
		}
		if b.breaks() {
			return context.Canceled
		}
	}
	return ctx.Err()
}

func (b *Backend) breaks() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.Broken == 0 {
		return false
	}
	b.Broken--
	return true
}
