package restart_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/backstay/backstay/internal/golden"
	"github.com/backstay/backstay/internal/restart"
)

// standard is the policy of a file that says nothing.
func standard() restart.Policy {
	return restart.Policy{
		Min: 100 * time.Millisecond, Max: 30 * time.Second, ResetAfter: time.Minute,
		Limit: 10, Window: 10 * time.Minute, RetryEvery: 5 * time.Minute,
	}
}

// half is the chance that leaves pauses as the plan says.
const half = 0.5

var (
	events = []string{"", "start", "stop", "started", "ready", "not ready", "exited", "crashed", "undone", "tick"}
	dos    = []string{"nothing", "start now", "start at", "fail until", "be stopped", "be completed"}
)

// story drives a machine by lines of "time event", and renders what it answers.
// The word "+" before a time means: after the line before.
func story(t *testing.T, p restart.Policy, lines string) string {
	t.Helper()
	var m restart.Machine
	var out strings.Builder
	now := time.Duration(0)
	for line := range strings.Lines(strings.TrimSpace(lines)) {
		line = strings.TrimSpace(line)
		at, what, _ := strings.Cut(line, " ")
		d, err := time.ParseDuration(strings.TrimPrefix(at, "+"))
		if err != nil {
			t.Fatal(err)
		}
		if now += d; !strings.HasPrefix(at, "+") {
			now = d
		}
		ev := 0
		for i, name := range events {
			if name == what {
				ev = i
			}
		}
		if ev == 0 {
			t.Fatalf("no event %q", what)
		}
		eff := m.Step(p, restart.Event(ev), now, half)
		fmt.Fprintf(&out, "%-10s %-9s -> %s", now, what, dos[eff.Do])
		if eff.At > 0 {
			fmt.Fprintf(&out, " %s", eff.At)
		}
		fmt.Fprintf(&out, "   failures %d\n", m.Failures)
	}
	return out.String()
}

func TestStories(t *testing.T) {
	never, failure, quick := standard(), standard(), standard()
	never.When, failure.When, quick.RetryEvery = restart.Never, restart.OnFailure, 0
	crash := "+1ms started\n+1ms crashed\n"
	again := "+30s tick\n+0s started\n+1ms crashed\n"
	for name, s := range map[string]struct {
		policy restart.Policy
		lines  string
	}{
		"a lone crash is repaired at once":          {standard(), "0s start\n0s started\n5s ready\n100s crashed\n+0s started\n+1s ready\n+90s crashed"},
		"ten failures end in failed":                {standard(), "0s start\n" + crash + crash + strings.Repeat(again, 8) + "+5m tick\n" + crash + "+5m tick\n+0s started\n+1s ready\n+60s crashed\n+0s started\n+1ms crashed"},
		"readiness that fails does not reset":       {standard(), "0s start\n" + crash + "+0s started\n+1s ready\n+59s not ready\n+1h crashed"},
		"a dead agent costs no pause":               {standard(), "0s start\n" + crash + "+0s started\n+61s crashed"},
		"stop while running":                        {standard(), "0s start\n0s started\n1s stop\n+1s crashed\n+1s tick\n+1s start"},
		"stop in back-off":                          {standard(), "0s start\n" + crash + crash + "+1ms stop\n+30s tick\n+1s start"},
		"start in back-off is now, and no pardon":   {standard(), "0s start\n" + crash + crash + "+1ms start\n+0s start\n+0s started\n+1ms crashed"},
		"start forgives what has failed":            {quick, "0s start\n" + crash + crash + strings.Repeat(again, 8) + "+24h tick\n+0s start\n+0s started\n+1ms crashed"},
		"on_failure leaves success alone":           {failure, "0s start\n+1s started\n+1s exited\n+1s start\n+1s started\n+1s crashed"},
		"never":                                     {never, "0s start\n+1s started\n+1s crashed\n+9h tick"},
		"always counts success too":                 {standard(), "0s start\n+0s started\n+1ms exited\n+0s started\n+1ms exited"},
		"undone is not its fault":                   {standard(), "0s start\n+0s undone\n+0s undone\n+0s started\n+1ms crashed\n+0s undone\n+0s stop\n+0s undone"},
		"failures of long ago do not count":         {standard(), "0s start\n" + strings.Repeat("+0s started\n+70s crashed\n", 14)},
		"what was stopped is not started by a tick": {standard(), "0s tick\n0s stop\n0s crashed\n1s tick"},
	} {
		t.Run(name, func(t *testing.T) {
			golden.Check(t, filepath.Join("testdata", strings.ReplaceAll(name, " ", "_")+".txt"), story(t, s.policy, s.lines))
		})
	}
}

// TestPausesAreThoseDecided is the table of the decision: at once, then 100 ms
// doubling to 30 s, each within a fifth, and never above 30 s.
func TestPausesAreThoseDecided(t *testing.T) {
	p := standard()
	p.Limit = 0
	rapid.Check(t, func(t *rapid.T) {
		var m restart.Machine
		m.Step(p, restart.Start, 0, 0)
		plan, now := []time.Duration{0}, time.Duration(0)
		for d := p.Min; d < p.Max; d *= 2 {
			plan = append(plan, d)
		}
		plan = append(plan, p.Max, p.Max, p.Max)
		for i, want := range plan {
			m.Step(p, restart.Started, now, 0)
			now += time.Millisecond
			eff := m.Step(p, restart.Crashed, now, rapid.Float64Range(0, 0.999999).Draw(t, "chance"))
			got := max(eff.At-now, 0)
			if i == 0 && eff.Do != restart.StartNow || i > 0 && eff.Do != restart.StartAt {
				t.Fatalf("failure %d: %+v", i+1, eff)
			}
			if got < want*8/10 || got > min(want*12/10, p.Max) {
				t.Fatalf("failure %d: pause %s, planned %s", i+1, got, want)
			}
			now += got
			if i > 0 && m.Step(p, restart.Tick, now, 0).Do != restart.StartNow {
				t.Fatalf("failure %d: no start when it is due", i+1)
			}
		}
	})
}

// TestCopiesDoNotStartInStep fails if the bound of the pause takes the jitter
// away: of copies that have long failed no two start at one moment.
func TestCopiesDoNotStartInStep(t *testing.T) {
	p, seen := standard(), map[time.Duration]bool{}
	p.Limit = 0
	for i := range 100 {
		m := restart.Machine{Wanted: true, Running: true, Failures: 50}
		at := m.Step(p, restart.Crashed, time.Millisecond, float64(i)/100+0.003).At
		if seen[at] {
			t.Fatalf("two copies start at %s", at)
		}
		seen[at] = true
	}
}

// drawPolicy draws any policy, absurd ones too: the wire brings them.
func drawPolicy(t *rapid.T) restart.Policy {
	d := func(name string) time.Duration {
		return time.Duration(rapid.OneOf(rapid.Int64(), rapid.Int64Range(0, int64(time.Hour))).Draw(t, name))
	}
	return restart.Policy{
		When: restart.When(rapid.IntRange(0, 3).Draw(t, "when")), Min: d("min"), Max: d("max"), ResetAfter: d("reset"),
		Limit: rapid.OneOf(rapid.Int(), rapid.IntRange(0, 12)).Draw(t, "limit"), Window: d("window"), RetryEvery: d("retry"),
	}
}

// TestAnySequenceOfEvents keeps what must be true of each step, whatever comes in
// whatever order: what is stopped stays stopped, what is wanted is never
// forgotten, nothing is due in the past, and no pause is longer than the policy.
func TestAnySequenceOfEvents(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var m restart.Machine
		p, now := drawPolicy(t), time.Duration(0)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if rapid.IntRange(0, 9).Draw(t, "change") == 0 {
				p = drawPolicy(t)
			}
			now += time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "later"))
			ev := restart.Event(rapid.IntRange(0, 10).Draw(t, "event"))
			before := m
			eff := m.Step(p, ev, now, rapid.Float64Range(0, 0.999999).Draw(t, "chance"))
			check(t, p, ev, before, m, eff, now)
		}
	})
}

func check(t *rapid.T, p restart.Policy, ev restart.Event, before, m restart.Machine, eff restart.Effect, now time.Duration) {
	starts := eff.Do == restart.StartNow
	switch {
	case starts && (!m.Wanted || m.Running || m.Due != 0):
		t.Fatalf("%d: a start that nobody wants, or a second one: %+v -> %+v", ev, before, m)
	case m.Due != 0 && (m.Due < now && ev != restart.Tick && m.Due != before.Due || !m.Wanted):
		t.Fatalf("%d at %s: due in the past, or for nobody: %+v", ev, now, m)
	case eff.At != 0 && eff.At != m.Due:
		t.Fatalf("%d: says %s, is due at %s", ev, eff.At, m.Due)
	case ev == restart.Stop && m.Wanted, ev == restart.Start && !m.Wanted:
		t.Fatalf("%d: wanted %v", ev, m.Wanted)
	case eff.Do == restart.StartAt && m.Pause > max(p.Max, p.Min, 10*time.Millisecond):
		t.Fatalf("pause %s with %+v", m.Pause, p)
	case m.Wanted && !m.Running && !starts && m.Due == 0 && !m.Failed && before.Running:
		t.Fatalf("%d: forgotten: %+v -> %+v, %+v", ev, before, m, eff)
	}
}

// TestLimitHoldsWithinTheWindow compares with a list of all failures: never
// failed with fewer than Limit in Window, always with Limit in 19/20 of it.
func TestLimitHoldsWithinTheWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := restart.Policy{Min: time.Millisecond, Max: time.Millisecond, Limit: rapid.IntRange(1, 8).Draw(t, "limit"), Window: 10 * time.Minute, ResetAfter: time.Hour}
		var m restart.Machine
		m.Step(p, restart.Start, 0, 0)
		var at []time.Duration
		now := time.Duration(0)
		for range 60 {
			m.Step(p, restart.Started, now, 0)
			now += time.Duration(rapid.Int64Range(0, int64(6*time.Minute)).Draw(t, "run"))
			at = append(at, now)
			failed := m.Step(p, restart.Crashed, now, 0).Do == restart.FailUntil
			within := func(w time.Duration) (n int) {
				for _, f := range at {
					if now-f < w {
						n++
					}
				}
				return n
			}
			if failed && within(p.Window) < p.Limit || !failed && within(p.Window*19/20) >= p.Limit {
				t.Fatalf("failed %v with %d in the window at %s: %v", failed, within(p.Window), now, at)
			}
			if failed {
				return
			}
		}
	})
}
