package l7

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// sampled is how many connections are looked at to find the oldest idle one, so
// that a full house does not cost more to enter the larger it is.
const sampled = 512

// enter counts the connection in, or returns the status it is turned away with.
func (c *conn) enter() int {
	limits, s := &c.front.says.Limits, c.home()
	s.mu.Lock()
	defer s.mu.Unlock()
	if limits.ConnsPerClient > 0 && s.byPeer[c.by] >= limits.ConnsPerClient {
		return http.StatusTooManyRequests
	}
	if len(s.conns) >= limits.Conns && !s.retireOldest() {
		return http.StatusServiceUnavailable
	}
	s.add(c)
	s.opened.Add(1)
	return 0
}

// add counts c. Called with s.mu held.
func (s *frontState) add(c *conn) {
	s.conns[c] = struct{}{}
	s.byPeer[c.by]++
}

// retireOldest closes the idle connection that has been so longest. The order of
// a map is random enough for a sample. Called with s.mu held.
func (s *frontState) retireOldest() bool {
	var oldest *conn
	since, seen := int64(0), 0
	for c := range s.conns {
		if i := c.idleSince.Load(); i > 0 && (oldest == nil || i < since) {
			oldest, since = c, i
		}
		if seen++; seen >= sampled && oldest != nil {
			break
		}
	}
	return oldest != nil && oldest.retire(since)
}

func (s *frontState) remove(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, in := s.conns[c]; !in {
		return
	}
	delete(s.conns, c)
	if s.byPeer[c.by]--; s.byPeer[c.by] == 0 {
		delete(s.byPeer, c.by)
	}
}

func (s *frontState) list() []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		all = append(all, c)
	}
	return all
}

// seat is where a connection is counted.
type seat struct {
	at atomic.Pointer[frontState]

	mu    sync.Mutex // held while at changes; taken before frontState.mu
	stood bool       // the connection has ended
}

func (s *seat) home() *frontState { return s.at.Load() }

// moveTo has c counted at to instead, whatever the limit there: it has been let
// in. For a moment it is counted at both, never at neither.
func (c *conn) moveTo(to *frontState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	from := c.home()
	if from == to || c.stood {
		return
	}
	to.mu.Lock()
	to.add(c)
	to.mu.Unlock()
	c.at.Store(to)
	from.remove(c)
}

// stand ends the counting of c.
func (c *conn) stand() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stood = true
	c.home().remove(c)
}

// conns returns all client connections.
func (p *Proxy) conns() []*conn {
	p.lasting.mu.Lock()
	states := make([]*frontState, 0, len(p.lasting.fronts))
	for _, s := range p.lasting.fronts {
		states = append(states, s)
	}
	p.lasting.mu.Unlock()
	var all []*conn
	for _, s := range states {
		all = append(all, s.list()...)
	}
	return all
}

// retireIdle closes connections that are to end and have been idle for long
// enough that their client does not seem about to ask.
func (p *Proxy) retireIdle(now int64, after time.Duration) {
	for _, c := range p.conns() {
		if c.closing.Load() {
			c.retire(now - int64(after))
		}
	}
}
