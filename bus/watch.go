package bus

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/backstay/backstay"
)

// replayStep is how many events a watcher takes from disk at a time.
const replayStep = 1024

// Watch returns what was recorded after the event called id, and then what is
// recorded from now on, each event once and in order. An empty id begins with
// the oldest that is kept. The channel is closed when ctx is done or the bus is
// closed. A reader may take its time: what it has not read waits on disk. If it
// takes so long that the log has moved on, an event of kind
// [backstay.EventsLost] without an id says so.
func (b *Bus) Watch(ctx context.Context, id string) (<-chan backstay.Event, error) {
	after, err := b.position(id)
	if err != nil {
		return nil, err
	}
	to := make(chan backstay.Event)
	go b.follow(ctx, after, to)
	return to, nil
}

func (b *Bus) follow(ctx context.Context, after uint64, to chan<- backstay.Event) {
	defer close(to)
	for {
		events, changed, err := b.after(ctx, after, replayStep)
		if err != nil {
			b.Log.ErrorContext(ctx, "events not read", "after", after, "why", err.Error())
			return
		}
		for _, e := range b.gap(after, events) {
			select {
			case to <- e:
			case <-ctx.Done():
				return
			}
		}
		if len(events) > 0 {
			after, _ = seqOf(events[len(events)-1].ID)
			continue
		}
		if changed == nil {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// gap puts before events what is missing between them and after, if the log has
// moved on meanwhile. Numbers also jump where a process was killed: then nothing
// is missing.
func (b *Bus) gap(after uint64, events []backstay.Event) []backstay.Event {
	if after == 0 || len(events) == 0 {
		return events
	}
	first, _ := seqOf(events[0].ID)
	if first == after+1 {
		return events
	}
	paths, err := segments(b.Dir)
	if err != nil || len(paths) == 0 {
		return events
	}
	if oldest, _ := firstOf(filepath.Base(paths[0])); oldest <= after+1 {
		return events
	}
	told := backstay.Event{
		At: b.now(), Node: b.Node, Kind: backstay.EventsLost,
		Because: fmt.Sprintf("events after %d and before %d are no longer kept", after, first),
	}
	return append([]backstay.Event{told}, events...)
}

// after returns events with numbers above after, oldest first, limit at most. If
// there is none, changed is closed when there may be one, and nil if there will
// never be.
func (b *Bus) after(ctx context.Context, after uint64, limit int) (events []backstay.Event, changed <-chan struct{}, err error) {
	for {
		events, changed, base, idle := b.recent(after, limit)
		if base == 0 {
			return events, changed, nil
		}
		select { // until then some that are older than the ring may not be on disk
		case <-idle:
		case <-ctx.Done():
			return nil, nil, nil
		}
		events, err = read(b.Dir, after, base, limit)
		if err != nil || len(events) > 0 {
			return events, nil, err
		}
		after = base - 1 // nothing is left of what was before
	}
}

// recent is [Bus.after] for what the ring has. Otherwise it returns where the
// ring begins, and what is closed when all before is on disk.
func (b *Bus) recent(after uint64, limit int) (events []backstay.Event, changed <-chan struct{}, base uint64, idle <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if after+1 < b.base {
		return nil, nil, b.base, b.idle
	}
	for seq := after + 1; seq < b.next && len(events) < limit; seq++ {
		events = append(events, b.ring[seq%ringSize])
	}
	if !b.closed {
		changed = b.changed
	}
	return events, changed, 0, nil
}
