package supervise

import (
	"context"
	"time"

	"github.com/backstay/backstay/health"
)

// What takes its time and is done beside the owner: proxies, probes, log files.

// chainOf returns the context of the way out that m is on; it ends when m takes
// another.
func (s *Supervisor) chainOf(m *machine) context.Context {
	l := s.lane(m.id)
	if l.endChain != nil && l.chain != m.chain {
		l.endChain()
		l.endChain = nil
	}
	if l.endChain == nil || l.chain != m.chain {
		l.chainCtx, l.endChain = context.WithCancel(s.ctx)
		l.chain = m.chain
	}
	return l.chainCtx
}

func (s *Supervisor) withdraw(m *machine, e effect) {
	ctx, id := s.chainOf(m), m.id
	s.spawn(func(context.Context) {
		within, cancel := context.WithTimeout(ctx, e.within)
		defer cancel()
		acks, err := s.opt.Registry.Withdraw(within, id)
		if ctx.Err() != nil {
			return // Run has ended, or it no longer matters
		}
		s.inbox.post(s.on(id, func(now time.Time, m *machine) { m.withdrawn(now, e.chain, acks, text(err)) }))
	})
}

// leastDrain is how long proxies are asked whether anything is in flight even
// where there is no time to wait for it: drain: 0s cuts off what there is, and
// does not say so where there is nothing.
const leastDrain = 100 * time.Millisecond

func (s *Supervisor) drain(m *machine, e effect) {
	ctx, id := s.chainOf(m), m.id
	s.spawn(func(context.Context) {
		within, cancel := context.WithTimeout(ctx, max(e.within, leastDrain))
		defer cancel()
		err := s.opt.Registry.Drain(within, id, e.long)
		if ctx.Err() != nil {
			return
		}
		s.inbox.post(s.on(id, func(now time.Time, m *machine) { m.emptied(now, e.chain, e.long, text(err)) }))
	})
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// probe asks. The answer always comes back, or no other question would.
func (s *Supervisor) probe(m *machine, i int) {
	q := m.question(time.Now(), i)
	to := target(q.conf, m.meta.Ports)
	to.Instance, to.Name = m.id, probeNames[i]
	id, service, run := m.id, m.meta.Service, s.runner(m, q)
	s.spawn(func(ctx context.Context) {
		r := health.AskWith(ctx, *q.conf, to, run)
		if !r.Good && !r.Unknown {
			s.metrics.failures.WithLabelValues(service, probeNames[i]).Inc()
		}
		s.inbox.post(s.on(id, func(now time.Time, m *machine) { m.answer(now, q, r) }))
	})
}

// lastLines is how many lines of log stand with the end of a run.
const lastLines = 5

func (s *Supervisor) tail(m *machine) {
	if s.opt.LastLines == nil || m.meta.LogFile == "" {
		m.logged(m.lastRun, nil)
		return
	}
	id, run, file := m.id, m.lastRun, m.meta.LogFile
	s.spawn(func(context.Context) {
		lines := s.opt.LastLines(file, lastLines)
		for i := range lines {
			lines[i] = health.Line(lines[i])
		}
		s.inbox.post(s.on(id, func(_ time.Time, m *machine) { m.logged(run, lines) }))
	})
}
