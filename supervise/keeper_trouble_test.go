package supervise

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/internal/keeperwire"
)

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
