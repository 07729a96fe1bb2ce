package supervise

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/internal/keeperwire"
)

func TestReadyStaysReadyOverAnAgentRestart(t *testing.T) {
	in(t, map[string]Service{"shop": service("readiness", "liveness")}, func(w *world) {
		id := w.start("shop")
		time.Sleep(time.Minute)
		before := w.find(id)
		w.kill()
		w.registry.lines = nil
		time.Sleep(time.Minute)
		w.agent()
		w.wants(id, backstay.Running, true)
		after := w.find(id)
		if !after.ReadySince.Equal(before.ReadySince.Truncate(time.Millisecond)) || after.PID != before.PID || after.Ports["http"] != before.Ports["http"] {
			w.t.Errorf("before %+v\nafter  %+v", before, after)
		}
		time.Sleep(time.Minute)
		if strings.Contains(w.registry.told(), "ready=false") {
			w.t.Errorf("a ready instance was said not to be:\n%s", w.registry.told())
		}
		if got := len(w.events.of(backstay.StateChanged)); got != 2 { // starting, running
			w.t.Errorf("states told: %v", w.events.of(backstay.StateChanged))
		}
	})
}

func TestDeathWhileNoAgentIsThereIsFound(t *testing.T) {
	in(t, map[string]Service{"shop": service("readiness")}, func(w *world) {
		id := w.start("shop")
		time.Sleep(time.Minute)
		w.kill()
		w.keeper.exit(id, 7, 0)
		w.agent()
		settle()
		v := w.find(id)
		if v.Ready || v.Starts != 2 || v.Last == nil || v.Last.Code != 7 {
			w.t.Errorf("%+v", v)
		}
		time.Sleep(time.Second)
		w.wants(id, backstay.Running, true)
	})
}

// TestStopGoesOnInTheNextAgent kills the agent at every step of a stop.
func TestStopGoesOnInTheNextAgent(t *testing.T) {
	for name, at := range map[string]time.Duration{
		"accepted": 0, "withdrawing": 500 * time.Millisecond, "draining": 3 * time.Second, "long drain": 8 * time.Second,
		"signalled": 13 * time.Second, "removing": 25 * time.Second,
	} {
		t.Run(name, func(t *testing.T) {
			in(t, map[string]Service{"shop": service("readiness")}, func(w *world) {
				w.registry.ackIn, w.registry.idleIn, w.registry.longIn = time.Second, 5*time.Second, 10*time.Second
				id := w.start("shop")
				w.keeper.behave(id, func(p *program) { p.deaf, p.forever = true, true })
				time.Sleep(time.Minute)
				if err := w.Stop(w.ctx(), id, "deploy 4"); err != nil {
					w.t.Fatal(err)
				}
				time.Sleep(at)
				w.kill()
				w.agent()
				settle()
				if v := w.find(id); !v.Drained || v.State != backstay.Draining && v.State != backstay.Stopping && v.State != backstay.Stopped {
					w.t.Errorf("the next agent has it as %+v", v)
				}
				w.keeper.behave(id, func(p *program) { p.forever = false })
				time.Sleep(10 * time.Minute)
				w.gone(id)
				if n := strings.Count(w.keeper.told(), "signal"); n != 1 {
					w.t.Errorf("signalled %d times:\n%s", n, w.keeper.told())
				}
			})
		})
	}
}

// An agent that does not find the service of what leaves in its file gives it the
// time that the file before gave it.
func TestWhatLeavesTheFileDrainsInTheNextAgent(t *testing.T) {
	in(t, map[string]Service{"shop": service("readiness")}, func(w *world) {
		w.registry.ackIn, w.registry.idleIn, w.registry.longIn = time.Second, 20*time.Second, 200*time.Second
		id := w.start("shop")
		time.Sleep(time.Minute)
		w.services = map[string]Service{}
		if err := w.Apply(w.ctx(), w.services); err != nil {
			w.t.Fatal(err)
		}
		if err := w.Stop(w.ctx(), id, "not in the file"); err != nil {
			w.t.Fatal(err)
		}
		for range 3 {
			time.Sleep(5 * time.Second)
			w.kill()
			w.agent()
			time.Sleep(time.Second)
			w.wants(id, backstay.Draining, true)
		}
		time.Sleep(100 * time.Second)
		w.wants(id, backstay.Draining, true) // its WebSockets
		time.Sleep(100 * time.Second)
		w.gone(id)
		if what := w.registry.idle(id, w.registry.idleIn, w.registry.longIn); what != "" {
			w.t.Error(what)
		}
	})
}

func TestDrainOutlivesTheAgent(t *testing.T) {
	in(t, map[string]Service{"shop": service("readiness")}, func(w *world) {
		id := w.start("shop")
		time.Sleep(time.Second)
		if err := w.Drain(w.ctx(), id, "root"); err != nil {
			w.t.Fatal(err)
		}
		w.kill()
		w.agent()
		time.Sleep(time.Second)
		w.wants(id, backstay.Running, true)
		if v := w.find(id); !v.Drained || w.registry.ready() != nil {
			w.t.Errorf("%+v, ready %v", v, w.registry.ready())
		}
		if err := w.Undrain(w.ctx(), id); err != nil {
			w.t.Fatal(err)
		}
		settle()
		if got := w.registry.ready(); !slices.Equal(got, []string{id}) {
			w.t.Errorf("ready: %v", got)
		}
	})
}

func TestStartThatTheEndOfRunBrokeOffIsMadeGood(t *testing.T) {
	in(t, map[string]Service{"shop": service("readiness")}, func(w *world) {
		w.keeper.refuse = map[string]int{"start": 2}
		id := w.start("shop")
		settle()
		w.again()
		time.Sleep(time.Minute)
		w.wants(id, backstay.Running, true)
	})
}

func TestRunCanBeCalledAgain(t *testing.T) {
	in(t, map[string]Service{"shop": service("readiness")}, func(w *world) {
		w.registry.ackIn = 5 * time.Second
		id := w.start("shop")
		time.Sleep(time.Minute)
		if err := w.Stop(w.ctx(), id, "scale"); err != nil {
			w.t.Fatal(err)
		}
		w.again()
		time.Sleep(time.Minute)
		w.gone(id)
	})
}

func TestWhatWasMissedIsToldAndChangesNothing(t *testing.T) {
	in(t, map[string]Service{"shop": service("readiness")}, func(w *world) {
		id := w.start("shop")
		time.Sleep(time.Minute)
		exit := keeperwire.Exit{At: time.Now().Add(-time.Hour).UnixNano(), Known: true, Signal: 11}
		w.Missed(keeperwire.Event{Kind: keeperwire.EvExited, ID: id, Exit: exit})
		w.Missed(keeperwire.Event{Kind: keeperwire.EvStarted, ID: id})
		settle()
		w.wants(id, backstay.Running, true)
		told := w.events.of(backstay.StateChanged)
		if last := told[len(told)-1]; !strings.Contains(last, "while no agent was there: killed by SIGSEGV") {
			w.t.Errorf("told: %v", told)
		}
	})
}

// An agent that was killed may leave events that it had told already. The end of
// what was stopped on purpose is no crash to the next one, at whichever step of
// the way out that finds it.
func TestEndThatWasMeantIsNoCrashToTheNextAgent(t *testing.T) {
	for name, at := range map[string]time.Duration{"being stopped": 500 * time.Millisecond, "gone": time.Minute} {
		t.Run(name, func(t *testing.T) {
			in(t, map[string]Service{"shop": service("readiness")}, func(w *world) {
				id := w.start("shop")
				w.keeper.behave(id, func(p *program) { p.ends = time.Second })
				time.Sleep(time.Minute)
				if err := w.Stop(w.ctx(), id, "rolled back"); err != nil {
					w.t.Fatal(err)
				}
				time.Sleep(at)
				w.kill()
				time.Sleep(time.Minute)
				exit := keeperwire.Exit{At: time.Now().UnixNano(), Known: true, Asked: true, Reason: "rolled back"}
				w.agent()
				w.Missed(keeperwire.Event{Kind: keeperwire.EvExited, ID: id, Starts: 1, Exit: exit})
				time.Sleep(time.Minute)
				w.gone(id)
				stopped := 0
				for _, told := range w.events.of(backstay.StateChanged) {
					if strings.Contains(told, string(backstay.Crashed)) {
						w.t.Errorf("told: %s", told)
					}
					if strings.Contains(told, "> stopped") {
						stopped++
					}
				}
				if stopped != 1 {
					w.t.Errorf("its end was told %d times: %q", stopped, w.events.of(backstay.StateChanged))
				}
			})
		})
	}
}

// A job that has done its work while no agent was there has not crashed.
func TestJobThatEndedWhileNoAgentWasThereIsCompleted(t *testing.T) {
	conf := service("readiness")
	conf.Restart.Policy = "on_failure"
	in(t, map[string]Service{"shop": conf}, func(w *world) {
		id := w.start("shop")
		time.Sleep(time.Minute)
		w.kill()
		w.keeper.exit(id, 0, 0)
		w.agent()
		w.Missed(keeperwire.Event{Kind: keeperwire.EvExited, ID: id, Starts: 1, Exit: keeperwire.Exit{At: time.Now().UnixNano(), Known: true}})
		settle()
		told := w.events.of(backstay.StateChanged)
		if last := told[len(told)-1]; !strings.Contains(last, string(backstay.Completed)) || !strings.Contains(last, "while no agent was there") {
			w.t.Errorf("told: %q", told)
		}
	})
}

func TestInstanceOfAForgottenReleaseStaysAsItIsAndCanBeStopped(t *testing.T) {
	in(t, map[string]Service{"shop": service("readiness")}, func(w *world) {
		id := w.start("shop")
		time.Sleep(time.Second)
		w.kill()
		delete(w.releases, "shop@1") // nobody knows the release any more: the probe cannot be put
		w.agent()
		time.Sleep(time.Minute)
		w.wants(id, backstay.Running, true)
		if v := w.find(id); len(v.Probes) != 1 || !v.Probes[0].Checked.IsZero() || !v.Probes[0].Good {
			w.t.Errorf("probes: %+v", v.Probes)
		}
		if err := w.Stop(w.ctx(), id, "deploy"); err != nil {
			w.t.Fatal(err)
		}
		time.Sleep(time.Minute)
		w.gone(id)
	})
}
