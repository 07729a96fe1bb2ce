package l7

import "time"

// Bounds of the bucket that retries are paid from.
const (
	// budgetLeast is what a bucket holds at least: a service with little traffic
	// must outlive the death of one instance too.
	budgetLeast = 100
	// budgetReach is how much traffic a full bucket stands for at most. More
	// would be a storm at its end.
	budgetReach = budgetMarks * time.Second
	budgetMarks = 10 // one for each of its seconds
)

// bucket is the retries a service may still make. Each first try adds a share
// of one, each retry takes one. First tries are counted elsewhere, by whoever
// makes them, without a lock; a bucket learns the count when it is asked.
type bucket struct {
	begun  bool
	tokens float64
	first  uint64 // first tries that tokens know of
	marks  [budgetMarks]struct {
		second int64
		first  uint64 // first tries when it was first looked at
	}
}

// take pays for one retry, if it can. First is how many first tries there have
// been in all, ratio what each of them adds.
func (b *bucket) take(now int64, first uint64, ratio float64) bool {
	b.fill(now, first, ratio)
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// fill adds what first tries have brought since the last call. It should be
// called every second or so, for the traffic of ten seconds to be known.
func (b *bucket) fill(now int64, first uint64, ratio float64) {
	if !b.begun {
		b.begun, b.tokens, b.first = true, budgetLeast, first
	}
	second := now / int64(time.Second)
	if m := &b.marks[second%budgetMarks]; m.second != second+1 {
		m.second, m.first = second+1, first // one more, so that zero is never a mark
	}
	b.tokens = min(b.tokens+float64(first-b.first)*ratio, b.full(second, first, ratio))
	b.first = first
}

// full returns what the bucket holds at most.
func (b *bucket) full(second int64, first uint64, ratio float64) float64 {
	oldest := first
	for _, m := range b.marks {
		if m.second > 0 && m.second-1 > second-budgetMarks && m.first < oldest {
			oldest = m.first
		}
	}
	return max(budgetLeast, float64(first-oldest)*ratio)
}
