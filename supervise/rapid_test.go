package supervise

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/backstay/backstay"
)

// act is one thing that happens to the world, and how long it is quiet after.
type act struct {
	What  string
	Which int // of the instances there are
	Wait  time.Duration
}

func (a act) String() string { return fmt.Sprintf("%s(%d) %v", a.What, a.Which, a.Wait) }

var whats = []string{
	"start", "start", "stop", "exit", "exit", "exit0", "unready", "hang", "heal", "heal", "deaf", "child", "orphan", "orphan", "agent", "agent", "rerun",
	"restart", "again", "drain", "undrain", "away", "back", "refuse", "overflow", "apply", "slow", "fast",
}

var waits = []time.Duration{
	0, 0, time.Millisecond, 5 * time.Millisecond, 20 * time.Millisecond, 300 * time.Millisecond, time.Second, 3 * time.Second,
	7 * time.Second, 12 * time.Second, time.Minute, 6 * time.Minute,
}

func drawActs(t *rapid.T) []act {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) act {
		return act{
			What:  rapid.SampledFrom(whats).Draw(t, "what"),
			Which: rapid.IntRange(0, 4).Draw(t, "which"), Wait: rapid.SampledFrom(waits).Draw(t, "wait"),
		}
	}), 1, 60).Draw(t, "acts")
}

// verdict keeps what a world complains of, for rapid to shrink.
type verdict struct {
	testing.TB

	said []string
}

func (v *verdict) Errorf(format string, args ...any) {
	v.said = append(v.said, fmt.Sprintf(format, args...))
}
func (v *verdict) Error(args ...any) { v.said = append(v.said, fmt.Sprint(args...)) }
func (v *verdict) Fatal(args ...any) { v.said = append(v.said, fmt.Sprint(args...)) }
func (v *verdict) Helper()           {}

// The bounds of the services of the story.
const (
	storyDrain     = 5 * time.Second
	storyDrainLong = 8 * time.Second
)

func storyServices() map[string]Service {
	shop, db := service("readiness", "liveness"), service("startup", "readiness")
	shop.DependsOn = map[string]Condition{"db": Started}
	for _, s := range []*Service{&shop, &db} {
		s.Stop.Drain, s.Stop.DrainLong = backstay.Duration(storyDrain), backstay.Duration(storyDrainLong)
	}
	return map[string]Service{"shop": shop, "db": db}
}

// TestWhateverHappens plays random stories of exits, flaps, stops, deaths of the
// agent and refusals of the keeper, and checks what must always be true.
func TestWhateverHappens(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		acts := drawActs(rt)
		v := &verdict{TB: t}
		synctest.Test(t, func(*testing.T) {
			s := newStory(v)
			s.play(acts)
			s.finish()
			s.end()
		})
		if len(v.said) > 0 {
			rt.Fatalf("%v\n%s", acts, strings.Join(v.said[:min(len(v.said), 10)], "\n"))
		}
	})
}

// story is a world to which random things happen.
type story struct {
	*world

	v    *verdict
	back func()
}

func newStory(v *verdict) *story {
	s := &story{world: newWorld(v, storyServices()), v: v, back: func() {}}
	s.keeper.onSignal = func(id string) {
		if why := s.registry.idle(id, storyDrain, storyDrainLong); why != "" {
			v.Errorf("%v: %s is signalled while %s", time.Since(s.keeper.began), id, why)
		}
	}
	return s
}

func (s *story) play(acts []act) {
	for _, a := range acts {
		s.do(a)
		synctest.Wait()
		time.Sleep(a.Wait)
		synctest.Wait()
		s.check(a)
	}
}

// pick returns one of the instances there are.
func (s *story) pick(n int) string {
	all := s.Instances()
	if len(all) == 0 {
		return "shop-000000"
	}
	return all[n%len(all)].ID
}

// do carries out a. What is asked of the agent may wait for a keeper that is
// away: nobody waits for it here.
func (s *story) do(a act) {
	id := s.pick(a.Which)
	brief, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	switch a.What {
	case "start":
		name := []string{"shop", "db"}[a.Which%2]
		_, _ = s.Start(brief, s.releases[name+"@1"])
	case "stop":
		_ = s.Stop(brief, id, "story")
	case "exit":
		s.keeper.exit(id, 1, 0)
	case "exit0":
		s.keeper.exit(id, 0, 0)
	case "unready":
		s.keeper.behave(id, func(p *program) { p.bad = map[string]string{"readiness": "busy"} })
	case "hang":
		s.keeper.behave(id, func(p *program) {
			p.bad = map[string]string{"readiness": "hangs", "liveness": "hangs", "startup": "hangs"}
		})
	case "heal":
		s.keeper.behave(id, func(p *program) { p.bad, p.deaf, p.child = nil, false, 0 })
	case "deaf":
		s.keeper.behave(id, func(p *program) { p.deaf = true })
	case "child":
		for _, v := range s.Instances() {
			s.keeper.behave(v.ID, func(p *program) { p.child = time.Minute })
		}
	case "orphan": // its main process ends when it is told to, and leaves a child behind
		s.keeper.behave(id, func(p *program) { p.child = time.Minute })
		_ = s.Stop(brief, id, "story")
	case "agent":
		s.swap(a.Wait)
	case "rerun":
		s.rerun()
	case "restart":
		_ = s.Restart(brief, id, "story")
	case "again":
		_ = s.StartAgain(brief, id)
	case "drain":
		_ = s.Drain(brief, id, "story")
	case "undrain":
		_ = s.Undrain(brief, id)
	default:
		s.doToOthers(a)
	}
}

func (s *story) doToOthers(a act) {
	switch a.What {
	case "away":
		s.back()
		s.back = s.keeper.away()
	case "back":
		s.back()
		s.back = func() {}
	case "refuse":
		s.keeper.mu.Lock()
		what := []string{"start", "stop", "remove", "note", "ready", "kill", "put", "probe"}[a.Which]
		s.keeper.refuse[what] += 3
		s.keeper.mu.Unlock()
	case "overflow": // what happens meanwhile is not told
		s.keeper.listen(nil)
		for range a.Which {
			s.keeper.exit(s.pick(a.Which), 1, 0)
		}
		s.Resync(s.keeper.listen(s.Feed))
	case "apply":
		shop := s.services["shop"]
		shop.Stop.Grace = backstay.Duration(10+a.Which) * backstay.Duration(time.Second)
		s.services["shop"] = shop
		_ = s.Apply(context.Background(), s.services)
	case "slow":
		s.slow(3*time.Second*time.Duration(a.Which), 2*time.Second*time.Duration(a.Which), 3*time.Second*time.Duration(a.Which))
	case "fast":
		s.slow(time.Millisecond, time.Millisecond, time.Millisecond)
	}
}

func (s *story) slow(ack, idle, long time.Duration) {
	s.registry.mu.Lock()
	defer s.registry.mu.Unlock()
	s.registry.ackIn, s.registry.idleIn, s.registry.longIn = ack, idle, long
}

// swap kills the agent and starts the next one: who was well stays in traffic.
func (s *story) swap(away time.Duration) {
	s.kill()
	before := s.registry.ready()
	time.Sleep(away)
	s.agent()
	synctest.Wait()
	after := s.registry.ready()
	for _, id := range before {
		slot, _ := s.keeper.slot(id)
		if slot.Ready && !slices.Contains(after, id) {
			s.v.Errorf("%s was ready, and the next agent has taken it out", id)
		}
	}
}

func (s *story) rerun() {
	s.again()
}

// check is what must be true whenever nothing is under way at this moment.
func (s *story) check(a act) {
	for _, id := range s.registry.ready() {
		slot, ok := s.keeper.slot(id)
		s.registry.mu.Lock()
		starts := s.registry.all[id].Starts
		s.registry.mu.Unlock()
		if !ok || slot.PID == 0 || int(slot.Starts) != starts {
			s.v.Errorf("after %v: %s is ready for traffic and its slot is %+v, registered run %d", a, id, slot, starts)
		}
	}
	s.checkTrees(a)
	seen := map[uint16]string{}
	for _, v := range s.Instances() {
		for _, port := range v.Ports {
			if seen[port] != "" {
				s.v.Errorf("%s and %s have port %d", seen[port], v.ID, port)
			}
			seen[port] = v.ID
		}
	}
}

// checkTrees is that nobody is taken for stopped, let alone forgotten, whose
// processes are there.
func (s *story) checkTrees(a act) {
	s.keeper.mu.Lock()
	defer s.keeper.mu.Unlock()
	for id, slot := range s.keeper.slots {
		if !slot.rest {
			continue
		}
		if v := s.find(id); v.ID == "" || v.State == backstay.Stopped || v.State == backstay.Completed || v.State == backstay.Failed || v.State == backstay.Backoff {
			s.v.Errorf("after %v: %s is %q because %q, and its tree is not empty", a, id, v.State, v.Because)
		}
	}
	for _, v := range s.Instances() {
		if slot := s.keeper.slots[v.ID]; v.State == backstay.Stopped && slot != nil && slot.busy() {
			s.v.Errorf("after %v: %s is stopped because %q, and runs", a, v.ID, v.Because)
		}
	}
}

// finish heals all: then what is wanted runs and is ready; then all is stopped:
// then nothing is left.
func (s *story) finish() {
	s.back()
	s.slow(time.Millisecond, time.Millisecond, time.Millisecond)
	s.keeper.mu.Lock()
	clear(s.keeper.refuse)
	for _, slot := range s.keeper.slots {
		slot.bad, slot.deaf, slot.child = nil, false, 0
	}
	s.keeper.mu.Unlock()
	_, _ = s.Start(context.Background(), s.releases["db@1"])
	time.Sleep(30 * time.Minute)
	synctest.Wait()
	for _, v := range s.Instances() {
		if v.State != backstay.Running || !v.Ready {
			s.v.Errorf("all is well, and %s is %s ready=%v: %s", v.ID, v.State, v.Ready, v.Because)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	if err := s.StopAll(ctx, "down"); err != nil {
		s.v.Errorf("stop all: %v", err)
	}
	synctest.Wait()
	if len(s.keeper.slots) > 0 || len(s.registry.all) > 0 || len(s.Instances()) > 0 {
		s.v.Errorf("left: slots %v, endpoints %v, instances %v", s.keeper.slots, s.registry.all, s.Instances())
	}
}
