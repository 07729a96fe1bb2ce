package supervise

import (
	"slices"
	"testing"
	"time"

	"github.com/backstay/backstay"
)

// Whoever waits for the last lines of what has died is told that there are none.
func TestOneThatSaidNothingHasNoLastLinesAndThatIsTold(t *testing.T) {
	in(t, map[string]Service{"shop": service("readiness")}, func(w *world) {
		read := make(chan []string)
		w.readLines = func(string) []string { return <-read }
		id := w.start("shop")
		settle()
		w.keeper.exit(id, 3, 0)
		settle()
		if v := w.find(id); v.Last == nil || v.LastLog != nil {
			t.Errorf("before they are read the lines are %#v: %+v", v.LastLog, v)
		}
		changed := w.Changed()
		read <- nil
		settle()
		select {
		case <-changed:
		default:
			t.Error("nobody is told")
		}
		if v := w.find(id); v.LastLog == nil || len(v.LastLog) > 0 {
			t.Errorf("it said nothing, and the lines are %#v", v.LastLog)
		}
	})
}

// An agent that finds the next run does not know what the one before it said:
// the log has gone on since.
func TestLastLinesOfARunThatEndedWithoutAnAgentAreNotAwaited(t *testing.T) {
	in(t, map[string]Service{"shop": service("readiness")}, func(w *world) {
		id := w.start("shop")
		settle()
		w.kill()
		w.keeper.exit(id, 3, 0)
		time.Sleep(time.Second)
		w.agent()
		settle()
		if v := w.find(id); v.Last == nil || v.PID == 0 || v.LastLog == nil {
			t.Errorf("somebody would wait for lines: %#v of %+v", v.LastLog, v)
		}
	})
}

// Whether the last lines or the verdict of the restart policy comes first, people
// read the same.
func TestTheCauseHasTheLastLineWheneverItComes(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	why := func(to backstay.InstanceState, order ...string) string {
		m := newMachine("shop-aaaaaa", meta{Service: "shop"}, now)
		m.state = backstay.Starting
		m.begun(now, run{starts: 1, pid: 7, at: now})
		m.ended(now, run{starts: 1, remains: true}, backstay.Exit{At: now, Known: true, Code: 3})
		for _, what := range order {
			if what == "lines" {
				m.logged(1, []string{"cannot bind"})
			} else {
				m.moved(now, to, run{starts: 1, failures: 2}, now)
			}
		}
		return m.because
	}
	for _, to := range []backstay.InstanceState{backstay.Backoff, backstay.Failed, backstay.Completed} {
		first, last := why(to, "lines", "policy"), why(to, "policy", "lines")
		if first != last || !slices.Contains([]string{
			"exited 3; last line: cannot bind",
			"ended 2 times; the last: exited 3; last line: cannot bind",
			"exited 3; last line: cannot bind; its policy starts it no more",
		}, first) {
			t.Errorf("%s: %q, or %q where the lines come last", to, first, last)
		}
	}
}
