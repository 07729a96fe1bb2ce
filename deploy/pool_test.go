package deploy

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
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
		fmt.Fprintf(&out, "%s %s %s %v %d %v\n", b.ID, b.Release, b.State, serves(b.Instance), b.Starts, b.LastLog != nil)
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
	ends map[State]backstay.Event // the last that told of a state
}

func (e *events) Record(ev backstay.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if ev.Kind == backstay.DeployChanged {
		e.ends[State(ev.To)] = ev
	}
	e.told = append(e.told, fmt.Sprintf("%s %s %s>%s", ev.Kind, ev.Ref, ev.From, ev.To))
}

// last returns the last event that told of state s, nil if none has.
func (e *events) last(s State) *backstay.Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	if ev, told := e.ends[s]; told {
		return &ev
	}
	return nil
}

func (e *events) all() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.told)
}
