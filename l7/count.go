package l7

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

// classes of answers. A cut one has been promised by a head and then broken off;
// of one that was left, the client did not wait for the head.
const (
	class1xx = iota
	class2xx
	class3xx
	class4xx
	class5xx
	classCut
	classLeft
	classCount
)

var classNames = [classCount]string{"1xx", "2xx", "3xx", "4xx", "5xx", "cut", "left"}

func classOf(status int) int { return min(max(status/100-1, class1xx), class5xx) }

// series counts the answers of one frontend by one release; local ones by none.
type series struct {
	front, service, release string

	classes [classCount]atomic.Uint64
	retried atomic.Uint64
	latency histogram
}

// named returns counts by their names, but for those that are zero.
func named(classes *[classCount]atomic.Uint64) map[string]uint64 {
	out := map[string]uint64{}
	for i := range classes {
		if n := classes[i].Load(); n > 0 {
			out[classNames[i]] = n
		}
	}
	return out
}

func (s *series) add(class int, nanos int64) {
	s.classes[class].Add(1)
	s.latency.add(nanos)
}

// total is how many answers there were.
func (s *series) total() (n uint64) {
	for i := range s.classes {
		n += s.classes[i].Load()
	}
	return n
}

// histogram counts durations in buckets that double: from 125 µs, which a
// server on the same host needs at least, to 65 s, past every timeout.
type histogram struct {
	buckets [histogramBuckets + 1]atomic.Uint64 // the last is beyond
	sum     atomic.Int64                        // nanoseconds
}

const (
	histogramLeast   = 125_000 // ns
	histogramBuckets = 20
)

func (h *histogram) add(nanos int64) {
	h.sum.Add(nanos)
	i := bits.Len64(uint64(max(nanos-1, 0)) / histogramLeast)
	h.buckets[min(i, histogramBuckets)].Add(1)
}

// bound returns the upper end of bucket i in seconds.
func bound(i int) float64 { return float64(int64(histogramLeast)<<i) / 1e9 }

// quantile returns an upper bound of the q-quantile in seconds; 0 of nothing.
func (h *histogram) quantile(q float64) float64 {
	var total uint64
	for i := range h.buckets {
		total += h.buckets[i].Load()
	}
	rank, seen := uint64(q*float64(total)), uint64(0)
	for i := range h.buckets {
		if seen += h.buckets[i].Load(); seen > rank {
			return bound(i)
		}
	}
	return 0
}

// release is what the servers of one release did, over all frontends.
type release struct {
	id, service string
	born        int // order, to forget the oldest first

	sent, lost atomic.Uint64 // first tries, and those of them that failed
	retried    atomic.Uint64
	failed     atomic.Uint64
	inFlight   atomic.Int64
	classes    [classCount]atomic.Uint64
	latency    histogram // of first tries that were good
}

// frontState is what survives snapshots about a frontend.
type frontState struct {
	name string

	opened, refused, bad, aborted atomic.Uint64
	inFlight                      atomic.Int64

	mu     sync.Mutex // guards what follows; a leaf
	series map[string]*series
	conns  map[*conn]struct{}
	byPeer map[peer]int
}

func newFrontState(name string) *frontState {
	return &frontState{name: name, series: map[string]*series{}, conns: map[*conn]struct{}{}, byPeer: map[peer]int{}}
}

// of returns the series of answers by a release of a service.
func (f *frontState) of(service, release string) *series {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := service + "\x00" + release
	s := f.series[key]
	if s == nil {
		s = &series{front: f.name, service: service, release: release}
		f.series[key] = s
	}
	return s
}
