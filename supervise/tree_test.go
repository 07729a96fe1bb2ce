package supervise

import (
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/internal/keeperwire"
)

// TestStopIsOverWhenTheTreeIs has a main process that ends at once, and a child
// of it that does not: whoever waits for the stop waits for the child.
func TestStopIsOverWhenTheTreeIs(t *testing.T) {
	for name, meanwhile := range map[string]func(w *world){
		"by the agent that was asked": func(*world) {},
		"by the next agent":           func(w *world) { w.kill(); w.agent() },
		"by the next run of the same": func(w *world) { w.again() },
		"when events are lost":        func(w *world) { w.keeper.listen(nil); time.Sleep(10 * time.Second); w.Resync(w.keeper.listen(w.Feed)) },
		"when the list comes before":  func(w *world) { w.Resync(w.keeper.listen(w.Feed)) },
	} {
		t.Run(name, func(t *testing.T) {
			s := service()
			s.Stop.Drain, s.Stop.DrainLong, s.Stop.Grace = 0, 0, backstay.Duration(4*time.Second)
			in(t, map[string]Service{"shop": s}, func(w *world) {
				id := w.start("shop")
				time.Sleep(2 * time.Second)
				w.keeper.behave(id, func(p *program) { p.child = time.Hour })
				down := make(chan error, 1)
				go func() { down <- w.StopAll(w.ctx(), "down") }()
				time.Sleep(time.Second)
				w.wants(id, backstay.Stopping, false)
				if v := w.find(id); v.PID != 0 || !strings.Contains(v.Because, "its tree is not empty") || v.Last == nil {
					t.Errorf("a second after the signal: %+v", v)
				}
				select {
				case err := <-down:
					t.Errorf("down is over, and a process is there: %v", err)
				default:
				}
				old := w.Supervisor
				meanwhile(w)
				if slot, _ := w.keeper.slot(id); slot.State == keeperwire.Stopping {
					w.wants(id, backstay.Stopping, false)
				}
				time.Sleep(5 * time.Second)
				w.gone(id)
				if strings.Contains(w.keeper.told(), "run "+id+" 2") {
					t.Errorf("it was begun anew:\n%s", w.keeper.told())
				}
				if old == w.Supervisor {
					if err := <-down; err != nil {
						t.Error(err)
					}
				}
			})
		})
	}
}

// TestJobIsDoneWhenItsTreeIs is the same for one that ends as it should: who
// depends on it begins when nothing of it is left.
func TestJobIsDoneWhenItsTreeIs(t *testing.T) {
	job, shop := service(), service()
	job.Restart.Policy = "on_failure"
	shop.DependsOn = map[string]Condition{"job": Completed}
	in(t, map[string]Service{"job": job, "shop": shop}, func(w *world) {
		id, web := w.start("job"), w.start("shop")
		time.Sleep(2 * time.Second)
		w.keeper.behave(id, func(p *program) { p.child = time.Hour })
		w.keeper.exit(id, 0, 0)
		w.wants(id, backstay.Running, false)
		w.wants(web, backstay.Waiting, false)
		time.Sleep(time.Millisecond) // the keeper has killed what was left
		w.wants(id, backstay.Completed, false)
		if v := w.find(web); v.Starts != 1 {
			t.Errorf("the dependant: %+v", v)
		}
	})
}
