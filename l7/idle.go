package l7

import (
	"sync"
	"sync/atomic"
)

// idlePool is the connections to one port of a server that carry nothing. The
// one used last is taken first: the others may age and be closed.
type idlePool struct {
	mu    sync.Mutex // guards the list; a leaf
	list  []*upstream
	count atomic.Int64
}

// take returns a connection, or nil.
func (p *idlePool) take() *upstream {
	if p.count.Load() == 0 {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.list)
	if n == 0 {
		return nil
	}
	u := p.list[n-1]
	p.list[n-1] = nil
	p.list = p.list[:n-1]
	p.count.Store(int64(n - 1))
	return u
}

// put keeps u, unless there are most or the server takes nothing new. The gate
// is looked at with the lock held: whoever closes it and then drops the list
// leaves none behind.
func (p *idlePool) put(u *upstream, s *server, most int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.list) >= most || !s.open.Load() {
		return false
	}
	p.list = append(p.list, u)
	p.count.Store(int64(len(p.list)))
	return true
}

// drop closes all.
func (p *idlePool) drop() {
	p.mu.Lock()
	list := p.list
	p.list = nil
	p.count.Store(0)
	p.mu.Unlock()
	for _, u := range list {
		u.close()
	}
}

// age closes those that have been idle since before.
func (p *idlePool) age(before int64) {
	p.mu.Lock()
	var old []*upstream
	for len(p.list) > 0 && p.list[0].idleSince < before { // the oldest are at the front
		old = append(old, p.list[0])
		p.list = p.list[1:]
	}
	p.count.Store(int64(len(p.list)))
	p.mu.Unlock()
	for _, u := range old {
		u.close()
	}
}
