package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/backstay/backstay"
)

// Bounds of a bus.
const (
	// maxQueue is how many events wait for the disk. A deploy of a hundred
	// instances makes some thousand in a minute; a disk that is that far behind
	// is not slow but gone.
	maxQueue = 4096
	// ringSize is how many events are kept in memory for those who watch: all that
	// wait, and all that are just being written.
	ringSize = 2 * maxQueue
	// maxBecause and maxWord bound an event: the sentence, and each other text, in
	// bytes.
	maxBecause = 4 << 10
	maxWord    = 512
	maxNode    = 255
)

// Options say where the log is and whose.
type Options struct {
	Dir  string // of its segments, and of nothing else; made if it is not there
	Node string // first part of every id
	Log  *slog.Logger
	// Above is what the numbers of a new log are above: that of one before, which
	// cannot be read.
	Above uint64
}

// Bus is the event log of this process. It implements [backstay.Recorder]. All
// methods may be called at any time from any goroutine.
type Bus struct {
	Options

	boot string // middle part of every id: this boot of the host
	now  func() time.Time
	work chan struct{} // holds a token while there is something to write
	done chan struct{} // closed when the writer has ended
	err  error         // of the writer, once done is closed

	mu      sync.Mutex // guards all below
	next    uint64     // number of the next event
	base    uint64     // the ring has all events from here on
	ring    []backstay.Event
	queue   uint64        // number of the first event that waits for the disk; all after it wait too
	idle    chan struct{} // closed while the writer has none of them in hand
	lost    uint64        // since it was last told
	allLost uint64
	changed chan struct{} // closed and made anew with every event
	closed  bool
	refused error     // of the disk; nil since it takes events
	since   time.Time // of refused
}

// New opens the log in o.Dir. Its writer lives until [Bus.Close].
func New(o Options) (*Bus, error) { return newOn(o, create) }

// newOn is New for a disk that a test makes refuse.
func newOn(o Options, create func(path string) (segment, error)) (*Bus, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	w, err := open(o, create)
	if err != nil {
		return nil, fmt.Errorf("open event log %s: %w", o.Dir, err)
	}
	o.Node = cut(strings.ReplaceAll(o.Node, "/", "-"), maxNode)
	next := max(w.found.last, w.found.reserved, o.Above) + 1
	idle := make(chan struct{})
	close(idle)
	b := &Bus{
		Options: o, boot: bootID(), now: time.Now, work: make(chan struct{}, 1), done: make(chan struct{}),
		next: next, base: next, queue: next, ring: make([]backstay.Event, ringSize), idle: idle, changed: make(chan struct{}),
	}
	w.bus = b
	_, err = w.write(nil, next+chunk) // before the first event is heard
	w.tell(err)
	go w.run()
	if w.half > 0 {
		b.Record(backstay.Event{Kind: backstay.EventsLost, Because: fmt.Sprintf(
			"the process before was ended in the middle of writing: %d bytes of its last event are unreadable", w.half)})
	}
	return b, nil
}

// bootID returns a short name of this boot of the host.
func bootID() string {
	const enough = 8
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil || len(text) < enough {
		return "unknown"
	}
	return string(text[:enough])
}

// Record implements [backstay.Recorder]: it never blocks and never fails. It
// fills in ID and Node, and At where it is zero; texts beyond their bounds are
// cut.
func (b *Bus) Record(e backstay.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e = b.complete(e)
	b.ring[b.next%ringSize] = e
	b.next++
	b.base = max(b.base, b.next-min(b.next, ringSize))
	b.trim()
	close(b.changed)
	b.changed = make(chan struct{})
	b.wake()
}

func (b *Bus) complete(e backstay.Event) backstay.Event {
	e.Node = b.Node
	e.ID = fmt.Sprintf("%s/%s/%d", b.Node, b.boot, b.next)
	if e.At.IsZero() {
		e.At = b.now()
	}
	e.At = e.At.Round(0) // the same in memory and from disk: no monotonic clock
	e.Because = cut(e.Because, maxBecause)
	e.Kind, e.Ref = backstay.Kind(cut(string(e.Kind), maxWord)), backstay.Ref(cut(string(e.Ref), maxWord))
	for _, s := range []*string{&e.From, &e.To, &e.Cause, &e.Actor} {
		*s = cut(*s, maxWord)
	}
	return e
}

// cut returns s as UTF-8 of at most limit bytes, and says when it is shorter.
func cut(s string, limit int) string {
	const dots = "…"
	s = strings.ToValidUTF8(s, "\ufffd")
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit-len(dots)], "") + dots
}

// trim gives up the oldest of what waits beyond its bound: the newest say how
// things are. After the writer's end all that comes is given up. It is called
// with mu held.
func (b *Bus) trim() {
	from := max(b.queue, b.next-min(b.next, maxQueue))
	select {
	case <-b.done:
		from = b.next
	default:
	}
	b.lost, b.allLost = b.lost+from-b.queue, b.allLost+from-b.queue
	b.queue = from
}

// wake tells the writer that there is something to do.
func (b *Bus) wake() {
	select {
	case b.work <- struct{}{}:
	default:
	}
}

// Lost returns how many events of this process could not be kept on disk.
func (b *Bus) Lost() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.allLost
}

// Close writes what waits and ends the log. Events recorded afterwards are
// heard and not kept. All that watch are at their end.
func (b *Bus) Close() error {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.wake()
	<-b.done
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.changed)
	b.changed = make(chan struct{})
	return b.err
}

// Refused returns since when the disk refuses what is recorded, and why; nil where
// it does not.
func (b *Bus) Refused() (since time.Time, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.since, b.refused
}

// ErrUnknownID is wrapped by the error for an id that is not of this log.
var ErrUnknownID = errors.New("not the id of an event of this log")

// position returns the number of the event called id; empty is before all.
func (b *Bus) position(id string) (uint64, error) {
	if id == "" {
		return 0, nil
	}
	seq, ok := seqOf(id)
	if !ok || !strings.HasPrefix(id, b.Node+"/") {
		return 0, fmt.Errorf("%q: %w; an id is %s/BOOT/NUMBER", id, ErrUnknownID, b.Node)
	}
	return seq, nil
}

// Since returns all events that are kept after the one called id; those of an
// empty id are all. The log's bound, some tens of MiB, is the bound of this.
func (b *Bus) Since(id string) ([]backstay.Event, error) {
	after, err := b.position(id)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	last := b.next - 1 // what is recorded from now on is not waited for
	b.mu.Unlock()
	var all []backstay.Event
	for after < last {
		more, _, err := b.after(context.Background(), after, ringSize)
		if err != nil || len(more) == 0 {
			return all, err
		}
		all = append(all, more...)
		after, _ = seqOf(more[len(more)-1].ID)
	}
	return all, nil
}

// Last returns the n newest events, oldest first.
func (b *Bus) Last(n int) ([]backstay.Event, error) {
	b.mu.Lock()
	held := int(min(b.next-b.base, ringSize)) //nolint:gosec // at most ringSize
	first := b.next - uint64(min(held, max(0, n)))
	b.mu.Unlock()
	if n <= held {
		all, _, err := b.after(context.Background(), first-1, n)
		return all, err
	}
	all, err := b.Since("")
	return all[max(0, len(all)-n):], err
}
