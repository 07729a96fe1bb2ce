package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// median returns the middle of v, the upper one of two.
func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	if len(s) == 0 {
		return 0
	}
	return s[len(s)/2]
}

// quantile returns the q-th of samples, 0 to 1, by their order.
func quantile(samples []time.Duration, q float64) time.Duration {
	s := slices.Sorted(slices.Values(samples))
	if len(s) == 0 {
		return 0
	}
	return s[min(int(q*float64(len(s))), len(s)-1)]
}

// ms prints d in milliseconds.
func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }

// ms2 is ms for what is short.
func ms2(d time.Duration) string { return fmt.Sprintf("%.2f ms", float64(d.Microseconds())/1000) }

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// await asks again every step until done says nothing is missing, for at most
// most.
func await(ctx context.Context, most, step time.Duration, done func() (missing string)) error {
	end := time.Now().Add(most)
	for {
		missing := done()
		if missing == "" {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("waited %v: %s", most, missing)
		}
		if err := pause(ctx, step); err != nil {
			return fmt.Errorf("%s: %w", missing, err)
		}
	}
}
