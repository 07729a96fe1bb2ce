package l7

import (
	"slices"

	"github.com/backstay/backstay"
)

// pick returns the index in list of the server that takes the next request, or
// -1. List holds servers that are ready and not draining, and nobody else is
// ever picked. Ejected ones are passed over unless all are ejected. Tried are
// those that have failed this request already.
//
// Draw is random; turn counts the requests of the service. Nothing is
// allocated: two passes over a list that fits in the cache.
func pick(balance backstay.Balance, list []*member, now int64, draw, turn uint64, tried []*server) int {
	e := electorate{list: list, now: now, tried: tried}
	n := e.count()
	if n == 0 {
		e.all = e.allEjected()
		n = e.count()
	}
	switch {
	case n == 0:
		return -1
	case n == 1:
		return e.nth(0)
	case balance == backstay.RoundRobin:
		return e.nth(int(turn % uint64(n)))
	case balance == backstay.LeastConn:
		return e.least(int(draw % uint64(n)))
	default:
		return e.lessOfTwo(draw, uint64(n))
	}
}

// electorate is who may be picked.
type electorate struct {
	list  []*member
	now   int64
	tried []*server
	all   bool // ejected ones may be picked
}

func (e *electorate) may(m *member) bool {
	if !e.all && m.ejected(e.now) {
		return false
	}
	return !slices.Contains(e.tried, m.server)
}

// allEjected reports whether nobody is left in service. One that has failed
// this request and is in service keeps the ejected ones out.
func (e *electorate) allEjected() bool {
	for _, m := range e.list {
		if !m.ejected(e.now) {
			return false
		}
	}
	return true
}

func (e *electorate) count() int {
	n := 0
	for _, m := range e.list {
		if e.may(m) {
			n++
		}
	}
	return n
}

// nth returns the index of the n-th of those who may, from 0. If time has
// moved somebody out since they were counted, it is the last one there is.
func (e *electorate) nth(n int) int {
	last := -1
	for i, m := range e.list {
		if !e.may(m) {
			continue
		}
		last = i
		if n--; n < 0 {
			break
		}
	}
	return last
}

// least returns who has the fewest requests in flight; among equals the first
// from the start-th on, so that an idle service does not send all to one.
func (e *electorate) least(start int) int {
	best, load := -1, int64(0)
	for i := range e.list {
		at := (i + start) % len(e.list)
		m := e.list[at]
		if !e.may(m) {
			continue
		}
		if l := m.load(); best < 0 || l < load {
			best, load = at, l
		}
	}
	return best
}

// lessOfTwo draws two different ones and returns the one with fewer requests in
// flight. Both halves of draw count.
func (e *electorate) lessOfTwo(draw, n uint64) int {
	first := (draw >> 32) % n
	second := (first + 1 + (draw&(1<<32-1))%(n-1)) % n
	a, b := e.nth(int(first)), e.nth(int(second))
	if b >= 0 && (a < 0 || e.list[b].load() < e.list[a].load()) {
		return b
	}
	return a
}
