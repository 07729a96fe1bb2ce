package daemon

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/backstay/backstay"
)

// Times of hearing the proxy.
const (
	hearFor   = 30 * time.Second // one question waits so long for something to tell
	hearAgain = time.Second      // after one that was not answered
)

// hearProxy records what the proxy alone decides: which servers real requests
// have taken out, and which are back.
func (a *agent) hearProxy(ctx context.Context) error {
	known := a.lastHeard()
	for run, after := uint32(0), uint64(0); ctx.Err() == nil; {
		if now := a.proxy.process(); now != run {
			run, after = now, 0 // another process counts anew
		}
		events, err := a.proxy.eventsAfter(ctx, after)
		if err != nil || run == 0 {
			pause(ctx, hearAgain)
			continue
		}
		for _, e := range events {
			after = e.Seq
			if e.At.After(known) {
				known = e.At
				a.bus.Record(e.Event)
			}
		}
	}
	return ctx.Err() //nolint:wrapcheck // being told to end is no story
}

// lastHeard is when the newest thing happened that an earlier agent has recorded
// of a proxy.
func (a *agent) lastHeard() (at time.Time) {
	all, err := a.bus.Last(recentLook)
	if err != nil {
		return at
	}
	for _, e := range all {
		if (e.Kind == backstay.Ejected || e.Kind == backstay.Reinstated) && e.At.After(at) {
			at = e.At
		}
	}
	return at
}

// proxyEvent is one thing that the proxy tells, with its place in the order.
type proxyEvent struct {
	Seq uint64 `json:"seq"`

	backstay.Event
}

// eventsAfter returns what the proxy tells after number seq, as soon as there is
// something.
func (p *proxy) eventsAfter(ctx context.Context, seq uint64) ([]proxyEvent, error) {
	ctx, cancel := context.WithTimeout(ctx, hearFor+proxyAskWithin)
	defer cancel()
	var answer struct {
		Events []proxyEvent `json:"events"`
	}
	err := p.call(ctx, http.MethodGet, fmt.Sprintf("/v1/events?after=%d&wait=%s", seq, hearFor), nil, &answer)
	return answer.Events, err
}
