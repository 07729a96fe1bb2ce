package bus

import (
	"context"
	"sync"
	"testing"
)

// Watchers that begin anywhere, while many record, hear each event once.
func TestWatchersHearEachEventOnceInOrder(t *testing.T) {
	dir := t.TempDir()
	b := newBus(t, dir)
	record(b, 1, 3000)
	must(t, b.Close())
	b = newBus(t, dir)
	const recorders, each = 4, 1500
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			events, err := b.Watch(ctx, "")
			if err != nil {
				t.Error(err)
				return
			}
			for want := uint64(1); want <= 3000+recorders*each; want++ {
				if e := <-events; seq(t, e) != want {
					t.Errorf("%s, want %d", e.ID, want)
					return
				}
			}
		})
	}
	for range recorders {
		all.Go(func() {
			for i := 1; i <= each; i++ {
				record(b, i, i)
				if i%100 == 0 {
					waitIdle(b) // else they are faster than any disk
				}
			}
		})
	}
	all.Wait()
	cancel()
	if b.Lost() > 0 {
		t.Errorf("%d did not get to disk", b.Lost())
	}
}

func TestWatchEndsWithItsContextAndWithTheBus(t *testing.T) {
	b := newBus(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	first, err := b.Watch(ctx, "")
	must(t, err)
	second, err := b.Watch(t.Context(), "")
	must(t, err)
	cancel()
	if _, ok := <-first; ok {
		t.Error("an event out of nothing")
	}
	record(b, 1, 1)
	must(t, b.Close())
	if e := <-second; e.Because != "event 1" {
		t.Errorf("%+v", e)
	}
	if _, ok := <-second; ok {
		t.Error("the watcher is not at its end")
	}
	record(b, 2, 2) // nobody minds
	if b.Lost() != 1 {
		t.Errorf("%d lost after the end", b.Lost())
	}
	must(t, b.Close())
}
