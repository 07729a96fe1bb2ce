package keeperclient

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/backstay/backstay/internal/keeperwire"
)

func event(seq uint64) keeperwire.Msg {
	return keeperwire.Msg{Kind: keeperwire.EventMsg, Event: &keeperwire.Event{Seq: seq, Kind: keeperwire.EvStarted, ID: "shop-1"}}
}

func TestRefusedSubscription(t *testing.T) {
	c := meet(t, func(p peer) { p.answer(keeperwire.Msg{Kind: keeperwire.Err, Code: "gone", Text: "too old"}) })
	if _, err := c.Events(t.Context(), 5); err == nil || !strings.Contains(err.Error(), "too old") {
		t.Errorf("%v", err)
	}
}

// The wire is not held by a reader that asks something before it goes on.
func TestSlowReaderHoldsNoAnswer(t *testing.T) {
	const n = 5000
	c := meet(t, func(p peer) {
		m := p.answer(keeperwire.Msg{Kind: keeperwire.OK})
		for i := range uint64(n) {
			p.send(event(m.Seq + i + 1))
		}
		for want := range uint64(n) { // never answered: who has heard waits for nothing
			if a, _ := p.read(); a.Kind != keeperwire.Ack || a.N != 0 || a.Seq != m.Seq+want+1 {
				t.Errorf("acknowledged: %+v", a)
			}
		}
	})
	events, err := c.Events(t.Context(), 100)
	must(t, err)
	for want := uint64(101); want <= 100+n; want++ {
		ev := <-events
		if ev.Seq != want {
			t.Fatalf("event %d, want %d", ev.Seq, want)
		}
		must(t, c.Ack(t.Context(), ev.Seq))
	}
	if _, err := c.Events(t.Context(), 0); !errors.Is(err, errSubscribed) {
		t.Errorf("a second stream: %v", err)
	}
}

// Events that came before the keeper died are heard; then the channel ends.
func TestEventsBeforeTheEndAreHeard(t *testing.T) {
	c := meet(t, func(p peer) {
		p.answer(keeperwire.Msg{Kind: keeperwire.OK})
		for i := range uint64(100) {
			p.send(event(i + 1))
		}
		_ = p.conn.Close()
	})
	events, err := c.Events(t.Context(), 0)
	must(t, err)
	<-c.Done()
	n := uint64(0)
	for ev := range events {
		if n++; ev.Seq != n {
			t.Errorf("event %d as number %d", ev.Seq, n)
		}
	}
	if n != 100 {
		t.Errorf("%d events", n)
	}
}

func TestStreamEndsWithItsContext(t *testing.T) {
	c := meet(t, func(p peer) {
		p.answer(keeperwire.Msg{Kind: keeperwire.OK})
		p.send(event(1))
		p.send(event(2))
	})
	ctx, cancel := context.WithCancel(t.Context())
	events, err := c.Events(ctx, 0)
	must(t, err)
	<-events
	cancel()
	for range events { // at most one more, then the end
	}
	if c.Err() != nil {
		t.Errorf("the connection ended too: %v", c.Err())
	}
}

func TestEventsOutOfOrderEndTheConnection(t *testing.T) {
	for name, msgs := range map[string][]keeperwire.Msg{
		"twice":    {event(6), event(6)},
		"backward": {event(7), event(6)},
		"empty":    {{Kind: keeperwire.EventMsg}},
	} {
		t.Run(name, func(t *testing.T) {
			c := meet(t, func(p peer) {
				p.answer(keeperwire.Msg{Kind: keeperwire.OK})
				for _, m := range msgs {
					p.send(m)
				}
			})
			events, err := c.Events(t.Context(), 5)
			must(t, err)
			for range events {
			}
			if err := c.Err(); !errors.Is(err, keeperwire.ErrMalformed) {
				t.Errorf("%v", err)
			}
		})
	}
}

// A keeper that does not know the number counts anew: the host was started.
func TestFirstEventMayHaveAnyNumber(t *testing.T) {
	c := meet(t, func(p peer) {
		p.answer(keeperwire.Msg{Kind: keeperwire.OK})
		p.send(event(1))
	})
	events, err := c.Events(t.Context(), 1000)
	must(t, err)
	if ev := <-events; ev.Seq != 1 {
		t.Errorf("%+v", ev)
	}
}

// After EvResync the keeper counts as it likes.
func TestResyncStartsAnotherCount(t *testing.T) {
	resync := keeperwire.Msg{Kind: keeperwire.EventMsg, Event: &keeperwire.Event{Seq: 2, Kind: keeperwire.EvResync}}
	c := meet(t, func(p peer) {
		p.answer(keeperwire.Msg{Kind: keeperwire.OK})
		p.send(resync)
		p.send(event(3))
	})
	events, err := c.Events(t.Context(), 1000)
	must(t, err)
	if ev := <-events; ev.Kind != keeperwire.EvResync {
		t.Errorf("%+v", ev)
	}
	if ev := <-events; ev.Seq != 3 {
		t.Errorf("%+v", ev)
	}
}

// A reader that never reads costs a bounded queue, whose end says: list again.
func TestReaderThatNeverReadsIsTold(t *testing.T) {
	c := &Client{sub: &subscription{more: make(chan struct{}, 1)}}
	for i := range uint64(maxQueue + 10) {
		must(t, c.event(event(i+1)))
	}
	q := c.batch(c.sub)
	if len(q) != maxQueue {
		t.Fatalf("%d events are queued", len(q))
	}
	if last := q[maxQueue-1]; last.Kind != keeperwire.EvResync || last.Seq != maxQueue+10 {
		t.Errorf("the last is %+v", last)
	}
	if ev := q[maxQueue-2]; ev.Kind != keeperwire.EvStarted || ev.Seq != maxQueue-1 {
		t.Errorf("the one before is %+v", ev)
	}
}
