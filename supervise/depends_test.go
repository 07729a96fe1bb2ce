package supervise

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay"
)

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

// The new name of a service with a fixed port is not started while the old one
// still has the port: it could not listen, and its probes would ask the old one.
func TestAFixedPortIsWaitedFor(t *testing.T) {
	two, three := service("readiness"), service("readiness")
	in(t, map[string]Service{"two": two, "three": three}, func(w *world) {
		for _, name := range []string{"two", "three"} {
			rel := w.releases[name+"@1"]
			rel.Ports = map[string]backstay.Port{"http": {Number: 7001}}
			w.releases[rel.ID()] = rel
		}
		old := w.start("two")
		time.Sleep(5 * time.Second)
		w.wants(old, backstay.Running, true)
		next := w.start("three")
		w.wants(next, backstay.Waiting, false)
		if v := w.find(next); !strings.Contains(v.Because, "port 7001, which "+old+" (running) has") {
			w.t.Errorf("because %q", v.Because)
		}
		w.keeper.behave(old, func(p *program) { p.deaf = true })
		if err := w.Stop(w.ctx(), old, "not in the file"); err != nil {
			w.t.Fatal(err)
		}
		w.wants(next, backstay.Waiting, false)
		time.Sleep(time.Minute)
		w.gone(old)
		w.wants(next, backstay.Running, true)
	})
}
