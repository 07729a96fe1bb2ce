package supervise

import (
	"context"
	"sync"
	"time"
)

// maxInbox bounds what waits for the owner. It is what the keeper keeps for us
// anyway: whoever feeds more waits, and the keeper's ring takes over.
const maxInbox = 64 << 10

// inbox is what the owner has to do, in order. Anybody may post, before Run,
// during it and after.
type inbox struct {
	mu    sync.Mutex // guards what
	what  []func(now time.Time)
	room  *sync.Cond    // there may be room again
	awake chan struct{} // holds one when there is something
}

func newInbox() *inbox {
	b := &inbox{awake: make(chan struct{}, 1)}
	b.room = sync.NewCond(&b.mu)
	return b
}

// post adds f. It never waits: it is for answers to what the owner has begun.
func (b *inbox) post(f func(now time.Time)) {
	b.mu.Lock()
	b.what = append(b.what, f)
	b.mu.Unlock()
	b.wake()
}

// feed adds f when there is room.
func (b *inbox) feed(f func(now time.Time)) {
	b.mu.Lock()
	for len(b.what) >= maxInbox {
		b.room.Wait()
	}
	b.what = append(b.what, f)
	b.mu.Unlock()
	b.wake()
}

func (b *inbox) wake() {
	select {
	case b.awake <- struct{}{}:
	default:
	}
}

// take returns all there is.
func (b *inbox) take() []func(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := b.what
	b.what = nil
	b.room.Broadcast()
	return all
}

// ask has the owner do f and returns what it says, once everybody can see what
// has come of it. Where ctx ends first it is done all the same, later.
func (s *Supervisor) ask(ctx context.Context, f func(now time.Time) error) error {
	reply := make(chan error, 1)
	s.inbox.post(func(now time.Time) {
		err := f(now)
		s.replies = append(s.replies, func() { reply <- err })
	})
	select {
	case err := <-reply:
		return err
	case <-ctx.Done():
		return ctx.Err() //nolint:wrapcheck // the caller's own
	}
}
