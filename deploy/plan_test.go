package deploy

import (
	"flag"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/backstay/backstay"
)

func TestMain(m *testing.M) {
	_ = flag.Set("rapid.nofailfile", "true") // a failure prints its seed
	goleak.VerifyTestMain(m)
}

var (
	fine       = program{ready: 500 * time.Millisecond}
	slow       = program{ready: 8 * time.Second}
	never      = program{}
	diesYoung  = program{ready: 500 * time.Millisecond, dies: 1500 * time.Millisecond}
	diesAtOnce = program{dies: 250 * time.Millisecond}
	flaps      = program{ready: 500 * time.Millisecond, flap: time.Second}
	diesOld    = program{ready: 500 * time.Millisecond, dies: 30 * time.Second}
	flakeOnce  = program{ready: 500 * time.Millisecond, dies: time.Second, flakes: 1, spare: 2}
	flakeMore  = program{ready: 500 * time.Millisecond, dies: time.Second, flakes: 5, spare: 2}
)

var programs = []program{fine, slow, never, diesYoung, diesAtOnce, flaps, diesOld, flakeOnce, flakeMore}

// neverGood are those of which no instance is ever good.
var neverGood = []program{never, diesYoung, diesAtOnce, flaps}

func drawConfig(t *rapid.T) func(*Config) {
	return func(c *Config) {
		c.MaxSurge.N = rapid.IntRange(0, 3).Draw(t, "surge")
		c.MaxUnavailable.N = rapid.IntRange(0, 2).Draw(t, "unavailable")
		if c.MaxSurge.N+c.MaxUnavailable.N == 0 {
			c.MaxSurge.N = 1
		}
		c.Retries = rapid.IntRange(0, 2).Draw(t, "retries")
		if rapid.IntRange(0, 4).Draw(t, "recreate") == 0 {
			c.Strategy = "recreate"
		}
		if rapid.IntRange(0, 4).Draw(t, "on_failure") == 0 {
			c.OnFailure = "pause"
		}
	}
}

func drawWorld(t *rapid.T) *world {
	w := newWorld(rapid.IntRange(1, 6).Draw(t, "replicas"), drawConfig(t))
	w.drain = time.Duration(rapid.IntRange(0, 20).Draw(t, "drain")) * time.Second
	w.broken = func(format string, args ...any) {
		t.Fatalf(format+"\n%s", append(args, w.script.String())...)
	}
	return w
}

// Whatever the releases are like, and however often the agent dies, a deploy
// ends, and ends as it should.
func TestEveryDeployEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		w.programs[1] = fine
		w.programs[2] = rapid.SampledFrom(programs).Draw(t, "new")
		crashes := rapid.IntRange(0, 3).Draw(t, "crash")
		w.runs(1)
		w.begin(Roll, 2)
		w.run(10*time.Minute, func() bool {
			if crashes > 0 && w.now.UnixNano()/int64(step)%int64(crashes) == 0 {
				w.crash()
			}
			return w.over()
		})
		bad := slices.Contains(neverGood, w.programs[2])
		// With fewer than three at once, two are good before the third flakes.
		flaked := w.programs[2] == flakeOnce && w.config.Retries > 0 && w.config.MaxSurge.N < 3 && w.config.Strategy == "rolling"
		switch s := w.deploy.State; {
		case !w.over():
			t.Fatalf("still %s\n%s", s, w.script.String())
		case bad && w.config.OnFailure == "rollback" && (s != RolledBack || w.serving(1) != w.replicas || len(w.bodies) != w.replicas):
			t.Fatalf("a bad release ends in %s with %d of the old serving\n%s", s, w.serving(1), w.script.String())
		case bad && w.config.OnFailure == "pause" && s != Paused:
			t.Fatalf("a bad release ends in %s\n%s", s, w.script.String())
		case (w.programs[2].well() || flaked) && (s != Done || w.serving(2) != w.replicas):
			t.Fatalf("a good release ends in %s with %d serving\n%s", s, w.serving(2), w.script.String())
		}
	})
}

// While both releases are well nothing is missing beyond what may be.
func TestServingNeverFallsBelowWhatIsPromised(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		w.config.Strategy = "rolling"
		w.programs[1], w.programs[2] = fine, rapid.SampledFrom(append([]program{fine, slow}, neverGood...)).Draw(t, "new")
		kind := Roll
		if w.programs[2].well() && rapid.Bool().Draw(t, "back") {
			kind = Rollback
		}
		w.runs(1)
		w.begin(kind, 2)
		least := w.replicas - w.config.MaxUnavailable.N
		w.run(10*time.Minute, func() bool {
			if n := w.serving(0); n < least {
				t.Fatalf("%d serve, at least %d must\n%s", n, least, w.script.String())
			}
			return w.over()
		})
	})
}

// Anything may happen in the middle: scaling to any number, a stop, another
// deploy in place of this one, abort, pause, a dead agent, old ones that are ill.
func TestNothingThatHappensBreaksTheRules(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		for seq := 1; seq <= 4; seq++ {
			w.programs[seq] = rapid.SampledFrom(programs).Draw(t, "program")
		}
		w.runs(1)
		w.begin(Roll, 2)
		next := 3
		t.Repeat(map[string]func(*rapid.T){
			"": func(*rapid.T) {},
			"wait": func(t *rapid.T) {
				w.run(time.Duration(rapid.IntRange(1, 40).Draw(t, "quarters"))*step, nil)
			},
			"scale":  func(t *rapid.T) { w.replicas = rapid.IntRange(0, 6).Draw(t, "to"); w.plan() },
			"crash":  func(*rapid.T) { w.crash(); w.plan() },
			"abort":  func(*rapid.T) { w.tryAbort(); w.plan() },
			"pause":  func(*rapid.T) { w.setState(Paused, Rolling, Finishing); w.plan() },
			"resume": func(*rapid.T) { w.setState(Rolling, Paused); w.plan() },
			"supersede": func(t *rapid.T) {
				if next > 4 || w.replicas == 0 {
					t.Skip("enough")
				}
				w.begin(Roll, next)
				next++
			},
			"restart": func(t *rapid.T) {
				if w.deploy.Live() || w.replicas == 0 {
					t.Skip("under way")
				}
				w.begin(Restart, w.current)
			},
		})
		if w.deploy.State == Paused {
			w.tryAbort()
		}
		w.run(30*time.Minute, func() bool { return w.over() })
		if !w.over() {
			t.Fatalf("still %s\n%s", w.deploy.State, w.script.String())
		}
	})
}

func (w *world) tryAbort() {
	if w.deploy.Live() && w.deploy.State != RollingBack && w.deploy.From != 0 {
		w.abort()
	}
}

func (w *world) setState(to State, from ...State) {
	if slices.Contains(from, w.deploy.State) {
		w.deploy = w.deploy.clone()
		w.deploy.State, w.deploy.Since, w.deploy.Deadline, w.deploy.Waits = to, w.now, time.Time{}, ""
		w.say(string(to) + " by a person")
	}
}

// An old release that is ill, even one that is not there at all, does not stand
// in the way of the one that mends it.
func TestAFixGoesForwardPastAnIllRelease(t *testing.T) {
	for _, ill := range []program{never, diesAtOnce, flaps, diesYoung} {
		for _, strategy := range []string{"rolling", "recreate"} {
			w := newWorld(4, func(c *Config) { c.Strategy = strategy })
			w.programs[1], w.programs[2] = ill, fine
			w.broken = func(format string, args ...any) { t.Errorf(format, args...) }
			w.runs(1)
			w.begin(Roll, 2)
			w.run(5*time.Minute, w.over)
			if w.deploy.State != Done || w.serving(2) != 4 {
				t.Errorf("%s past %+v: %s\n%s", strategy, ill, w.deploy.State, w.script.String())
			}
		}
	}
}

// Both are ill: whatever is ready is kept, and nothing swings to and fro.
func TestBothIllIsStuckOnce(t *testing.T) {
	w := newWorld(3, nil)
	w.programs[1], w.programs[2] = never, diesYoung
	w.runs(1)
	w.begin(Roll, 2)
	w.run(10*time.Minute, w.over)
	if w.deploy.State != Stuck || !slices.Equal(w.history, []State{Rolling, RollingBack, Stuck}) {
		t.Fatalf("%v\n%s", w.history, w.script.String())
	}
	before := w.script.Len()
	w.run(10*time.Minute, nil)
	if w.script.Len() != before {
		t.Errorf("a stuck deploy acts\n%s", w.script.String())
	}
}

// Nothing else can be done with a first release than to wait for it.
func TestAFirstReleaseIsDoneWheneverItGetsGood(t *testing.T) {
	w := newWorld(2, nil)
	w.programs[1] = diesAtOnce
	w.begin(First, 1)
	w.run(10*time.Minute, w.over)
	if w.deploy.State != Stuck || len(w.bodies) != 2 {
		t.Fatalf("%s with %d instances\n%s", w.deploy.State, len(w.bodies), w.script.String())
	}
	for _, b := range w.bodies { // the database is back
		b.program = fine
	}
	w.run(time.Minute, func() bool { return w.deploy.State == Done })
	if w.deploy.State != Done || w.current != 1 || w.deploy.Reason != "" {
		t.Errorf("%s, %q in force %d\n%s", w.deploy.State, w.deploy.Reason, w.current, w.script.String())
	}
}

func TestFixedPortsNeverRunTwoAtOnce(t *testing.T) {
	w := newWorld(1, func(c *Config) { c.MaxSurge, c.MaxUnavailable = backstay.Count{}, backstay.Count{N: 1} })
	w.fixed, w.drain = true, 5*time.Second
	w.programs[1], w.programs[2] = fine, fine
	w.runs(1)
	w.begin(Roll, 2)
	w.run(time.Minute, func() bool {
		if len(w.bodies) > 1 {
			t.Fatalf("two hold one port\n%s", w.script.String())
		}
		return w.over()
	})
	if w.deploy.State != Done {
		t.Errorf("%s\n%s", w.deploy.State, w.script.String())
	}
}

// Waiting for old ones that drain for long is not a lack of progress.
func TestLongDrainsDoNotEndADeploy(t *testing.T) {
	w := newWorld(6, nil)
	w.drain = 5 * time.Minute
	w.programs[1], w.programs[2] = fine, fine
	w.runs(1)
	w.begin(Roll, 2)
	w.run(time.Hour, w.over)
	if w.deploy.State != Done {
		t.Errorf("%s: %s\n%s", w.deploy.State, w.deploy.Reason, w.script.String())
	}
}

// The bound on a rollback's speed: the plan that sees the death is the plan
// that moves the traffic.
func TestTheFirstDeathMovesTrafficInTheSamePlan(t *testing.T) {
	w := newWorld(3, nil)
	w.programs[1], w.programs[2] = fine, diesYoung
	w.runs(1)
	w.begin(Roll, 2)
	w.run(time.Minute, func() bool { return w.serving(2) > 0 })
	for range 100 {
		w.now = w.now.Add(step)
		if w.live(); w.bodies[3].Starts > 1 {
			break
		}
		w.plan()
	}
	d, steps := Plan(w.view())
	if d.State != RollingBack || !slices.ContainsFunc(steps, func(s Step) bool { return s.Do == Stop }) {
		t.Errorf("%s, %v", d.State, steps)
	}
}

func TestANewReleaseTakesNoTrafficBesideTwoOthers(t *testing.T) {
	w := newWorld(4, nil)
	w.programs[1], w.programs[2], w.programs[3] = fine, fine, fine
	w.broken = func(format string, args ...any) { t.Errorf(format, args...) }
	w.drain = 20 * time.Second
	w.runs(1)
	w.begin(Roll, 2)
	w.run(time.Minute, func() bool { return w.serving(2) == 2 && w.deploy.Leaving > 0 }) // in mid-drain
	w.begin(Roll, 3)
	w.run(5*time.Minute, func() bool {
		if n := w.serving(0); n < 4 {
			t.Fatalf("%d serve\n%s", n, w.script.String())
		}
		return w.over()
	})
	if w.deploy.State != Done || w.serving(3) != 4 || len(w.bodies) != 4 {
		t.Errorf("%s\n%s", w.deploy.State, w.script.String())
	}
}

func TestAPausedDeployGoesBackWhenNobodyComes(t *testing.T) {
	w := newWorld(3, func(c *Config) { c.OnFailure = "pause" })
	w.programs[1], w.programs[2] = fine, never
	w.runs(1)
	w.begin(Roll, 2)
	w.run(time.Minute, w.over)
	if w.deploy.State != Paused {
		t.Fatal(w.deploy.State)
	}
	w.now = w.now.Add(pausedAtMost)
	w.run(time.Minute, func() bool { return w.deploy.State == RolledBack })
	if w.deploy.State != RolledBack || w.serving(1) != 3 {
		t.Errorf("%s\n%s", w.deploy.State, w.script.String())
	}
}

// Old instances that die while the new one is not ready yet are supervise's:
// nothing that serves is stopped, and the roll goes on when they are back.
func TestOldOnesThatDieMeanwhileCostNothingMore(t *testing.T) {
	w := newWorld(3, nil)
	w.programs[1], w.programs[2] = fine, slow
	w.broken = func(format string, args ...any) { t.Errorf(format, args...) }
	w.runs(1)
	w.begin(Roll, 2)
	w.run(2*time.Second, nil)
	for _, b := range w.bodies[:2] { // killed, and started again by the keeper
		b.Starts, b.Started, b.Ready, b.State = 2, w.now, false, backstay.Starting
	}
	w.run(5*time.Minute, w.over)
	if w.deploy.State != Done || w.serving(2) != 3 {
		t.Errorf("%s\n%s", w.deploy.State, w.script.String())
	}
}

// A clock that jumps, or a day without an agent, is no reason to undo a deploy.
func TestATimeWithoutAnAgentIsNotHeldAgainstARelease(t *testing.T) {
	w := newWorld(3, nil)
	w.programs[1], w.programs[2] = fine, fine
	w.runs(1)
	w.begin(Roll, 2)
	w.run(time.Second, nil)
	for range 4 { // the instances live, nobody plans
		w.now = w.now.Add(step)
		w.live()
	}
	for _, b := range w.bodies { // what an adopted instance still knows
		b.ReadySince = b.ReadySince.Truncate(time.Millisecond)
	}
	w.run(5*time.Minute, w.over)
	if w.deploy.State != Done {
		t.Errorf("%s: %s", w.deploy.State, w.deploy.Reason)
	}
}
