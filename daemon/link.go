package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/backstay/backstay/host/proc"
	"github.com/backstay/backstay/host/proc/keeperclient"
	"github.com/backstay/backstay/internal/keeperwire"
)

// Times of the link.
const (
	// alone is how long the agent goes without a keeper before it starts one:
	// longer than systemd or the front takes, soon enough that no writer of logs
	// has filled its FIFO.
	alone = 2 * time.Second
	// dialEvery is how often a keeper is looked for.
	dialEvery = 5 * time.Millisecond
	// beatEvery is how often the keeper is told that we live, and asked whether
	// it does.
	beatEvery = 2 * time.Second
	// keeperSilent is after how long a keeper that does not answer is killed, so
	// that the next one adopts.
	keeperSilent = 10 * time.Second
	// ackEvery is how many events are acknowledged at once that people are not told
	// of: an agent that is killed is told those again, and does nothing with them.
	ackEvery = 16
)

// link is the agent's line to the keeper, whichever process that is just now.
// Its methods wait for one, and ask the next one when the one they asked died
// before it answered: every request may be asked twice.
type link struct {
	dir    string // of the keeper
	launch func(context.Context) error
	log    *slog.Logger

	// salvage returns what others hold of what a dead keeper held, when no agent
	// does either.
	salvage func(ctx context.Context, k *keeperclient.Client, slots []keeperwire.Slot) map[string]*os.File
	// met is called with every new keeper and what it has, before anyone else
	// may ask it.
	met func(ctx context.Context, k *keeperclient.Client, slots []keeperwire.Slot) error
	// heard takes what happens from then on, in order. It must not block for long.
	heard func(keeperwire.Event)
	// missed takes what happened before, and was never acknowledged: it is in the
	// slots already.
	missed func(keeperwire.Event)
	// removed is told of an instance that the keeper has forgotten as we asked.
	removed func(id string)
	// forsaken is asked when there is no keeper and failed of them could not be
	// started in a row. An error is that there will be none: the link ends.
	forsaken func(failed int) error

	absent  atomic.Pointer[absence] // nil while a keeper answers
	beat    *lastBeat
	keepers int // met so far; only run's goroutine asks

	mu      sync.Mutex // guards all below
	client  *keeperclient.Client
	changed chan struct{} // closed when client is another
	held    map[string]*os.File
}

// absence is that no keeper answers.
type absence struct {
	since time.Time
	why   string
}

// missing writes down that no keeper answers, and why the newest try was in vain.
func (l *link) missing(why error) {
	gone := absence{since: time.Now(), why: why.Error()}
	if before := l.absent.Load(); before != nil {
		gone.since = before.since
	}
	l.absent.Store(&gone)
}

func newLink(dir string, log *slog.Logger) *link {
	return &link{
		dir: dir, log: log, forsaken: func(int) error { return nil }, removed: func(string) {},
		beat: newLastBeat(), changed: make(chan struct{}), held: map[string]*os.File{},
	}
}

// run keeps a keeper at hand until ctx is done.
func (l *link) run(ctx context.Context, ready func()) error {
	defer l.set(nil)
	for ctx.Err() == nil {
		k, err := l.connect(ctx)
		if err != nil {
			return err
		}
		if err := l.attend(ctx, k, ready); err != nil && ctx.Err() == nil {
			l.missing(err)
			l.log.WarnContext(ctx, "keeper lost", "pid", k.Welcome().PID, "why", err.Error())
		}
		l.set(nil)
		_ = k.Close()
	}
	return ctx.Err() //nolint:wrapcheck // being told to end is no story
}

// connect returns a keeper that answers, and starts one if there is none for
// too long.
func (l *link) connect(ctx context.Context) (*keeperclient.Client, error) {
	since, failed := time.Now(), 0
	tick := time.NewTicker(dialEvery)
	defer tick.Stop()
	for {
		k, err := keeperclient.Dial(ctx, keeperclient.Options{Socket: l.dir + "/sock", Log: l.log, KillSilent: true})
		if err == nil {
			return k, nil
		}
		if time.Since(since) > alone {
			if err := l.forsaken(failed); err != nil {
				return nil, err
			}
			l.log.WarnContext(ctx, "no keeper, starting one", "why", err.Error())
			if err := l.launch(ctx); err != nil {
				l.log.ErrorContext(ctx, "keeper not started", "why", err.Error())
				l.missing(err)
				failed++
			}
			since = time.Now()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, ctx.Err() //nolint:wrapcheck // being told to end is no story
		}
	}
}

// attend serves one keeper until it is gone.
func (l *link) attend(ctx context.Context, k *keeperclient.Client, ready func()) error {
	ctx, cancel := context.WithCancel(ctx)
	var beating sync.WaitGroup
	defer beating.Wait()
	defer cancel()
	beating.Go(func() { beatOn(ctx, l.log, k, l.beat) }) // beside all else: any question may be the one it hangs at
	events, err := k.Events(ctx, 0)
	if err != nil {
		return fmt.Errorf("hear events: %w", err)
	}
	asked := int64(proc.BootTime())
	slots, err := k.List(ctx)
	if err != nil {
		return fmt.Errorf("list instances: %w", err)
	}
	if err := l.putAll(ctx, k, slots); err != nil {
		return err
	}
	if err := l.met(ctx, k, slots); err != nil {
		return err
	}
	l.keepers++
	l.set(k)
	l.absent.Store(nil)
	ready()
	for {
		select {
		case ev, ok := <-events:
			if !ok {
				return errors.Join(k.Err(), errors.New("events ended"))
			}
			if toldToPeople(ev) || ev.Seq%ackEvery == 0 {
				_ = k.Ack(ctx, ev.Seq)
			}
			l.take(ctx, k, ev, asked)
		case <-k.Done():
			return k.Err() //nolint:wrapcheck // it tells its story
		case <-ctx.Done():
			return ctx.Err() //nolint:wrapcheck // being told to end is no story
		}
	}
}

// toldToPeople reports whether ev becomes a line of the timeline, which must not
// be there twice: it is acknowledged before it is told. An agent that is killed
// between the two loses the line and nothing else: how the run ended is in its slot.
func toldToPeople(ev keeperwire.Event) bool {
	return ev.Kind == keeperwire.EvExited || ev.Kind == keeperwire.EvLogDropped || ev.Kind == keeperwire.EvStarted && isRole(ev.ID)
}

// take hands ev on. One that is older than the list of slots is in them.
func (l *link) take(ctx context.Context, k *keeperclient.Client, ev keeperwire.Event, listed int64) {
	switch {
	case ev.Kind == keeperwire.EvResync:
		if slots, err := k.List(ctx); err == nil {
			_ = l.met(ctx, k, slots)
		}
	case ev.Boot < listed && l.keepers > 1: // this agent was there: what it was not told is news in the slots
	case ev.Boot < listed:
		l.missed(ev)
	default:
		l.heard(ev)
	}
}

// lastBeat is when the newest question was asked that a keeper has answered.
// What happened before that it has seen: it has one loop.
type lastBeat struct {
	at   atomic.Int64
	asks chan struct{} // somebody wants a newer one
	news chan struct{} // there is a newer one
}

func newLastBeat() *lastBeat {
	return &lastBeat{asks: make(chan struct{}, 1), news: make(chan struct{}, 1)}
}

func (b *lastBeat) answered(asked time.Time) {
	b.at.Store(asked.UnixNano())
	ring(b.news)
}

// ring has whoever listens to bell wake up, once for all that came meanwhile.
func ring(bell chan struct{}) {
	select {
	case bell <- struct{}{}:
	default:
	}
}

// sawExit reports whether a keeper has seen what was there at the time seen: a
// zombie may be taken away only then, for with it goes its exit status. If not,
// it is asked at once, or the next one is: while the zombie is there its program
// may not dare to start again.
func (b *lastBeat) sawExit(seen time.Time) bool {
	if b.at.Load() > seen.UnixNano() {
		return true
	}
	ring(b.asks)
	return false
}

// beatOn asks k again and again whether it lives, until it or ctx is done.
func beatOn(ctx context.Context, log *slog.Logger, k *keeperclient.Client, last *lastBeat) {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			killSilent(ctx, log, k, last)
		case <-last.asks:
			killSilent(ctx, log, k, last)
		case <-k.Done():
			return
		case <-ctx.Done():
			return
		}
	}
}

// killSilent kills a keeper that does not answer for too long: it holds every
// line of log, and the next one adopts in a moment.
func killSilent(ctx context.Context, log *slog.Logger, k *keeperclient.Client, last *lastBeat) {
	asking, cancel := context.WithTimeout(ctx, keeperSilent)
	defer cancel()
	asked := time.Now()
	err := k.Beat(asking)
	if err == nil {
		last.answered(asked)
	}
	if err == nil || ctx.Err() != nil {
		return
	}
	select {
	case <-k.Done():
		return
	default:
	}
	log.ErrorContext(ctx, "keeper does not answer, killing it", "pid", k.Welcome().PID)
	if err := k.KillKeeper(); err != nil {
		log.ErrorContext(ctx, "keeper not killed", "why", err.Error())
	}
}

func (l *link) set(k *keeperclient.Client) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.client == k {
		return
	}
	l.client = k
	close(l.changed)
	l.changed = make(chan struct{})
}

// now returns the keeper there is, or nil, and what tells when that changes.
func (l *link) now() (*keeperclient.Client, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.client, l.changed
}

// ask has f done by the keeper, and by the next one if that one dies meanwhile.
func (l *link) ask(ctx context.Context, f func(*keeperclient.Client) error) error {
	for {
		k, changed := l.now()
		if k != nil {
			err := f(k)
			select {
			case <-k.Done():
			default:
				return err
			}
			if err == nil {
				return nil
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("ask keeper: %w", ctx.Err())
		}
	}
}

// hold gives the keeper a file to keep over the agent's death and to hand to
// children. The agent's own copy is what the next keeper gets.
func (l *link) hold(ctx context.Context, name string, f *os.File) error {
	l.keep(name, f)
	return l.ask(ctx, func(k *keeperclient.Client) error { return k.PutFD(ctx, name, f) })
}

// release has nobody hold name any longer.
func (l *link) release(ctx context.Context, name string) error {
	l.mu.Lock()
	f := l.held[name]
	delete(l.held, name)
	l.mu.Unlock()
	if f != nil {
		_ = f.Close()
	}
	return l.ask(ctx, func(k *keeperclient.Client) error { return k.DropFD(ctx, name) })
}

// file returns our copy of what is held under name.
func (l *link) file(name string) *os.File {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held[name]
}

// putAll shares what is held: a new keeper gets it from us, a new agent from the
// keeper, and where both are new from whoever else has it.
func (l *link) putAll(ctx context.Context, k *keeperclient.Client, slots []keeperwire.Slot) error {
	names, err := k.ListFDs(ctx)
	if err != nil {
		return fmt.Errorf("list held files: %w", err)
	}
	for _, name := range names {
		if l.file(name) != nil {
			continue
		}
		f, err := k.GetFD(ctx, name)
		if err != nil {
			return fmt.Errorf("take held file %s: %w", name, err)
		}
		l.keep(name, f)
	}
	if len(l.names()) == 0 {
		for name, f := range l.salvage(ctx, k, slots) {
			l.keep(name, f)
		}
	}
	for _, name := range l.names() {
		if slices.Contains(names, name) {
			continue
		}
		if err := k.PutFD(ctx, name, l.file(name)); err != nil {
			return fmt.Errorf("hold file %s: %w", name, err)
		}
	}
	return nil
}

func (l *link) keep(name string, f *os.File) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if old := l.held[name]; old != nil && old != f {
		_ = old.Close() // f stands for it
	}
	l.held[name] = f
}

// names returns what is held, sorted.
func (l *link) names() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Sorted(maps.Keys(l.held))
}
