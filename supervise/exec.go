package supervise

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/health"
	"github.com/backstay/backstay/internal/keeperwire"
)

// asks are the exec probes that the keeper has not answered yet.
type asks struct {
	mu   sync.Mutex // guards all below
	last uint64
	open map[uint64]chan keeperwire.Event
}

func newAsks() *asks { return &asks{open: map[uint64]chan keeperwire.Event{}} }

func (a *asks) begin() (n uint64, answer <-chan keeperwire.Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.last == 0 { // the answer to one that an agent before us asked is not ours
		a.last = uint64(time.Now().UnixNano())
	}
	a.last++
	ch := make(chan keeperwire.Event, 1)
	a.open[a.last] = ch
	return a.last, ch
}

func (a *asks) end(n uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.open, n)
}

func (a *asks) answer(ev keeperwire.Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if ch := a.open[ev.N]; ch != nil {
		ch <- ev
		delete(a.open, ev.N)
	}
}

// answerSlack is how much longer than the timeout of a command its answer may
// take: the keeper kills the tree and tells us.
const answerSlack = 5 * time.Second

// runner runs the commands of exec probes as children of the keeper, in the
// surroundings of one instance.
type runner struct {
	s    *Supervisor
	conf *backstay.Probe
	made meta
	set  Service
	rel  *backstay.Release
	spec *keeperwire.Spec
}

// runner returns who runs the command of q, or nil if it has none.
func (s *Supervisor) runner(m *machine, q question) health.Runner {
	if q.conf.Kind() != "exec" {
		return nil
	}
	l := s.lane(m.id)
	return &runner{s: s, conf: q.conf, made: m.meta, set: m.conf, rel: l.rel, spec: l.spec}
}

// Run implements [health.Runner].
func (r *runner) Run(ctx context.Context, instance, name string, argv []string) (backstay.Exit, []byte, error) {
	p, err := r.prepare(instance, name, argv)
	if err != nil {
		return backstay.Exit{}, nil, err
	}
	n, answer := r.s.asks.begin()
	defer r.s.asks.end(n)
	p.N = n
	// The keeper ends the command; we only wait until it has.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.conf.Timeout.Std()+answerSlack)
	defer cancel()
	stop := context.AfterFunc(r.s.ctx, cancel) //nolint:contextcheck // that of Run
	defer stop()
	if err := r.s.opt.Keeper.Probe(ctx, p); err != nil {
		return backstay.Exit{}, nil, fmt.Errorf("ask the keeper: %w", err)
	}
	select {
	case ev := <-answer:
		return ExitOf(ev.Exit), ev.Text, nil
	case <-ctx.Done():
		return backstay.Exit{}, nil, fmt.Errorf("the keeper has not answered: %w", ctx.Err())
	}
}

// prepare makes the command of the file one that the keeper can run.
func (r *runner) prepare(instance, name string, argv []string) (keeperwire.Probe, error) {
	if err := r.lookUp(instance); err != nil {
		return keeperwire.Probe{}, err
	}
	argv, err := r.s.opt.Resolver.Argv(*r.rel, instance, r.made.Ports, argv)
	if err != nil {
		return keeperwire.Probe{}, fmt.Errorf("resolve: %w", err)
	}
	p := keeperwire.Probe{
		ID: instance, Name: name, Argv: argv, Env: r.spec.Env, Dir: r.spec.Dir, SetIDs: r.spec.SetIDs,
		UID: r.spec.UID, GID: r.spec.GID, Groups: r.spec.Groups, TimeoutMS: r.conf.Timeout.Std().Milliseconds(),
	}
	if r.conf.User != "" {
		p.UID, p.GID, p.Groups, p.SetIDs, err = r.s.opt.Resolver.Account(r.conf.User)
	}
	return p, err
}

// lookUp finds the surroundings of the instance once, and leaves them for the
// next question.
func (r *runner) lookUp(id string) error {
	if r.spec != nil {
		return nil
	}
	if r.rel == nil {
		rel, ok := r.s.opt.Release(r.made.Release)
		if !ok {
			return fmt.Errorf("release %q is not known any more", r.made.Release)
		}
		r.rel = &rel
	}
	made := r.made
	spec, err := r.s.resolve(*r.rel, id, &made, r.set)
	if err != nil {
		return err
	}
	r.spec = &spec
	rel := r.rel
	r.s.inbox.post(r.s.on(id, func(time.Time, *machine) {
		l := r.s.lane(id)
		l.spec, l.rel = &spec, rel
	}))
	return nil
}
