package registry

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Drain returns when every live balancer says that nothing is in flight at
// instance or, with long, that no connection is upgraded. It takes nothing out of
// traffic: Withdraw comes first. ctx bounds it. The questions asked at one time
// are as many as callers times balancers.
func (r *Registry) Drain(ctx context.Context, instance string, long bool) error {
	asked := map[int]bool{}
	for {
		seats := r.unasked(asked)
		if len(seats) == 0 {
			return nil
		}
		if err := r.askAll(ctx, seats, instance, long); err != nil {
			return fmt.Errorf("drain %s: %w", instance, err)
		}
	}
}

// unasked returns the live balancers that are not in asked, and adds them: one
// may have joined while the others answered.
func (r *Registry) unasked(asked map[int]bool) []*seat {
	r.mu.Lock()
	defer r.mu.Unlock()
	var seats []*seat
	for _, s := range r.live {
		if !asked[s.token] {
			asked[s.token] = true
			seats = append(seats, s)
		}
	}
	return seats
}

// askAll asks seats at once and waits for all of them.
func (r *Registry) askAll(ctx context.Context, seats []*seat, instance string, long bool) error {
	var all sync.WaitGroup
	errs := make([]error, len(seats))
	for i, s := range seats {
		all.Go(func() { errs[i] = s.drained(ctx, instance, long) })
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// drained asks until there is an answer. A balancer that leaves has nothing in
// flight: its process is gone, and its connections with it.
func (s *seat) drained(ctx context.Context, instance string, long bool) error {
	call, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.gone, cancel)() //nolint:contextcheck // the balancer's life is nobody's call
	for failures := 1; ; failures++ {
		err := s.Drain(call, instance, long)
		switch {
		case err == nil, s.gone.Err() != nil:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("%s still has requests in flight: %w", s.name, context.Cause(ctx))
		}
		select {
		case <-time.After(retry.Wait(failures)):
		case <-call.Done():
		}
	}
}
