package supervise

import (
	"testing"
	"time"

	"github.com/backstay/backstay"
)

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
