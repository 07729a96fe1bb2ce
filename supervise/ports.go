package supervise

import (
	"maps"
	"slices"
	"time"

	"github.com/backstay/backstay"
)

// The ports that auto takes its from: below those that Linux gives to outgoing
// connections (32768 and up), so that no client of anybody sits on one.
const (
	firstPort = 20000
	lastPort  = 29999
)

// portRest is how long a port is not given out again: clients of the one before
// must have noticed.
const portRest = 60 * time.Second

// ports is who has which port of this node. Only the owner touches it.
type ports struct {
	free  func(uint16) bool
	taken map[uint16]string    // by instance
	rests map[uint16]time.Time // until when
	next  uint16               // where the search goes on
}

func newPorts(free func(uint16) bool, from int) *ports {
	return &ports{
		free: free, taken: map[uint16]string{}, rests: map[uint16]time.Time{},
		next: firstPort + uint16(from%(lastPort-firstPort+1)),
	}
}

// give returns the ports that instance id gets for what its release asks for.
// It reports false, and gives none, if there are not enough.
func (p *ports) give(now time.Time, id string, wish map[string]backstay.Port) (map[string]uint16, bool) {
	got := make(map[string]uint16, len(wish))
	for _, name := range slices.Sorted(maps.Keys(wish)) {
		n := wish[name].Number
		if n == 0 {
			n = p.find(now)
		}
		if n == 0 {
			p.drop(now, id)
			return nil, false
		}
		if p.taken[n] == "" {
			p.taken[n] = id
		}
		got[name] = n
	}
	return got, true
}

// find returns a port that nobody has, had lately or listens on, or 0.
func (p *ports) find(now time.Time) uint16 {
	for range lastPort - firstPort + 1 {
		n := p.next
		p.next++
		if p.next > lastPort {
			p.next = firstPort
		}
		if p.taken[n] != "" || now.Before(p.rests[n]) {
			continue
		}
		delete(p.rests, n)
		if p.free(n) {
			return n
		}
	}
	return 0
}

// keep notes the ports of an instance that was found.
func (p *ports) keep(id string, got map[string]uint16) {
	for _, n := range got {
		p.taken[n] = id
	}
}

// drop takes back what instance id has. Its auto ports rest for a while.
func (p *ports) drop(now time.Time, id string) {
	for n, owner := range p.taken {
		if owner != id {
			continue
		}
		delete(p.taken, n)
		if n >= firstPort && n <= lastPort {
			p.rests[n] = now.Add(portRest)
		}
	}
}
