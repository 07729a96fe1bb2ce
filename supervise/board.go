package supervise

import (
	"cmp"
	"maps"
	"slices"
	"sync"

	"github.com/backstay/backstay"
)

// board is what everybody may see of the instances: a copy that the owner keeps
// up to date, so that whoever looks never waits for it.
type board struct {
	mu      sync.Mutex // guards all below
	all     map[string]backstay.Instance
	changed chan struct{} // closed at the next change that matters
}

func newBoard() *board {
	return &board{all: map[string]backstay.Instance{}, changed: make(chan struct{})}
}

// put shows v. It tells those who wait only of what decides something.
func (b *board) put(v backstay.Instance) {
	b.mu.Lock()
	defer b.mu.Unlock()
	was, ok := b.all[v.ID]
	b.all[v.ID] = v
	if !ok || !alike(was, v) {
		b.tell()
	}
}

func (b *board) drop(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.all, id)
	b.tell()
}

func (b *board) tell() {
	close(b.changed)
	b.changed = make(chan struct{})
}

func (b *board) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.changed
}

// list returns all of service, or all if it is empty, by service and id.
func (b *board) list(service string) []backstay.Instance {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := make([]backstay.Instance, 0, len(b.all))
	for v := range maps.Values(b.all) {
		if service == "" || v.Service == service {
			out = append(out, v)
		}
	}
	slices.SortFunc(out, func(x, y backstay.Instance) int {
		return cmp.Or(cmp.Compare(x.Service, y.Service), cmp.Compare(x.ID, y.ID))
	})
	return out
}

// alike reports whether a and b differ in nothing but what probes said last.
func alike(a, b backstay.Instance) bool {
	return a.State == b.State && a.Because == b.Because && a.PID == b.PID && a.Starts == b.Starts && a.Ready == b.Ready &&
		a.Drained == b.Drained && a.ReadySince.Equal(b.ReadySince) && a.NextStart.Equal(b.NextStart) &&
		a.Failures == b.Failures &&
		(a.LastLog == nil) == (b.LastLog == nil) && slices.Equal(a.LastLog, b.LastLog) && slices.Equal(a.WaitsFor, b.WaitsFor) &&
		len(a.Probes) == len(b.Probes) && a.Release == b.Release
}
