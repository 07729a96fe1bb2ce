package supervise

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/internal/keeperwire"
)

func TestInstanceGetsTrafficWhenReadyAndLeavesInOrder(t *testing.T) {
	in(t, map[string]Service{"shop": service("readiness", "liveness")}, func(w *world) {
		id := w.start("shop")
		w.wants(id, backstay.Starting, false)
		time.Sleep(10 * time.Millisecond)
		w.wants(id, backstay.Running, true)
		if got := w.registry.ready(); !slices.Equal(got, []string{id}) {
			w.t.Errorf("ready: %v", got)
		}
		if err := w.Stop(w.ctx(), id, "scale to 0"); err != nil {
			w.t.Fatal(err)
		}
		w.wants(id, backstay.Draining, true)
		time.Sleep(time.Minute)
		w.gone(id)
		wantOrder(w.t, w.registry.told(), "drain=true", "withdrawn", "drained "+id+" long=false", "drained "+id+" long=true", "remove")
		wantOrder(w.t, w.keeper.told(), "run", "signal", "exited 0", "remove")
		if got := w.events.of(backstay.DrainForced); got != nil {
			w.t.Errorf("forced: %v", got)
		}
	})
}

// wantOrder checks that the parts stand in text in their order.
func wantOrder(tb testing.TB, text string, parts ...string) {
	tb.Helper()
	rest := text
	for _, p := range parts {
		_, after, ok := strings.Cut(rest, p)
		if !ok {
			tb.Errorf("no %q, or out of order, in\n%s", p, text)
			return
		}
		rest = after
	}
}

func TestExitTakesTrafficAwayAndTheKeeperStartsAgain(t *testing.T) {
	in(t, map[string]Service{"shop": service("readiness")}, func(w *world) {
		id := w.start("shop")
		time.Sleep(time.Minute)
		w.lines["/log/"+id+".log"] = []string{"started", "panic: index\x1b[31m out of range"}
		w.keeper.exit(id, 3, 0)
		settle()
		v := w.find(id)
		if v.Ready || v.Starts != 2 || v.Last == nil || v.Last.Code != 3 || len(v.LastLog) != 2 {
			w.t.Errorf("after the exit: %+v", v)
		}
		if strings.ContainsRune(v.LastLog[1], 0x1b) {
			w.t.Errorf("control characters of a log are shown: %q", v.LastLog[1])
		}
		if got := w.registry.ready(); got != nil {
			w.t.Errorf("a dead instance is ready: %v", got)
		}
		time.Sleep(time.Second)
		w.wants(id, backstay.Running, true)
		if e := w.registry.all[id]; e.Starts != 2 {
			w.t.Errorf("starts = %d", e.Starts)
		}
	})
}

func TestBackoffShowsCauseAndNextStart(t *testing.T) {
	in(t, map[string]Service{"shop": service("readiness")}, func(w *world) {
		id := w.start("shop")
		settle()
		w.lines["/log/"+id+".log"] = []string{"cannot bind"}
		for range 4 {
			w.keeper.exit(id, 1, 0)
			time.Sleep(time.Second)
		}
		w.keeper.exit(id, 1, 0)
		settle()
		v := w.find(id)
		if v.State != backstay.Backoff || !v.NextStart.After(time.Now()) || !strings.Contains(v.Because, "exited 1") || !strings.HasSuffix(v.Because, "last line: cannot bind") {
			w.t.Errorf("%+v", v)
		}
	})
}

func TestFailedIsShownAndTriedAgain(t *testing.T) {
	in(t, map[string]Service{"shop": service("readiness")}, func(w *world) {
		id := w.start("shop")
		for range 10 {
			settle()
			w.keeper.exit(id, 1, 0)
			time.Sleep(31 * time.Second)
		}
		v := w.find(id)
		if v.State != backstay.Failed || !strings.Contains(v.Because, "ended 10 times") || v.NextStart.IsZero() {
			w.t.Fatalf("%+v", v)
		}
		time.Sleep(5 * time.Minute)
		w.wants(id, backstay.Running, true)
	})
}

func TestLivenessKillsWithItsReasonOneAtATime(t *testing.T) {
	in(t, map[string]Service{"shop": service("readiness", "liveness")}, func(w *world) {
		a, b := w.start("shop"), w.start("shop")
		time.Sleep(10 * time.Second)
		hang := func(p *program) { p.bad = map[string]string{"liveness": "no answer", "readiness": "no answer"} }
		w.keeper.behave(a, hang)
		w.keeper.behave(b, hang)
		time.Sleep(8 * time.Second)
		killed := 0
		for _, id := range []string{a, b} {
			if v := w.find(id); v.Starts == 2 {
				killed++
				if v.Last == nil || !strings.Contains(v.Last.Reason, "liveness failed: exited 1: no answer") {
					w.t.Errorf("last = %+v", v.Last)
				}
			}
		}
		if killed != 1 {
			w.t.Errorf("%d killed at once", killed)
		}
		heal := func(p *program) { p.bad = nil }
		w.keeper.behave(a, heal)
		w.keeper.behave(b, heal)
		time.Sleep(10 * time.Second)
		w.wants(a, backstay.Running, true)
		w.wants(b, backstay.Running, true)
	})
}

func TestProbesThatNobodyAnswersChangeNothing(t *testing.T) {
	in(t, map[string]Service{"shop": service("readiness", "liveness")}, func(w *world) {
		id := w.start("shop")
		time.Sleep(time.Minute)
		w.keeper.behave(id, func(p *program) { p.silent = true })
		time.Sleep(10 * time.Minute)
		w.wants(id, backstay.Running, true)
	})
}

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

func TestDrainIsForcedAtItsBoundAndSaid(t *testing.T) {
	s := service("readiness")
	s.Stop.Drain, s.Stop.DrainLong = backstay.Duration(5*time.Second), backstay.Duration(20*time.Second)
	in(t, map[string]Service{"shop": s}, func(w *world) {
		w.registry.idleIn, w.registry.longIn = time.Hour, time.Hour
		id := w.start("shop")
		time.Sleep(time.Second)
		if err := w.Stop(w.ctx(), id, "scale"); err != nil {
			w.t.Fatal(err)
		}
		time.Sleep(19 * time.Second)
		w.wants(id, backstay.Draining, true)
		time.Sleep(2 * time.Second)
		w.gone(id)
		if got := w.events.of(backstay.DrainForced); len(got) != 2 {
			w.t.Errorf("forced: %v", got)
		}
	})
}

func TestDrainOfNoTimeIsNotForcedWhereNothingIsInFlight(t *testing.T) {
	s := service("readiness")
	s.Stop.Drain, s.Stop.DrainLong = 0, 0
	in(t, map[string]Service{"shop": s}, func(w *world) {
		w.registry.longIn = 5 * time.Millisecond
		id := w.start("shop")
		time.Sleep(time.Second)
		if err := w.Stop(w.ctx(), id, "scale"); err != nil {
			w.t.Fatal(err)
		}
		time.Sleep(time.Second)
		w.gone(id)
		if got := w.events.of(backstay.DrainForced); got != nil {
			w.t.Errorf("forced: %v", got)
		}
	})
}

func TestProxyThatNeverAcknowledgesDoesNotKeepAStop(t *testing.T) {
	in(t, map[string]Service{"shop": service("readiness")}, func(w *world) {
		w.registry.ackIn = time.Hour
		id := w.start("shop")
		time.Sleep(time.Second)
		if err := w.Stop(w.ctx(), id, "scale"); err != nil {
			w.t.Fatal(err)
		}
		time.Sleep(withdrawWithin - time.Millisecond)
		w.wants(id, backstay.Draining, true)
		time.Sleep(time.Second)
		w.gone(id)
		if got := w.events.of(backstay.DrainForced); len(got) != 1 {
			w.t.Errorf("forced: %v", got)
		}
	})
}

func TestKeeperThatIsAwayBlocksNobody(t *testing.T) {
	in(t, map[string]Service{"shop": service("readiness")}, func(w *world) {
		id := w.start("shop")
		time.Sleep(time.Minute)
		back := w.keeper.away()
		ctx, cancel := context.WithTimeout(w.ctx(), time.Second)
		defer cancel()
		if err := w.Stop(ctx, id, "scale"); !errors.Is(err, context.DeadlineExceeded) {
			w.t.Errorf("Stop without a keeper: %v", err)
		}
		w.wants(id, backstay.Stopping, true) // withdrawn and drained: that needs no keeper
		time.Sleep(time.Minute)
		back()
		time.Sleep(time.Minute)
		w.gone(id)
	})
}

func TestKeeperThatRefusesIsAskedAgain(t *testing.T) {
	in(t, map[string]Service{"shop": service("readiness")}, func(w *world) {
		w.keeper.refuse = map[string]int{"start": 3, "ready": 2, "note": 5, "stop": 4, "remove": 6}
		id := w.start("shop")
		time.Sleep(10 * time.Second)
		w.wants(id, backstay.Running, true)
		if slot, _ := w.keeper.slot(id); !slot.Ready {
			w.t.Error("the keeper was not told that it is ready")
		}
		if err := w.Stop(w.ctx(), id, "scale"); err != nil {
			w.t.Fatal(err)
		}
		time.Sleep(time.Minute)
		w.gone(id)
	})
}

func TestStartThatCannotBeResolvedLeavesNothing(t *testing.T) {
	in(t, map[string]Service{"shop": service()}, func(w *world) {
		w.resolver.err = errors.New("find user: there is no nobdy")
		_, err := w.Start(w.ctx(), w.releases["shop@1"])
		if err == nil || !strings.Contains(err.Error(), "there is no nobdy") {
			w.t.Errorf("err = %v", err)
		}
		settle()
		if got := w.Instances(); len(got) != 0 || len(w.keeper.slots) != 0 {
			w.t.Errorf("left: %v, %v", got, w.keeper.slots)
		}
		if _, err := w.Start(w.ctx(), backstay.Release{Service: "none", Seq: 1}); problemCode(err) != "not_found" {
			w.t.Errorf("start of a service that the file does not have: %v", err)
		}
	})
}

func TestUnknownInstancesAreProblems(t *testing.T) {
	in(t, map[string]Service{"shop": service()}, func(w *world) {
		for verb, err := range map[string]error{
			"stop": w.Stop(w.ctx(), "shop-ffffff", "x"), "drain": w.Drain(w.ctx(), "shop-ffffff", "x"),
			"undrain": w.Undrain(w.ctx(), "shop-ffffff"), "restart": w.Restart(w.ctx(), "shop-ffffff", "x"),
			"start": w.StartAgain(w.ctx(), "shop-ffffff"),
		} {
			if problemCode(err) != "not_found" {
				w.t.Errorf("%s: %v", verb, err)
			}
		}
	})
}

func TestPortsRestAndAreKept(t *testing.T) {
	in(t, map[string]Service{"shop": service()}, func(w *world) {
		a := w.start("shop")
		port := w.find(a).Ports["http"]
		if port < firstPort || port > lastPort {
			w.t.Fatalf("port %d", port)
		}
		w.kill()
		w.agent()
		settle()
		if got := w.find(a).Ports["http"]; got != port {
			w.t.Errorf("port %d became %d", port, got)
		}
		if err := w.Stop(w.ctx(), a, "x"); err != nil {
			w.t.Fatal(err)
		}
		time.Sleep(time.Second)
		w.gone(a)
		w.ports.next = port
		b := w.start("shop")
		if got := w.find(b).Ports["http"]; got == port {
			w.t.Errorf("port %d was given out again at once", port)
		}
		time.Sleep(portRest)
		w.ports.next = port
		c := w.start("shop")
		if got := w.find(c).Ports["http"]; got != port {
			w.t.Errorf("port %d is not given out again: %d", port, got)
		}
	})
}

func TestPolicyChangesInPlace(t *testing.T) {
	in(t, map[string]Service{"shop": service("readiness")}, func(w *world) {
		id := w.start("shop")
		time.Sleep(time.Minute)
		pid := w.find(id).PID
		s := service("readiness")
		s.Stop.Grace, s.Logs.OnFull = backstay.Duration(77*time.Second), "drop"
		w.services = map[string]Service{"shop": s}
		puts := strings.Count(w.keeper.told(), "put")
		for range 3 {
			if err := w.Apply(w.ctx(), w.services); err != nil {
				w.t.Fatal(err)
			}
			settle()
		}
		spec := w.keeper.slots[id].spec
		if spec.GraceMS != 77_000 || !spec.LogDrop || spec.Argv[0] != "/bin/shop" {
			w.t.Errorf("spec = %+v", spec)
		}
		if n := strings.Count(w.keeper.told(), "put") - puts; n != 1 {
			w.t.Errorf("put %d times", n)
		}
		w.kill()
		w.agent()
		time.Sleep(time.Second)
		if n := strings.Count(w.keeper.told(), "put") - puts; n != 1 || w.find(id).PID != pid {
			w.t.Errorf("the next agent put it again, or it restarted: %d puts", n)
		}
	})
}

func TestDependantsStartAfterAndStopBefore(t *testing.T) {
	web := service("readiness")
	web.DependsOn = map[string]Condition{"db": Ready}
	in(t, map[string]Service{"db": service("readiness"), "web": web}, func(w *world) {
		a := w.start("web")
		w.wants(a, backstay.Waiting, false)
		if v := w.find(a); !slices.Equal(v.WaitsFor, []string{"db"}) {
			w.t.Errorf("%+v", v)
		}
		w.kill()
		w.agent() // what waits goes on waiting
		w.wants(a, backstay.Waiting, false)
		b := w.start("db")
		time.Sleep(5 * time.Second)
		w.wants(a, backstay.Running, true)
		if err := w.StopAll(w.ctx(), "down"); err != nil {
			w.t.Fatal(err)
		}
		w.gone(a)
		w.gone(b)
		wantOrder(w.t, w.keeper.told(), "remove "+a, "signal "+b, "remove "+b)
	})
}

func TestRestartKeepsIDAndPort(t *testing.T) {
	in(t, map[string]Service{"shop": service("readiness")}, func(w *world) {
		id := w.start("shop")
		time.Sleep(time.Second)
		before := w.find(id)
		if err := w.Restart(w.ctx(), id, "restart by root"); err != nil {
			w.t.Fatal(err)
		}
		time.Sleep(time.Second)
		w.wants(id, backstay.Running, true)
		if v := w.find(id); v.PID == before.PID || v.Ports["http"] != before.Ports["http"] || v.Starts != 2 {
			w.t.Errorf("%+v", v)
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

// Bytes of a log that were lost are told, also those that were lost while no
// agent was there.
func TestLostBytesOfALogAreTold(t *testing.T) {
	in(t, map[string]Service{"shop": service()}, func(w *world) {
		w.Feed(keeperwire.Event{Kind: keeperwire.EvLogDropped, ID: "shop-aaaaaa", N: 1234})
		w.Missed(keeperwire.Event{Kind: keeperwire.EvLogDropped, ID: "shop-bbbbbb", N: 7})
		w.Feed(keeperwire.Event{Kind: keeperwire.EvLogDropped, ID: "backstay-proxy", N: 9})
		settle()
		if told := w.events.of(backstay.LogDropped); len(told) != 2 || !strings.Contains(told[0], "1234 bytes") || !strings.Contains(told[1], "7 bytes") {
			w.t.Errorf("%q", told)
		}
	})
}

func TestRolesAreNotOurs(t *testing.T) {
	in(t, map[string]Service{"shop": service()}, func(w *world) {
		w.Resync([]keeperwire.Slot{{ID: "backstay-proxy", State: keeperwire.Running, PID: 7}})
		w.Feed(keeperwire.Event{Kind: keeperwire.EvExited, ID: "backstay-proxy"})
		settle()
		if got := w.Instances(); len(got) != 0 {
			w.t.Errorf("%+v", got)
		}
	})
}

func TestSlotThatTheKeeperLostIsStartedAnew(t *testing.T) {
	in(t, map[string]Service{"shop": service("readiness")}, func(w *world) {
		id := w.start("shop")
		time.Sleep(time.Minute)
		w.keeper.mu.Lock()
		delete(w.keeper.slots, id)
		w.keeper.mu.Unlock()
		w.Resync(w.keeper.listen(w.Feed))
		settle()
		if v := w.find(id); v.Last == nil || v.Last.Known {
			w.t.Errorf("its end is made up: %+v", v.Last)
		}
		time.Sleep(time.Second)
		w.wants(id, backstay.Running, true)
		if v := w.find(id); v.Starts != 2 {
			w.t.Errorf("starts = %d", v.Starts)
		}
	})
}

func TestEventsThatWereLostAreInTheList(t *testing.T) {
	in(t, map[string]Service{"shop": service("readiness")}, func(w *world) {
		id := w.start("shop")
		time.Sleep(time.Minute)
		w.keeper.listen(nil)
		w.keeper.exit(id, 4, 0)
		w.keeper.exit(id, 5, 0)
		w.Resync(w.keeper.listen(w.Feed))
		settle()
		if v := w.find(id); v.Ready || v.Last == nil || v.Last.Code != 5 || w.registry.ready() != nil {
			w.t.Errorf("%+v, ready %v", v, w.registry.ready())
		}
		time.Sleep(time.Second)
		w.wants(id, backstay.Running, true)
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

func TestStopOvertakesAStartThatIsRefused(t *testing.T) {
	in(t, map[string]Service{"shop": service("readiness")}, func(w *world) {
		w.keeper.refuse = map[string]int{"start": 1 << 30}
		id := w.start("shop")
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(w.ctx(), time.Minute)
		defer cancel()
		if err := w.Stop(ctx, id, "scale"); err != nil {
			w.t.Fatal(err)
		}
		time.Sleep(time.Second)
		w.gone(id)
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
		w.wants(id, backstay.Running, true)
		told := w.events.of(backstay.StateChanged)
		if last := told[len(told)-1]; !strings.Contains(last, "while no agent was there: killed by SIGSEGV") {
			w.t.Errorf("told: %v", told)
		}
	})
}

func TestWaitsSayWhatIsWrongWithWhatTheyWaitFor(t *testing.T) {
	web := service("readiness")
	web.DependsOn = map[string]Condition{"db": Ready}
	in(t, map[string]Service{"db": service("readiness"), "web": web}, func(w *world) {
		a, b := w.start("web"), w.start("db")
		w.keeper.behave(b, func(p *program) { p.bad = map[string]string{"readiness": "no disk"} })
		for range 10 {
			settle()
			w.keeper.exit(b, 1, 0)
			time.Sleep(31 * time.Second)
		}
		w.wants(a, backstay.Waiting, false)
		if v := w.find(a); !strings.Contains(v.Because, b+" is failed: ended 10 times") {
			w.t.Errorf("because %q", v.Because)
		}
		if err := w.Stop(w.ctx(), a, "scale"); err != nil { // waiting for what has failed does not wedge a stop
			w.t.Fatal(err)
		}
		time.Sleep(time.Second)
		w.gone(a)
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
