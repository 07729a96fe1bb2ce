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
