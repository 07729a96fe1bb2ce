package keeperclient

import (
	"context"
	"errors"
	"fmt"

	"github.com/backstay/backstay/internal/keeperwire"
)

// maxQueue is how many events wait for their reader: all that a keeper keeps for
// an agent that is away. Who is further behind must list again anyway.
const maxQueue = 1 << 16

// subscription is the stream of events between the wire and its reader. The wire
// never waits for the reader, who may be asking the keeper something.
type subscription struct {
	queue []keeperwire.Event
	seq   uint64        // of the newest event that came; the first may have any: the keeper may have begun to count anew
	more  chan struct{} // holds one token while queue is not empty
}

var errSubscribed = errors.New("keeper: events are heard on this connection already")

// Events returns what has happened since the event after, in order, and then
// what happens. The channel is closed when ctx is done or the connection ends.
// After a new start of the host the keeper counts anew, and begins with its oldest.
// A client has one such stream. If its reader is much too slow, the newest events
// make place for one of kind EvResync, which says: list again.
func (c *Client) Events(ctx context.Context, after uint64) (<-chan keeperwire.Event, error) {
	s := &subscription{more: make(chan struct{}, 1)}
	c.mu.Lock()
	taken := c.sub != nil
	if !taken {
		c.sub = s
	}
	c.mu.Unlock()
	if taken {
		return nil, errSubscribed
	}
	if err := c.do(ctx, "hear events", keeperwire.Msg{Kind: keeperwire.Subscribe, Seq: after}); err != nil {
		return nil, err
	}
	events := make(chan keeperwire.Event)
	go c.deliver(ctx, s, events)
	return events, nil
}

// deliver hands events to their reader. What has come before the end of the
// connection is still delivered.
func (c *Client) deliver(ctx context.Context, s *subscription, to chan<- keeperwire.Event) {
	defer close(to)
	for ended := false; ; {
		batch := c.batch(s)
		for _, ev := range batch {
			select {
			case to <- ev:
			case <-ctx.Done():
				return
			}
		}
		if ended && len(batch) == 0 {
			return
		}
		select {
		case <-s.more:
		case <-ctx.Done():
			return
		case <-c.done:
			ended = true
		}
	}
}

// batch takes all that waits.
func (c *Client) batch(s *subscription) []keeperwire.Event {
	c.mu.Lock()
	defer c.mu.Unlock()
	batch := s.queue
	s.queue = nil
	return batch
}

// event queues the event of m. It is called with mu held.
func (c *Client) event(m keeperwire.Msg) error {
	s := c.sub
	switch {
	case m.Event == nil:
		return fmt.Errorf("a frame without its event: %w", keeperwire.ErrMalformed)
	case s == nil:
		return fmt.Errorf("an event that nobody asked for: %w", keeperwire.ErrMalformed)
	case m.Event.Seq <= s.seq && m.Event.Kind != keeperwire.EvResync:
		return fmt.Errorf("event %d came after event %d: %w", m.Event.Seq, s.seq, keeperwire.ErrMalformed)
	}
	s.seq = m.Event.Seq
	if len(s.queue) < maxQueue {
		s.queue = append(s.queue, *m.Event)
	} else {
		s.queue[maxQueue-1] = keeperwire.Event{Seq: s.seq, At: m.Event.At, Boot: m.Event.Boot, Kind: keeperwire.EvResync}
	}
	select {
	case s.more <- struct{}{}:
	default:
	}
	return nil
}
