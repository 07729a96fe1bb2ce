package l7

import (
	"sync"

	"github.com/backstay/backstay"
)

// keptEvents is how many events of the proxy can be asked for. There is one when
// a server is ejected or comes back; who wants all of them listens.
const keptEvents = 256

// recent is the last events, numbered.
type recent struct {
	mu     sync.Mutex // guards what follows; a leaf
	seq    uint64
	events []numbered
	more   chan struct{} // closed by the next event
}

// numbered is an event with its place in the order.
type numbered struct {
	Seq uint64 `json:"seq"` // 1 is the first since the proxy started

	backstay.Event
}

func (r *recent) add(e backstay.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seq++
	r.events = append(r.events, numbered{r.seq, e})
	if len(r.events) > keptEvents {
		r.events = r.events[1:]
	}
	if r.more != nil {
		close(r.more)
		r.more = nil
	}
}

// after returns the events after seq, and what closes when there are more.
func (r *recent) after(seq uint64) (events []numbered, more <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	events = []numbered{}
	for _, e := range r.events {
		if e.Seq > seq {
			events = append(events, e)
		}
	}
	if r.more == nil {
		r.more = make(chan struct{})
	}
	return events, r.more
}
