package deploy

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay"
)

// asks has somebody ask for a version, as deploy --version does.
func (h *house) asks(by, version string, seq int, ask Ask) (Deploy, error) {
	before := h.wants["shop"]
	ask.By, ask.Why = by, "deploy --version "+version
	h.wantRelease(version, seq, fine, nil)
	if err := h.Change(h.t.Context(), h.wants, "shop", ask); err != nil {
		h.wants["shop"] = before
		return Deploy{}, err
	}
	return h.Deploy(h.t.Context(), "shop", ask)
}

// Who asks for the release in force while somebody else's deploy goes away from
// it is refused as with any other release; nothing of it is wanted afterwards.
func TestAskingForTheReleaseInForceUndoesNobodysDeploy(t *testing.T) {
	inHouse(t, func(h *house) {
		h.runs("v1", fine)
		if _, err := h.asks("ann", "v2", 2, Ask{}); err != nil {
			t.Fatal(err)
		}
		h.untilIt("one good", func(d Deploy) bool { return d.Replaced > 0 })
		for _, version := range []string{"v1", "v3"} {
			_, err := h.asks("bob", version, 3, Ask{})
			h.code(err, "deploy_running")
		}
		if d := h.until(Done); d.To != 2 || d.Reason != "" {
			t.Errorf("to %d: %s", d.To, d.Reason)
		}
		time.Sleep(time.Minute)
		h.serve("shop@2 x3")
		if _, err := h.asks("bob", "v1", 1, Ask{}); err != nil { // it is his turn
			t.Fatal(err)
		}
		h.untilIt("v1", func(d Deploy) bool { return d.To == 1 && d.State == Done })
	})
}

// With supersede the other one is undone, and its report says by whom.
func TestASupersededDeploySaysWhoUndidIt(t *testing.T) {
	inHouse(t, func(h *house) {
		h.runs("v1", fine)
		if _, err := h.asks("ann", "v2", 2, Ask{}); err != nil {
			t.Fatal(err)
		}
		h.untilIt("one good", func(d Deploy) bool { return d.Replaced > 0 })
		d, err := h.asks("bob", "v1", 1, Ask{Supersede: true})
		if err != nil || d.State != RollingBack || d.Reason != "deploy --version v1 by bob" {
			t.Fatalf("%s: %s, %v", d.State, d.Reason, err)
		}
		h.until(RolledBack)
		h.serve("shop@1 x3")
		h.wantRelease("v2", 2, fine, nil) // nothing was wrong with it
		h.apply()
		h.until(Done)
	})
}

// A first release of which nothing good has come is not waited for, nor is a
// deploy that is on its way to what is asked for.
func TestWhatIsNotInTheWayIsNotWaitedFor(t *testing.T) {
	inHouse(t, func(h *house) {
		h.wantRelease("v1", 1, never, nil)
		h.apply()
		if d, err := h.asks("ann", "v2", 2, Ask{}); err != nil || d.To != 2 {
			t.Fatal(d.To, err)
		}
		h.until(Done)
		if _, err := h.asks("ann", "v3", 3, Ask{}); err != nil {
			t.Fatal(err)
		}
		if d, err := h.asks("bob", "v3", 3, Ask{}); err != nil || d.To != 3 {
			t.Fatal(d.To, err)
		}
		if _, err := h.Abort(h.t.Context(), "shop", "ann"); err != nil {
			t.Fatal(err)
		}
		if d, err := h.asks("bob", "v2", 2, Ask{}); err != nil || d.State != RollingBack {
			t.Fatal(d.State, err)
		}
		h.until(RolledBack)
		h.serve("shop@2 x3")
	})
}

// What a refusal says to do can be done: a restart and a rollback wait for
// nothing, and take nobody's place.
func TestARefusalNamesWhatThereIs(t *testing.T) {
	inHouse(t, func(h *house) {
		h.runs("v1", fine)
		h.wantRelease("v2", 2, fine, nil)
		h.apply()
		_, restart := h.Restart(h.t.Context(), "shop", "ann")
		_, rollback := h.Rollback(h.t.Context(), "shop", 7, "ann")
		_, deploy := h.asks("ann", "v3", 3, Ask{})
		for verb, err := range map[string]error{"restart": restart, "rollback": rollback, "deploy": deploy} {
			h.code(err, "deploy_running")
			p := new(backstay.Problem)
			if errors.As(err, &p); strings.Contains(p.Do, "--wait 15m") != (verb == "deploy") || !strings.Contains(p.Do, "backstay abort shop") {
				t.Errorf("%s: %s", verb, p.Do)
			}
		}
		h.until(Done)
	})
}

// The event of a deploy that something came in between is by whoever that was.
func TestASupersededDeployIsNotEndedByWhoBeganIt(t *testing.T) {
	for by, cut := range map[string]func(h *house){
		"bob": func(h *house) {
			h.wantRelease("v2", 2, never, func(w *Want) { w.Stopped, w.StoppedBy = true, "bob" })
			h.apply()
		},
		"cyd": func(h *house) {
			if _, err := h.asks("cyd", "v3", 3, Ask{Supersede: true}); err != nil {
				h.t.Fatal(err)
			}
		},
		"deploy": func(h *house) {
			delete(h.wants, "shop")
			h.apply()
		},
	} {
		inHouse(t, func(h *house) {
			h.runs("v1", fine)
			h.wantRelease("v2", 2, never, nil)
			h.apply()
			cut(h)
			h.untilIt("superseded", func(Deploy) bool { return h.said.last(Superseded) != nil })
			if d := h.History("shop")[1]; by == "cyd" && d.Reason != "by shop-d3 (deploy --version v3 by cyd)" {
				t.Errorf("%s: %s", d.State, d.Reason)
			}
			if e := h.said.last(Superseded); e.Actor != by {
				t.Errorf("superseded by %q, want %s: %s", e.Actor, by, e.Because)
			}
		})
	}
}

// Scaling up while nothing of a new release has been good gets instances of the
// one that is known to be: at once, paused or not, and within surge.
func TestScalingUpRestsOnWhatIsKnownToBeGood(t *testing.T) {
	for name, p := range map[string]program{"slow": {ready: time.Hour}, "paused": fine} {
		inHouse(t, func(h *house) {
			h.runs("v1", fine)
			h.wantRelease("v2", 2, p, nil)
			h.apply()
			if name == "paused" {
				if _, err := h.Pause(h.t.Context(), "shop", "ann"); err != nil {
					t.Fatal(err)
				}
			}
			h.wantRelease("v2", 2, p, func(w *Want) { w.Replicas = 6 })
			h.apply()
			of := func() (old, fresh int) {
				for _, i := range h.pool.Instances() {
					if i.Release == "shop@1" && i.Ready {
						old++
					} else {
						fresh++
					}
				}
				return old, fresh
			}
			time.Sleep(5 * time.Second)
			if old, fresh := of(); old != 6 || fresh != 1 {
				t.Errorf("%s: %d of the old release are ready, and %d others there; want 6 and 1\n%s", name, old, fresh, h.script())
			}
			if name == "paused" {
				if _, err := h.Resume(h.t.Context(), "shop", "ann"); err != nil {
					t.Fatal(err)
				}
				h.until(Done)
				h.serve("shop@2 x6")
				return
			}
			h.until(RolledBack)
			h.serve("shop@1 x6")
		})
	}
}

// In the middle of a paused deploy good ones of both releases count.
func TestScalingUpAPausedDeployCountsWhatIsGood(t *testing.T) {
	inHouse(t, func(h *house) {
		h.runs("v1", fine)
		h.wantRelease("v2", 2, fine, nil)
		h.apply()
		h.untilIt("two good", func(d Deploy) bool { return d.Replaced == 2 })
		if _, err := h.Pause(h.t.Context(), "shop", "ann"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		was := h.pool.kinds()
		h.wantRelease("v2", 2, fine, func(w *Want) { w.Replicas = 5 })
		h.apply()
		time.Sleep(10 * time.Second)
		is := h.pool.kinds()
		t.Log(was, "then", is)
		var old, fresh int
		if _, err := fmt.Sscanf(is, "shop@1 x%d, shop@2 x%d", &old, &fresh); err != nil || old+fresh < 5 || fresh > 3 {
			t.Errorf("%s, was %s", is, was)
		}
		if _, err := h.Resume(h.t.Context(), "shop", "ann"); err != nil {
			t.Fatal(err)
		}
		h.until(Done)
		h.serve("shop@2 x5")
	})
}
