package supervise

import (
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
