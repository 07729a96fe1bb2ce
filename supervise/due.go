package supervise

import "time"

// turn is when an instance has something to do.
type turn struct {
	m     *machine
	at    time.Time
	index int // in the queue
}

// dueQueue is a heap of turns, the first on top: a thousand instances with three
// probes each must not be looked through for every answer.
type dueQueue []*turn

// Len implements [sort.Interface].
func (q dueQueue) Len() int { return len(q) }

// Less implements [sort.Interface].
func (q dueQueue) Less(i, j int) bool { return q[i].at.Before(q[j].at) }

// Swap implements [sort.Interface].
func (q dueQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

// Push implements [heap.Interface].
func (q *dueQueue) Push(x any) {
	t := x.(*turn)
	t.index = len(*q)
	*q = append(*q, t)
}

// Pop implements [heap.Interface].
func (q *dueQueue) Pop() any {
	old := *q
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return t
}
