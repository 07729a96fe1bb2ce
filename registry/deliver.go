package registry

import (
	"context"
	"sync"
	"time"
)

// result is how one delivery ended.
type result struct {
	delivery

	gen uint64
	err error
}

// Run tells the balancers of every change until ctx is done.
func (r *Registry) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	c := courier{Registry: r, results: make(chan result)}
	defer c.flying.Wait()
	defer cancel()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			c.land()
			return nil
		case <-r.kick:
		case <-timer.C:
		case res := <-c.results:
			c.take(ctx, res)
		}
		if next := c.send(ctx); !next.IsZero() {
			timer.Reset(time.Until(next))
		}
	}
}

// courier makes the calls that the machine asks for: one per balancer at a time.
type courier struct {
	*Registry

	results chan result
	flying  sync.WaitGroup
}

func (c *courier) send(ctx context.Context) (next time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	calls, next := c.m.deliveries(time.Now())
	if len(calls) == 0 {
		return next
	}
	snap := c.m.snapshot()
	for _, d := range calls {
		s := c.live[d.name]
		c.flying.Go(func() { c.call(ctx, s, d, snap) })
	}
	return next
}

// call hands s the snapshot. It is cut short when the balancer leaves.
func (c *courier) call(ctx context.Context, s *seat, d delivery, snap Snapshot) {
	one, cancel := context.WithTimeout(ctx, applyWithin)
	defer cancel()
	defer context.AfterFunc(s.gone, cancel)() //nolint:contextcheck // the balancer's life is nobody's call
	err := s.Apply(one, snap)
	select {
	case c.results <- result{d, snap.Gen, err}:
	case <-ctx.Done():
	}
}

func (c *courier) take(ctx context.Context, res result) {
	c.mu.Lock()
	news := c.m.delivered(res.delivery, res.gen, time.Now(), res.err == nil)
	c.mu.Unlock()
	switch {
	case res.err == nil:
		c.metrics.applied.Inc()
	case news:
		c.opt.Log.WarnContext(ctx, "balancer does not take the snapshot", "balancer", res.name, "gen", res.gen, "err", res.err)
		fallthrough
	default:
		c.metrics.failed.Inc()
	}
}

// land marks what was under way as never sent: the next Run sends it again.
func (c *courier) land() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, mem := range c.m.members {
		mem.busy = false
	}
}
