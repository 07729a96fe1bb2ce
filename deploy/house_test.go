package deploy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay/backstay"
)

// pool is a Pool, a Traffic and a Check: instances as in sim_test.go, that live
// by the clock of a bubble and note what was done to them.
type pool struct {
	mu       sync.Mutex // guards what follows
	w        *world
	changed  chan struct{}
	tape     []string
	noStart  error
	deaf     bool             // balancers do not acknowledge
	bad      map[string]error // by digest: why it cannot be started
	began    time.Time
	stubborn int // requests in flight that outlive the drain
}

func newPool() *pool {
	p := &pool{w: newWorld(0, nil), changed: make(chan struct{}), bad: map[string]error{}, began: time.Now()}
	p.w.n, p.w.grace = 0x3fa9c0, 100*time.Millisecond
	return p
}

func (p *pool) note(format string, args ...any) {
	p.tape = append(p.tape, fmt.Sprintf(format, args...))
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *pool) do(f func()) { p.mu.Lock(); defer p.mu.Unlock(); f() }

func (p *pool) Instances() []backstay.Instance {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.w.instances()
}

func (p *pool) Changed() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.changed
}

func (p *pool) Start(_ context.Context, rel backstay.Release) (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.noStart != nil {
		return "", p.noStart
	}
	p.w.now = time.Now()
	b := p.w.spawn(rel.Seq)
	b.Service, b.Release = rel.Service, rel.ID()
	p.note("start %s %s", b.ID, rel.ID())
	return b.ID, nil
}

func (p *pool) Stop(_ context.Context, id, why string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range p.w.bodies {
		if b.ID == id && b.gone.IsZero() {
			b.State, b.Drained, b.gone = backstay.Draining, true, time.Now().Add(p.w.drain)
			p.note("stop %s %s", id, why)
		}
	}
	return nil
}

func (p *pool) Withdraw(ctx context.Context, ids []string) (int, error) {
	p.mu.Lock()
	deaf := p.deaf
	for _, b := range p.w.bodies {
		if slices.Contains(ids, b.ID) {
			b.Drained = true
		}
	}
	p.note("withdraw %s", strings.Join(ids, " "))
	p.mu.Unlock()
	wait := 2 * time.Millisecond
	if deaf {
		wait = time.Hour
	}
	select {
	case <-time.After(wait):
		return 1, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// InFlight is 9 until the drain is over, and more than 0 even then in stubborn.
func (p *pool) InFlight(_ context.Context, id string) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, b := range p.w.bodies {
		if b.ID == id && b.State != backstay.Stopping {
			return 9, nil
		}
	}
	return p.stubborn, nil
}

func (p *pool) Counters(_, release string) Counters {
	since := uint64(time.Since(p.began).Milliseconds())
	if release == "shop@2" {
		return Counters{Sent: since, Failed: since / 1000}
	}
	return Counters{Sent: since}
}

func (p *pool) Startable(rel backstay.Release) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bad[rel.Digest]
}

// live has the instances live until ctx ends.
func (p *pool) live(ctx context.Context) {
	for {
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return
		}
		p.do(func() {
			before := p.view()
			p.w.now = time.Now()
			p.w.live()
			if after := p.view(); after != before {
				close(p.changed)
				p.changed = make(chan struct{})
			}
		})
	}
}

// view renders the instances, for comparing.
func (p *pool) view() string {
	var out strings.Builder
	for _, b := range p.w.bodies {
		fmt.Fprintf(&out, "%s %s %s %v %d\n", b.ID, b.Release, b.State, serves(b.Instance), b.Starts)
	}
	return out.String()
}

// kinds counts the instances that serve, by release.
func (p *pool) kinds() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := map[string]int{}
	for _, b := range p.w.bodies {
		if serves(b.Instance) {
			n[b.Release]++
		}
	}
	var out []string
	for rel, k := range n {
		out = append(out, fmt.Sprintf("%s x%d", rel, k))
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

// events notes what people are told.
type events struct {
	mu   sync.Mutex // guards told
	told []string
}

func (e *events) Record(ev backstay.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.told = append(e.told, fmt.Sprintf("%s %s %s>%s", ev.Kind, ev.Ref, ev.From, ev.To))
}

func (e *events) all() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.told)
}

// house is a deployer over a directory and a pool, in a bubble.
type house struct {
	*Deployer

	t     *testing.T
	dir   string
	pool  *pool
	wants map[string]Want
	said  *events
	stop  context.CancelFunc
	done  sync.WaitGroup
}

// inHouse runs f in a bubble with a deployer that runs.
func inHouse(t *testing.T, f func(h *house)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := &house{t: t, dir: t.TempDir(), pool: newPool(), wants: map[string]Want{}, said: &events{}}
		ctx, cancel := context.WithCancel(t.Context())
		var living sync.WaitGroup
		living.Go(func() { h.pool.live(ctx) })
		h.open()
		f(h)
		h.close()
		cancel()
		living.Wait()
	})
}

// open makes a deployer of what is on disk, as a new agent does.
func (h *house) open() {
	h.t.Helper()
	d, err := New(Options{
		Pool: h.pool, Traffic: h.pool, Check: h.pool, Dir: h.dir, Events: h.said, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.Deployer = d
	var ctx context.Context
	ctx, h.stop = context.WithCancel(h.t.Context())
	ready := make(chan struct{})
	h.done.Go(func() { _ = d.Run(ctx, func() { close(ready) }) })
	<-ready
}

func (h *house) close() { h.stop(); h.done.Wait() }

// killed has the agent die, and the next one start with the same file.
func (h *house) killed() {
	h.t.Helper()
	h.close()
	h.open()
	h.apply()
}

// release names a release whose instances behave as p.
func (h *house) wantRelease(digest string, seq int, p program, change func(*Want)) {
	h.pool.do(func() { h.pool.w.programs[seq] = p })
	w := Want{Release: backstay.Release{Service: "shop", Digest: digest, Version: digest, By: "ann", Why: "apply"}, Replicas: 3}
	w.Config.SetDefaults()
	w.Config.MinReady = backstay.Duration(2 * time.Second)
	w.Config.ProgressDeadline = backstay.Duration(20 * time.Second)
	if change != nil {
		change(&w)
	}
	h.wants["shop"] = w
}

func (h *house) apply() {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), time.Minute)
	defer cancel()
	if err := h.Apply(ctx, h.wants); err != nil {
		h.t.Fatal(err)
	}
}

// runs has release digest in force as the first one.
func (h *house) runs(digest string, p program) {
	h.t.Helper()
	h.wantRelease(digest, 1, p, nil)
	h.apply()
	h.until(Done)
}

// until waits for a state of the newest deploy.
func (h *house) until(s State) Deploy {
	h.t.Helper()
	return h.untilIt(string(s), func(d Deploy) bool { return d.State == s })
}

func (h *house) untilIt(what string, is func(Deploy) bool) Deploy {
	h.t.Helper()
	for range 20 * 60 * 20 {
		if d, ok := h.Status("shop"); ok && is(d) {
			return d
		}
		beat() // never in the moment in which the pool acts
	}
	d, _ := h.Status("shop")
	h.t.Fatalf("never %s, it is %s: %s\n%s", what, d.State, d.Reason, h.script())
	return d
}

// beat waits for the next moment that lies between two of the pool's.
func beat() {
	every := 50 * time.Millisecond
	time.Sleep(every - time.Duration(time.Now().UnixNano())%every + every/2)
}

// script renders the lines of all deploys.
func (h *house) script() string {
	var out strings.Builder
	for _, d := range slices.Backward(h.History("shop")) {
		for _, l := range d.Lines {
			fmt.Fprintf(&out, "%7.2fs  %s\n", l.At.Sub(d.Started).Seconds(), l.Text)
		}
		if d.State != Done || d.Kind != First {
			fmt.Fprintf(&out, "          = %s %s; old %d/%d, new %d/%d failed\n", d.ID, d.State, d.Old.Failed, d.Old.Sent, d.New.Failed, d.New.Sent)
		}
		for _, l := range d.LastLog {
			fmt.Fprintf(&out, "          | %s\n", l)
		}
	}
	return out.String()
}

func (h *house) code(err error, code string) {
	h.t.Helper()
	p := new(backstay.Problem)
	if !errors.As(err, &p) || p.Code != code || p.Do == "" || p.Where != "service/shop" {
		h.t.Errorf("err = %v, want %s with what to do", err, code)
	}
}

func (h *house) serve(want string) {
	h.t.Helper()
	if got := h.pool.kinds(); got != want {
		h.t.Errorf("%s serve, want %s\n%s", got, want, h.script())
	}
}

// seen renders what there is.
func (h *house) seen() (view string) {
	h.pool.do(func() { view = h.pool.view() })
	return view
}

// did returns what was done to the pool so far.
func (h *house) did() (tape []string) {
	h.pool.do(func() { tape = slices.Clone(h.pool.tape) })
	return tape
}

// cannot says why a release can no longer be started; nil is that it can.
func (h *house) cannot(digest string, why error) {
	h.pool.do(func() { h.pool.bad[digest] = why })
}
