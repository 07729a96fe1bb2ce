package supervise

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"math/rand/v2"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"

	"github.com/backstay/backstay"
)

func TestMain(m *testing.M) {
	for name, value := range map[string]string{"rapid.checks": "25", "rapid.nofailfile": "true"} {
		if err := flag.Set(name, value); err != nil { // the command line still wins
			panic(err)
		}
	}
	goleak.VerifyTestMain(m)
}

// world is a keeper, proxies, and an agent that may die.
type world struct {
	t        testing.TB
	ctx      func() context.Context // of the bubble
	keeper   *fakeKeeper
	registry *fakeRegistry
	events   *events
	resolver *fakeResolver
	services map[string]Service
	releases map[string]backstay.Release
	lines    map[string][]string

	readLines func(file string) []string // in place of looking them up in lines

	*Supervisor
	stop context.CancelFunc
	done chan error
	seed uint64
}

// newWorld is made inside a bubble, and ended there.
func newWorld(tb testing.TB, services map[string]Service) *world {
	tb.Helper()
	w := &world{
		t: tb, ctx: tb.Context, keeper: newFakeKeeper(tb), registry: newFakeRegistry(), events: &events{}, resolver: &fakeResolver{},
		services: services, releases: map[string]backstay.Release{}, lines: map[string][]string{},
	}
	for name := range services {
		w.releases[name+"@1"] = backstay.Release{
			Service: name, Seq: 1, Exec: backstay.Exec{Argv: []string{"/bin/" + name}},
			Ports: map[string]backstay.Port{"http": {}},
		}
	}
	w.agent()
	return w
}

// agent starts one: a supervisor that knows only what the slots say.
func (w *world) agent() {
	w.seed++
	w.Supervisor = New(Options{
		Keeper: w.keeper, Resolver: w.resolver, Ports: freePorts{}, Registry: w.registry, Events: w.events,
		Release:   func(id string) (backstay.Release, bool) { r, ok := w.releases[id]; return r, ok },
		LastLines: w.lastLines,
		Log:       slog.New(slog.DiscardHandler), Rand: rand.New(rand.NewPCG(w.seed, 7)),
	})
	w.Adopt(w.keeper.listen(w.Feed))
	ctx, cancel := context.WithCancel(context.Background())
	w.stop, w.done = cancel, make(chan error, 1)
	go func(s *Supervisor, done chan error) { done <- s.Run(ctx, func() {}) }(w.Supervisor, w.done)
	if err := w.Apply(ctx, w.services); err != nil {
		w.t.Error(err)
	}
}

func (w *world) lastLines(file string, _ int) []string {
	if w.readLines != nil {
		return w.readLines(file)
	}
	return w.lines[file]
}

// kill ends the agent; what it had not done is not done.
func (w *world) kill() {
	w.keeper.listen(nil)
	w.stop()
	if err := <-w.done; err != nil {
		w.t.Errorf("Run: %v", err)
	}
}

// again ends Run and calls it anew.
func (w *world) again() {
	w.stop()
	if err := <-w.done; err != nil {
		w.t.Errorf("Run: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.stop = cancel
	go func() { w.done <- w.Run(ctx, func() {}) }()
}

// end ends all, so that nothing outlives the test.
func (w *world) end() {
	w.kill()
	w.keeper.end()
}

// start begins an instance of service and lets it come up.
func (w *world) start(service string) string {
	w.t.Helper()
	id, err := w.Start(context.Background(), w.releases[service+"@1"])
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

func (w *world) find(id string) backstay.Instance {
	for _, v := range w.Instances() {
		if v.ID == id {
			return v
		}
	}
	return backstay.Instance{}
}

// wants checks the state of id, after all that happens at this moment.
func (w *world) wants(id string, state backstay.InstanceState, ready bool) {
	w.t.Helper()
	settle()
	if v := w.find(id); v.State != state || v.Ready != ready {
		w.t.Errorf("%s is %q ready=%v because %q, want %q ready=%v", id, v.State, v.Ready, v.Because, state, ready)
	}
}

// gone checks that nothing is left of id anywhere.
func (w *world) gone(id string) {
	w.t.Helper()
	settle()
	if _, ok := w.keeper.slot(id); ok {
		w.t.Errorf("%s still has a slot", id)
	}
	if v := w.find(id); v.ID != "" {
		w.t.Errorf("%s is still shown: %s because %s", id, v.State, v.Because)
	}
	w.registry.mu.Lock()
	defer w.registry.mu.Unlock()
	if _, ok := w.registry.all[id]; ok {
		w.t.Errorf("%s is still registered", id)
	}
}

// service returns one whose readiness and liveness are commands.
func service(probes ...string) Service {
	var s Service
	s.SetDefaults()
	for _, name := range probes {
		p := &backstay.Probe{}
		p.SetDefaults()
		p.Exec = []string{"/bin/check", name}
		switch name {
		case "startup":
			s.Probes.Startup = p
		case "readiness":
			s.Probes.Readiness = p
		case "liveness":
			s.Probes.Liveness = p
		}
	}
	return s
}

// in runs f in a bubble with a world of services.
func in(t *testing.T, services map[string]Service, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, services)
		defer w.end()
		f(w)
	})
}

func problemCode(err error) string {
	if p, ok := errors.AsType[*backstay.Problem](err); ok {
		return p.Code
	}
	return ""
}
