package deploy

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestOfTwoDeploysInOneMillisecondOneRuns(t *testing.T) {
	inHouse(t, func(h *house) {
		h.runs("v1", fine)
		h.wantRelease("v2", 2, fine, nil)
		h.apply()
		h.wantRelease("v3", 3, fine, nil)
		h.apply() // the file changes in the middle: that comes next
		errs := make(chan error, 2)
		for range 2 {
			go func() { _, err := h.Deploy(h.t.Context(), "shop", Ask{}); errs <- err }()
		}
		h.code(<-errs, "deploy_running")
		h.code(<-errs, "deploy_running")
		_, err := h.Restart(h.t.Context(), "shop", "ann")
		h.code(err, "deploy_running")
		h.untilIt("v3", func(d Deploy) bool { return d.To == 3 && d.State == Done })
		h.serve("shop@3 x3")
		if states := h.states(); states != "first done, deploy done, deploy done" {
			t.Error(states)
		}
	})
}

func (h *house) states() string {
	var out []string
	for _, d := range slices.Backward(h.History("shop")) {
		out = append(out, string(d.Kind)+" "+string(d.State))
	}
	return strings.Join(out, ", ")
}

func TestTwoThatAskForTheSameGetTheSameDeploy(t *testing.T) {
	inHouse(t, func(h *house) {
		h.runs("v1", fine)
		h.cannot("v2", errors.New("not yet"))
		h.wantRelease("v2", 2, fine, nil)
		h.apply()
		h.cannot("v2", nil)
		ids := make(chan string, 2)
		for range 2 {
			go func() { d, _ := h.Deploy(h.t.Context(), "shop", Ask{}); ids <- d.ID }()
		}
		if a, b := <-ids, <-ids; a != b || a != "shop-d3" {
			t.Errorf("%s and %s", a, b)
		}
		h.until(Done)
	})
}

func TestScalingInTheMiddle(t *testing.T) {
	for _, to := range []int{0, 1, 5} {
		inHouse(t, func(h *house) {
			h.runs("v1", fine)
			h.wantRelease("v2", 2, fine, nil)
			h.apply()
			h.untilIt("one good", func(d Deploy) bool { return d.Replaced > 0 })
			h.wantRelease("v2", 2, fine, func(w *Want) { w.Replicas = to })
			h.apply()
			h.until(Done)
			want := fmt.Sprintf("shop@2 x%d", to)
			if to == 0 {
				want = ""
			}
			h.serve(want)
		})
	}
}

// A release of which nothing was good when the service was stopped is not in
// force for that: it is judged when the service starts again.
func TestAStopInTheMiddleDecidesNothing(t *testing.T) {
	inHouse(t, func(h *house) {
		h.runs("v1", fine)
		h.wantRelease("v2", 2, diesYoung, func(w *Want) { w.Stopped = true })
		h.apply()
		h.wantRelease("v2", 2, diesYoung, nil)
		h.apply()
		h.untilIt("one there", func(d Deploy) bool { return d.Waits != "" })
		h.wantRelease("v2", 2, diesYoung, func(w *Want) { w.Stopped = true })
		h.apply()
		h.until(Superseded)
		h.serve("")
		_, err := h.Deploy(h.t.Context(), "shop", Ask{})
		h.code(err, "stopped")
		h.wantRelease("v2", 2, diesYoung, nil)
		h.apply()
		h.until(RolledBack)
		h.serve("shop@1 x3")
	})
}

func TestInstancesAreKeptAtWhatIsWanted(t *testing.T) {
	inHouse(t, func(h *house) {
		h.runs("v1", fine)
		h.pool.do(func() { h.pool.w.bodies = h.pool.w.bodies[1:] }) // it is gone, whoever did that
		time.Sleep(5 * time.Second)
		h.serve("shop@1 x3")
		for _, n := range []int{5, 2} {
			h.wantRelease("v1", 1, fine, func(w *Want) { w.Replicas = n })
			h.apply()
			time.Sleep(5 * time.Second)
			h.serve(fmt.Sprintf("shop@1 x%d", n))
		}
		h.wants = map[string]Want{} // removed from the file
		h.apply()
		time.Sleep(5 * time.Second)
		h.serve("")
		_, err := h.Deploy(h.t.Context(), "shop", Ask{})
		h.code(err, "not_found")
		h.runs("v1", fine) // and back
		time.Sleep(5 * time.Second)
		h.serve("shop@1 x3")
		if states := h.states(); states != "first done, first done" {
			t.Error(states)
		}
	})
}

func TestPauseHoldsAndResumeGoesOn(t *testing.T) {
	inHouse(t, func(h *house) {
		h.runs("v1", fine)
		_, err := h.Pause(h.t.Context(), "shop", "ann")
		h.code(err, "no_deploy")
		h.wantRelease("v2", 2, fine, nil)
		h.apply()
		h.untilIt("one good", func(d Deploy) bool { return d.Replaced == 1 })
		if _, err := h.Pause(h.t.Context(), "shop", "ann"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		before := h.seen()
		time.Sleep(time.Hour)
		h.killed()
		time.Sleep(time.Hour)
		if after := h.seen(); after != before {
			t.Errorf("paused, and there is\n%s\ninstead of\n%s", after, before)
		}
		if d, err := h.Resume(h.t.Context(), "shop", "ann"); err != nil || d.State != Rolling {
			t.Fatal(d.State, err)
		}
		_, err = h.Resume(h.t.Context(), "shop", "ann")
		h.code(err, "not_paused")
		h.until(Done)
		h.serve("shop@2 x3")
	})
}

// A proxy that lives and does not acknowledge keeps nothing of the deploy from
// the pool, which waits for it once more.
func TestABalancerThatDoesNotAnswerIsThePoolsToWaitFor(t *testing.T) {
	inHouse(t, func(h *house) {
		h.runs("v1", fine)
		h.pool.do(func() { h.pool.deaf = true })
		h.wantRelease("v2", 2, fine, nil)
		h.apply()
		h.until(Done)
		if !strings.Contains(h.script(), "not acknowledged within 5.0s") {
			t.Error(h.script())
		}
	})
}

func TestADrainThatWasCutShortIsSaid(t *testing.T) {
	inHouse(t, func(h *house) {
		h.runs("v1", fine)
		h.pool.do(func() { h.pool.stubborn = 3 })
		h.wantRelease("v2", 2, fine, nil)
		h.apply()
		h.until(Done)
		if n := strings.Count(h.script(), "9 → 3 in flight, stopped"); n != 3 {
			t.Errorf("said %d times\n%s", n, h.script())
		}
	})
}

// A first release that does not come up is mended by the next apply, at once.
func TestABrokenFirstReleaseIsMendedWithoutWaiting(t *testing.T) {
	inHouse(t, func(h *house) {
		h.wantRelease("v1", 1, diesAtOnce, nil)
		h.apply()
		time.Sleep(2 * time.Second)
		h.wantRelease("v2", 2, fine, nil)
		h.apply()
		h.until(Done)
		h.serve("shop@2 x3")
		if states := h.states(); states != "first superseded, first done" {
			t.Error(states)
		}
		if _, err := h.Rollback(h.t.Context(), "shop", 0, "ann"); err == nil {
			t.Error("goes back to what was never good")
		}
	})
}
