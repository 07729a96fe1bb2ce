package l7

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/backstay/backstay"
)

// Times of a proxy's own work.
const (
	// sweepEvery is how often idle connections are looked through and budgets
	// learn the time: they count in seconds.
	sweepEvery = time.Second
	// finishWithin is how long Run finishes what is in flight once it is told to
	// end. It is less than the role has to stop.
	finishWithin = 5 * time.Second
	// retireAfter is how long a connection that is to end waits for another
	// request before it is closed: who sends one within it gets an answer with
	// Connection: close, and not a reset.
	retireAfter = time.Second
)

// Options are what a [Proxy] is made with. All may be left out.
type Options struct {
	Log    *slog.Logger      // nil means slog.Default
	Events backstay.Recorder // nil means backstay.Discard; GET /v1/events has them in any case

	// SnapshotFile is where Apply keeps the snapshot in force, for the next
	// process. Empty: nowhere.
	SnapshotFile string

	// Quiet reports whether nothing has arrived on the socket fd, without
	// waiting: a peek that would block. It is asked before a request goes to a
	// kept connection. Nil: the same is found out by a read of 20 µs.
	Quiet func(fd uintptr) bool

	// Gone is told the binds whose listeners are about to be closed, each once:
	// whoever holds the same socket must close it before it returns. It must not
	// call Apply. Nil: nobody is told.
	Gone func(bind string)

	// Deafen has a listening socket take nobody new, for good. It is asked when all
	// others have let go of it. Hear is given each connection that is accepted from
	// then on: it may be as deaf. Nil: who comes in the moment before the listener is
	// closed is reset.
	Deafen func(l net.Listener) error
	Hear   func(c net.Conn) error
}

// Proxy spreads requests over servers. Its methods may be called by any
// goroutine at any time, before Run too.
type Proxy struct {
	opt     Options
	log     *slog.Logger
	base    time.Time
	started time.Time
	engine  engine
	lasting *lasting
	logs    *logs
	recent  *recent
	refused refusals

	table    atomic.Pointer[table]
	turning  atomic.Int64 // clients that are being told that they are not served
	applying sync.Mutex   // held by the one Apply at work; taken before mu; guards shelf
	shelf    certShelf

	mu        sync.Mutex // guards what follows
	listeners map[string]*listener
	secure    map[string]*tls.Config // by bind
	running   bool
	ending    bool

	working sync.WaitGroup  // everything that Run has begun
	dialing context.Context // ends when connections are cut
	cutAll  context.CancelFunc
}

// engine moves the bytes of client connections. It asks the proxy what to do
// with each request and tells it how that went. An event loop can take the
// place of the one here, which is a goroutine for each connection.
type engine interface {
	// serve answers the requests of one connection until it ends, and closes it.
	serve(c net.Conn, bind string)
}

// New returns a Proxy that serves nothing yet.
func New(opt Options) *Proxy {
	p := &Proxy{opt: opt, log: opt.Log, base: time.Now(), started: time.Now(), lasting: newLasting(), listeners: map[string]*listener{}, secure: map[string]*tls.Config{}}
	if p.log == nil {
		p.log = slog.Default()
	}
	if p.opt.Events == nil {
		p.opt.Events = backstay.Discard
	}
	p.dialing, p.cutAll = context.WithCancel(context.Background())
	p.logs, p.recent, p.refused = newLogs(p.log), &recent{}, newRefusals()
	p.engine = goroutines{p}
	return p
}

// now is nanoseconds since the proxy was made.
func (p *Proxy) now() int64 { return int64(time.Since(p.base)) }

func (p *Proxy) record(e backstay.Event) {
	e.At = time.Now()
	p.recent.add(e)
	p.opt.Events.Record(e)
}

// Run serves until ctx is done, then finishes what is in flight, for five
// seconds at most, and returns when all that it began has ended.
func (p *Proxy) Run(ctx context.Context, ready func()) error {
	p.mu.Lock()
	p.running = true
	p.listen()
	p.mu.Unlock()
	stopLogs := p.logs.start()
	defer stopLogs()
	ready()
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			p.sweep()
		case <-ctx.Done():
			finish, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishWithin)
			defer cancel()
			_ = p.Shutdown(finish) // what did not finish has been counted as cut
			return ctx.Err()
		}
	}
}

// Shutdown stops accepting, lets requests in flight finish, closes idle
// connections, and cuts what is left when ctx is done, in which case it returns
// the context's error. Upgraded connections are not waited for.
func (p *Proxy) Shutdown(ctx context.Context) error {
	p.lastAnswers() // before somebody can see that nothing is accepted any more
	p.mu.Lock()
	p.ending = true
	for bind, l := range p.listeners {
		l.close()
		delete(p.listeners, bind)
	}
	p.mu.Unlock()
	err := p.finish(ctx)
	p.cutAll()
	for _, c := range p.conns() {
		c.cut()
	}
	p.working.Wait()
	for _, s := range p.lasting.all() {
		s.dropIdle()
	}
	return err
}

// finish waits for client connections to end.
func (p *Proxy) finish(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		busy := p.lastAnswers()
		p.retireIdle(p.now(), retireAfter)
		if busy == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// lastAnswers makes the next answer on each connection its last one, and counts
// those that may have one.
func (p *Proxy) lastAnswers() (busy int) {
	for _, c := range p.conns() {
		c.closing.Store(true)
		if !c.long.Load() {
			busy++
		}
	}
	return busy
}

// Apply puts s in force and returns when every request that arrives from now on
// sees it. A bad s changes nothing; the error is a [*backstay.Problem].
func (p *Proxy) Apply(ctx context.Context, s Snapshot) error {
	p.applying.Lock()
	defer p.applying.Unlock()
	p.shelf.begin()
	if err := s.check(p.shelf.read); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if has := p.Generation(); s.Gen < has {
		return staleProblem(s.Gen, has)
	}
	t := p.compile(s)
	p.shelf.keep()
	p.partingFronts(p.table.Load(), t)
	anew := p.lasting.openGates(&s)
	old := p.table.Swap(t)
	closed := p.lasting.closeGates(&s)
	for _, srv := range slices.Concat(closed, anew) {
		srv.dropIdle()
	}
	for _, srv := range anew {
		if srv.forgiven() {
			p.reinstated(srv, "it started anew")
		}
	}
	p.logs.keep(t)
	p.rebind(old, t)
	return p.persist(s)
}

// rebind has the listeners of new frontends accept. Those of frontends that are
// gone do so too, until [Proxy.Unbind]. Connections whose address is served by
// another frontend than before, or by none, are told.
func (p *Proxy) rebind(old, t *table) {
	if old == nil {
		old = &table{}
	}
	p.mu.Lock()
	p.listen()
	p.mu.Unlock()
	for bind, f := range old.binds {
		if next := t.binds[bind]; next != nil && next.state == f.state && next.proto() == f.proto() {
			continue
		}
		for _, c := range f.state.list() {
			c.follow(t)
		}
	}
}

func (p *Proxy) persist(s Snapshot) error {
	if p.opt.SnapshotFile == "" {
		return nil
	}
	if err := WriteSnapshot(p.opt.SnapshotFile, s); err != nil {
		// It is in force all the same. The next process would serve the one before.
		p.log.Warn("snapshot not kept", "gen", s.Gen, "why", err.Error())
	}
	return nil
}

// Generation returns that of the snapshot in force, 0 if there is none.
func (p *Proxy) Generation() uint64 {
	if t := p.table.Load(); t != nil {
		return t.gen
	}
	return 0
}

// Drain returns when no request is in flight at instance or, with long, when no
// connection to it is upgraded or can be, and no idle one is left. The two have
// bounds of their own, so neither waits for the other. It is meant for an
// instance that a snapshot has closed; one that nobody knows has nothing.
func (p *Proxy) Drain(ctx context.Context, instance string, long bool) error {
	s := p.lasting.find(instance)
	if s == nil {
		return nil
	}
	if !s.open.Load() {
		s.dropIdle()
	}
	if err := s.quiet(ctx, long); err != nil {
		return fmt.Errorf("drain %s: %d requests in flight, %d upgraded: %w", instance, s.inFlight.Load(), s.long.Load(), err)
	}
	return nil
}
