package deploy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/internal/statefile"
)

// Pool runs instances. Its methods may be called from any goroutine.
type Pool interface {
	// Instances returns all there are. It does not block.
	Instances() []backstay.Instance
	// Changed returns a channel that is ready once an instance has changed.
	Changed() <-chan struct{}
	// Start begins a new instance. It is among Instances when Start returns.
	Start(ctx context.Context, rel backstay.Release) (id string, err error)
	// Stop returns when it is certain that the instance will leave: withdrawn,
	// drained, told, killed. Asked again, it does nothing.
	Stop(ctx context.Context, id, reason string) error
}

// Traffic is what the balancers do. Its methods may block.
type Traffic interface {
	// Withdraw takes ids out of traffic in one swap and returns when every live
	// balancer has acknowledged that, and how many they are.
	Withdraw(ctx context.Context, ids []string) (acks int, err error)
	// Counters returns what requests met so far at a release: shop@14.
	Counters(service, release string) Counters
}

// inFlight is a [Traffic] that can also count the requests at an instance.
type inFlight interface {
	InFlight(ctx context.Context, id string) (int, error)
}

// Check tells whether a release could be started now: its program still has the
// digest it had, its secrets are there. It may read files.
type Check interface {
	Startable(rel backstay.Release) error
}

// Options are what a [Deployer] works with.
type Options struct {
	Pool    Pool
	Traffic Traffic
	Check   Check
	Dir     string                // of the state: releases/ and deploys/ below it are ours
	Events  backstay.Recorder     // nil is backstay.Discard
	Log     *slog.Logger          // nil is slog.Default
	Metrics prometheus.Registerer // nil is none
	Now     func() time.Time      // nil is time.Now
}

// Want is what is desired of one service.
type Want struct {
	Release    backstay.Release // Seq does not count: an equal Digest is the same release
	Replicas   int
	Config     Config
	Stopped    bool   // an override: no instance, whatever Replicas says
	StoppedBy  string // who wants none, where none is wanted
	FixedPorts bool   // two instances cannot run at once
}

// replicas returns how many instances are wanted.
func (w Want) replicas() int {
	if w.Stopped {
		return 0
	}
	return w.Replicas
}

// Times and bounds of the shell.
const (
	// tick is how often all is compared with what runs though nobody said that
	// anything changed: it only matters where a notice was lost.
	tick = time.Second
	// planEvery is how often changes are planned for at most: what a plan costs
	// grows with the instances, and fifty that crash change a hundred times a
	// second. It is in step with no round figure.
	planEvery = 31 * time.Millisecond
	// withdrawWithin bounds the wait for balancers before an instance is handed
	// to the pool, which waits for them once more and longer.
	withdrawWithin = 5 * time.Second
	// countWithin bounds the question how many requests are in flight: it is
	// for a line that people read.
	countWithin = time.Second
	// rounds is how often a plan is followed by another at once. Steps done in
	// one go settle in two; the bound keeps a fault from taking the CPU.
	rounds = 4
)

// Deployer is the shell of [Plan]. One goroutine, that of Run, owns all
// services; what may block is done beside it.
type Deployer struct {
	opt     Options
	files   files
	metrics *metrics
	asks    chan func()
	kick    chan struct{}
	flying  sync.WaitGroup

	services map[string]*service // the owner's

	mu    sync.Mutex // guards shown
	shown map[string]*shown
}

// New returns a deployer that knows what Options.Dir says. It begins nothing.
func New(opt Options) (*Deployer, error) {
	if opt.Log == nil {
		opt.Log = slog.Default()
	}
	if opt.Events == nil {
		opt.Events = backstay.Discard
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	d := &Deployer{
		opt: opt, files: files{opt.Dir}, metrics: newMetrics(opt.Metrics),
		asks: make(chan func()), kick: make(chan struct{}, 1),
		services: map[string]*service{}, shown: map[string]*shown{},
	}
	names, err := d.files.services()
	if err != nil {
		return nil, fmt.Errorf("open deploys: %w", err)
	}
	for _, name := range names {
		d.open(name)
	}
	return d, nil
}

// open reads what is kept of a service. What cannot be read is said loudly and
// keeps no other service from being there.
func (d *Deployer) open(name string) *service {
	s := newService(d, name)
	err := recordFormat.Load(d.files.record(name), &s.rec)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case errors.Is(err, statefile.ErrBroken):
		s.lost = true
		d.opt.Log.Error("state of a service is lost; it is made anew from what runs", "service", name, "err", err)
	case err != nil:
		s.blocked = newerProblem(name, err)
		d.opt.Log.Error("state of a service cannot be read; it is left as it is", "service", name, "err", err)
	}
	s.rec.Service = name
	if s.rels, err = d.files.releases(name); err != nil {
		d.opt.Log.Error("releases cannot be read", "service", name, "err", err)
		if errors.Is(err, statefile.ErrNewer) {
			s.blocked = newerProblem(name, err)
		}
	}
	s.forgive()
	for seq := range s.rels {
		s.rec.Seq = max(s.rec.Seq, seq)
	}
	d.services[name] = s
	s.show()
	return s
}

// Run carries out what is wanted until ctx is done.
func (d *Deployer) Run(ctx context.Context, ready func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer d.flying.Wait()
	defer cancel()
	for _, s := range d.services {
		s.land()
	}
	ready()
	for last := (time.Time{}); ctx.Err() == nil; {
		changed := d.opt.Pool.Changed()
		over := time.After(d.plan(ctx))
		if wait(ctx, d, changed, over) {
			wait(ctx, d, time.After(time.Until(last.Add(planEvery))), over)
			last = time.Now()
		}
	}
	return nil
}

// wait returns when there is something to plan for, and whether it is only that
// may is ready.
func wait[T any](ctx context.Context, d *Deployer, may <-chan T, over <-chan time.Time) bool {
	select {
	case <-may:
		return true
	case ask := <-d.asks:
		ask()
	case <-d.kick:
	case <-over:
	case <-ctx.Done():
	}
	return false
}

// Poke has everything looked at again soon.
func (d *Deployer) Poke() {
	select {
	case d.kick <- struct{}{}:
	default:
	}
}

// plan plans every service and returns when to look again at the latest.
func (d *Deployer) plan(ctx context.Context) time.Duration {
	now, wait := d.opt.Now(), tick
	byService := map[string][]backstay.Instance{}
	for _, i := range d.opt.Pool.Instances() {
		byService[i.Service] = append(byService[i.Service], i)
	}
	for _, name := range slices.Sorted(maps.Keys(d.services)) {
		next := d.services[name].plan(ctx, now, byService[name])
		if !next.IsZero() {
			wait = min(wait, max(next.Sub(now), 0)+time.Microsecond)
		}
	}
	return wait
}

// own has the owner call f and waits for it. It fails where ctx ends first:
// while Run does not run nothing is decided.
func (d *Deployer) own(ctx context.Context, f func() error) error {
	done := make(chan error, 1)
	select {
	case d.asks <- func() { done <- f() }:
	case <-ctx.Done():
		return fmt.Errorf("ask deployer: %w", context.Cause(ctx))
	}
	return <-done
}

// fly does work beside the owner, and then has the owner take what came of it.
func (d *Deployer) fly(ctx context.Context, work func() (take func())) {
	d.flying.Go(func() {
		take := work()
		select {
		case d.asks <- take:
		case <-ctx.Done():
		}
	})
}
