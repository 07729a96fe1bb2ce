package registry

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/backstay/backstay"
)

// Registry is the blackboard. Its methods may be called from any goroutine and
// at any time; Run has to be running for balancers to hear of it.
type Registry struct {
	opt     Options
	metrics *metrics
	kick    chan struct{} // holds one: there may be something to deliver

	mu     sync.Mutex // guards what follows; its holders never wait
	m      *machine
	live   map[string]*seat // by balancer
	joined int              // memberships so far
}

// seat is a balancer from Join to Leave.
type seat struct {
	Balancer

	name  string
	token int
	gone  context.Context // done when it leaves
	leave context.CancelFunc
}

// New returns a registry without endpoints and balancers.
func New(opt Options) *Registry {
	opt = opt.withDefaults()
	r := &Registry{opt: opt, kick: make(chan struct{}, 1), m: newMachine(opt.Gen), live: map[string]*seat{}}
	r.metrics = newMetrics(opt.Metrics, r.counts)
	return r
}

// change steps the machine and wakes the goroutine of Run.
func (r *Registry) change(step func(*machine)) {
	r.mu.Lock()
	step(r.m)
	r.mu.Unlock()
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

// Set adds or replaces the endpoint of e.Instance and returns at once. It never
// clears Drain; see [Registry.Restore].
func (r *Registry) Set(e Endpoint) { r.change(func(m *machine) { m.set(e) }) }

// Restore gives requests to instance again.
func (r *Registry) Restore(instance string) { r.change(func(m *machine) { m.drain(false, instance) }) }

// Remove forgets instance: its process is gone.
func (r *Registry) Remove(instance string) { r.change(func(m *machine) { m.remove(instance) }) }

// Touch has every balancer apply the snapshot again, for what it makes of the
// endpoints has changed.
func (r *Registry) Touch() { r.change(func(m *machine) { m.gen++ }) }

// Snapshot returns all endpoints.
func (r *Registry) Snapshot() Snapshot {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.m.snapshot()
}

// Join makes b live under name, in place of an earlier one of that name, and
// gives it the snapshot before anything else.
func (r *Registry) Join(name string, b Balancer) {
	gone, leave := context.WithCancel(context.Background())
	r.change(func(m *machine) {
		if old := r.live[name]; old != nil {
			old.leave()
		}
		r.joined++
		r.live[name] = &seat{Balancer: b, name: name, token: r.joined, gone: gone, leave: leave}
		m.join(name, r.joined)
	})
}

// Leave says that the balancer called name is dead: nobody waits for it any longer.
func (r *Registry) Leave(name string) {
	r.change(func(m *machine) {
		if old := r.live[name]; old != nil {
			old.leave()
			delete(r.live, name)
			m.leave(name)
		}
	})
}

// Withdraw takes instance out of traffic. It returns when every live balancer
// has acknowledged that, and how many they are.
func (r *Registry) Withdraw(ctx context.Context, instance string) (acks int, err error) {
	return r.WithdrawAll(ctx, []string{instance})
}

// WithdrawAll is [Registry.Withdraw] of several in one swap: no request sees
// some of them gone and others not.
func (r *Registry) WithdrawAll(ctx context.Context, instances []string) (acks int, err error) {
	began := time.Now()
	acks, err = r.settle(ctx, func(m *machine) { m.drain(true, instances...) })
	if err != nil {
		return 0, fmt.Errorf("withdraw %s: %w", strings.Join(instances, ", "), err)
	}
	r.metrics.withdrawn.Observe(time.Since(began).Seconds())
	for _, id := range instances {
		r.recordWithdrawn(id, acks)
	}
	return acks, nil
}

func (r *Registry) recordWithdrawn(id string, acks int) {
	r.mu.Lock()
	e, news := r.m.tell(id)
	r.mu.Unlock()
	if !news {
		return
	}
	r.opt.Events.Record(backstay.Event{
		Kind: backstay.Withdrawn, Ref: backstay.NewRef("service", e.Service, id), Actor: "registry",
		Because: fmt.Sprintf("acknowledged by %d of %d balancers", acks, acks),
	})
}

// Settle returns when every live balancer has acknowledged the snapshot as it
// is now.
func (r *Registry) Settle(ctx context.Context) error {
	if _, err := r.settle(ctx, func(*machine) {}); err != nil {
		return fmt.Errorf("settle: %w", err)
	}
	return nil
}

// settle makes a change and waits until all have acknowledged it.
func (r *Registry) settle(ctx context.Context, step func(*machine)) (acks int, err error) {
	var w *wait
	r.change(func(m *machine) {
		step(m)
		w = m.await()
	})
	select {
	case acks = <-w.done:
		return acks, nil
	case <-ctx.Done():
	}
	var late []string
	r.change(func(m *machine) {
		m.forget(w)
		late = m.behind(w.gen)
	})
	return 0, fmt.Errorf("no acknowledgement of generation %d by %s: %w", w.gen, strings.Join(late, ", "), context.Cause(ctx))
}

// counts is what the gauges show.
func (r *Registry) counts() (gen uint64, endpoints, ready, balancers, behind int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.m.endpoints {
		if e.Ready && !e.Drain {
			ready++
		}
	}
	return r.m.gen, len(r.m.endpoints), ready, len(r.m.members), len(r.m.behind(r.m.gen))
}
