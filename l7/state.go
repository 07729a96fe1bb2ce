package l7

import (
	"context"
	"sync"
	"sync/atomic"
)

// What is here lives longer than a snapshot: it is found again by its name when
// the next one is compiled. Requests hold pointers to it and take no lock but
// the leaves named below.

// server is an instance and what the proxy itself knows about it.
type server struct {
	id, service, release string

	// open is the gate: false from the moment that a snapshot without it, or with
	// it not ready or draining, is in force. See enter.
	open     atomic.Bool
	inFlight atomic.Int64 // requests, from enter to leave
	asking   atomic.Int64 // of these, those that ask for an upgrade
	long     atomic.Int64 // upgraded connections: they are not in inFlight

	requests atomic.Uint64 // first tries
	retried  atomic.Uint64 // further tries
	failed   atomic.Uint64 // tries that ended in 5xx, cut, late, unreached or unreadable

	until     atomic.Int64 // ejected until then; 0 is in service
	stumbled  atomic.Bool  // there was an error since the last good answer
	ejections atomic.Uint64

	mu      sync.Mutex // guards what follows; a leaf
	starts  int
	outlier outlier
	because string // of the last ejection
	told    bool   // an ejection was recorded, and its end was not
	idle    map[string]*idlePool
	changed chan struct{} // closed when a count falls to zero; nil if nobody waits
}

// enter counts one request in and reports whether the server takes it. Who
// closes the gate first and looks at the count then can rely on what it sees:
// a request is either counted before the gate was closed, or it is refused. asks
// says that it asks for an upgrade; to leave it says so again.
func (s *server) enter(asks bool) bool {
	if asks {
		s.asking.Add(1)
	}
	s.inFlight.Add(1)
	if s.open.Load() {
		return true
	}
	s.leave(asks)
	return false
}

func (s *server) leave(asks bool) {
	none := asks && s.asking.Add(-1) == 0
	if s.inFlight.Add(-1) == 0 || none {
		s.wake()
	}
}

// upgrade moves a request that asked for it from the counted to the long ones.
func (s *server) upgrade() { s.long.Add(1); s.leave(true) }

func (s *server) hangUp() {
	if s.long.Add(-1) == 0 {
		s.wake()
	}
}

func (s *server) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// quiet waits until no request is in flight or, with long, until no connection is
// upgraded and none can be any more.
func (s *server) quiet(ctx context.Context, long bool) error {
	for {
		s.mu.Lock()
		if s.changed == nil {
			s.changed = make(chan struct{})
		}
		changed := s.changed
		s.mu.Unlock()
		// A request that is upgraded is long before it asks no more.
		if !long && s.inFlight.Load() == 0 || long && s.asking.Load() == 0 && s.long.Load() == 0 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *server) load() int64            { return s.inFlight.Load() }
func (s *server) ejected(now int64) bool { return now < s.until.Load() }

// startedAnew forgets what is known about the process before this one. It
// reports whether there is a new one.
func (s *server) startedAnew(starts int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	anew := starts > s.starts
	s.starts = max(s.starts, starts)
	if anew {
		s.outlier = outlier{}
		s.until.Store(0)
		s.stumbled.Store(false)
	}
	return anew
}

// forgiven reports, once, that an ejection has ended early.
func (s *server) forgiven() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.told
	s.told = false
	return was
}

// pool returns the idle connections to addr.
func (s *server) pool(addr string) *idlePool {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.idle[addr]
	if p == nil {
		p = &idlePool{}
		s.idle[addr] = p
	}
	return p
}

// dropIdle closes the idle connections.
func (s *server) dropIdle() {
	s.mu.Lock()
	pools := make([]*idlePool, 0, len(s.idle))
	for _, p := range s.idle {
		pools = append(pools, p)
	}
	s.mu.Unlock()
	for _, p := range pools {
		p.drop()
	}
}

// service is what survives snapshots about a pool of servers.
type service struct {
	name   string
	turn   atomic.Uint64 // of round_robin
	nobody atomic.Uint64 // requests that found nobody ready

	mu      sync.Mutex // guards that at most a share is ejected at once; taken before server.mu
	budgets map[float64]*budget
}

// budget is the bucket of a service for one ratio.
type budget struct {
	first     atomic.Uint64 // first tries
	exhausted atomic.Uint64 // retries that could not be paid for

	mu     sync.Mutex // guards bucket; a leaf
	bucket bucket
}

func (s *service) budget(ratio float64) *budget {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.budgets[ratio]
	if b == nil {
		b = &budget{}
		s.budgets[ratio] = b
	}
	return b
}

func (b *budget) pay(now int64, ratio float64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	ok := b.bucket.take(now, b.first.Load(), ratio)
	if !ok {
		b.exhausted.Add(1)
	}
	return ok
}

func (b *budget) tick(now int64, ratio float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.bucket.fill(now, b.first.Load(), ratio)
}
