package deploy

import (
	"context"
	"errors"
	"testing"
	"time"
)

// decidedAs follows what is wanted now until it is decided, as apply does.
func (h *house) decidedAs(seq int, after string) Outcome {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), time.Hour)
	defer cancel()
	for ctx.Err() == nil {
		o := h.Outcome(ctx, "shop", seq, after)
		if o.What != "" {
			return o
		}
		lines, err := h.Watch(ctx, "shop", o.Deploy.ID, 0)
		if err != nil {
			h.t.Fatal(err)
		}
		for range lines {
		}
	}
	h.t.Fatalf("never decided\n%s", h.script())
	return Outcome{}
}

// rolling has v2 roll over v1.
func (h *house) rolling() {
	h.runs("v1", fine)
	h.wantRelease("v2", 2, fine, nil)
	h.apply()
}

// What is applied while another deploy runs is decided by its own deploy, which
// follows, and not by the one that runs.
func TestAWantIsDecidedByItsOwnDeploy(t *testing.T) {
	refuse := func(h *house) { h.cannot("v3", context.Canceled) }
	none := func(*house) {}
	for name, c := range map[string]struct {
		program program
		then    func(h *house) // once it is wanted
		want    What
		serves  string
	}{
		"good":     {fine, none, InForce, "shop@3 x3"},
		"bad":      {diesYoung, none, Undone, "shop@2 x3"},
		"refused":  {fine, refuse, NotBegun, "shop@2 x3"},
		"stopped":  {fine, func(h *house) { h.wantRelease("v3", 3, fine, func(w *Want) { w.Stopped = true }); h.apply() }, NotRunning, ""},
		"newer":    {fine, func(h *house) { h.wantRelease("v4", 4, fine, nil); h.apply() }, Overtaken, ""},
		"gone":     {fine, func(h *house) { clear(h.wants); h.apply() }, Overtaken, ""},
		"killed":   {diesYoung, func(h *house) { h.killed() }, Undone, "shop@2 x3"},
		"goes on":  {fine, func(h *house) { time.Sleep(time.Minute) }, InForce, "shop@3 x3"},
		"paused":   {fine, func(h *house) { _, _ = h.Pause(h.t.Context(), "shop", "ann") }, Waits, ""},
		"resolved": {fine, func(h *house) { _, _ = h.Abort(h.t.Context(), "shop", "ann") }, InForce, "shop@3 x3"},
	} {
		t.Run(name, func(t *testing.T) {
			inHouse(t, func(h *house) {
				h.rolling()
				h.wantRelease("v3", 3, c.program, nil)
				h.apply()
				seq, after := h.Wanted("shop")
				if d, _ := h.Status("shop"); seq != 3 || d.To != 2 || !d.Live() || after == d.ID {
					t.Fatalf("release %d is wanted, %+v", seq, d)
				}
				c.then(h)
				if o := h.decidedAs(seq, after); o.What != c.want || (c.want != InForce && c.want != NotRunning && o.Why == "" && o.Deploy.Reason == "") {
					t.Errorf("%s (%s), want %s\n%s", o.What, o.Why, c.want, h.script())
				}
				if c.serves != "" {
					h.serve(c.serves)
				}
			})
		})
	}
}

// A release that is gone away from by hand is not tried again by itself, and who
// wants it just then is told.
func TestAWantDuringARollbackByHand(t *testing.T) {
	inHouse(t, func(h *house) {
		h.rolling()
		h.until(Done)
		if _, err := h.Rollback(h.t.Context(), "shop", 0, "ann"); err != nil {
			t.Fatal(err)
		}
		h.apply()
		seq, after := h.Wanted("shop")
		if o := h.decidedAs(seq, after); seq != 2 || o.What != NotTried || o.Why != "rolled back by ann" {
			t.Errorf("release %d: %+v", seq, o)
		}
		h.serve("shop@1 x3")
	})
}

// A file that goes back to the release before has the deploy undone that runs:
// that is what it wants.
func TestAWantOfTheReleaseBefore(t *testing.T) {
	inHouse(t, func(h *house) {
		h.rolling()
		h.wantRelease("v1", 1, fine, nil)
		h.apply()
		seq, after := h.Wanted("shop")
		if o := h.decidedAs(seq, after); seq != 1 || o.What != InForce {
			t.Errorf("release %d: %+v", seq, o)
		}
		h.serve("shop@1 x3")
	})
}

// What was decided before is said at once, and who runs what is wanted waits for
// no restart.
func TestAWantThatIsDecidedAlready(t *testing.T) {
	inHouse(t, func(h *house) {
		h.runs("v1", fine)
		seq, after := h.Wanted("shop")
		if o := h.Outcome(t.Context(), "shop", seq, after); o.What != InForce || o.Deploy.ID != "" {
			t.Errorf("%+v", o)
		}
		if _, err := h.Restart(h.t.Context(), "shop", "ann"); err != nil {
			t.Fatal(err)
		}
		if o := h.Outcome(t.Context(), "shop", seq, after); o.What != InForce {
			t.Errorf("%+v", o)
		}
		h.until(Done)
		h.wantRelease("v2", 2, diesYoung, nil)
		h.apply()
		h.until(RolledBack)
		h.apply()
		seq, after = h.Wanted("shop")
		if o := h.Outcome(t.Context(), "shop", seq, after); o.What != NotTried {
			t.Errorf("%+v", o)
		}
	})
}

// A service that comes back into the file begins anew: its release is in force
// when its instances serve, and not because it was when the service left.
func TestAServiceThatComesBackServesBeforeItIsInForce(t *testing.T) {
	for name, then := range map[string]func(*house){
		"at once":          func(*house) {},
		"once it is gone":  func(*house) { time.Sleep(time.Minute) },
		"to another agent": func(h *house) { h.killed() },
		"gone, to another": func(h *house) { time.Sleep(time.Minute); h.killed() },
	} {
		t.Run(name, func(t *testing.T) {
			inHouse(t, func(h *house) {
				h.runs("v1", fine)
				clear(h.wants)
				h.apply()
				then(h)
				h.wantRelease("v1", 1, fine, nil)
				h.apply()
				seq, after := h.Wanted("shop")
				if o := h.decidedAs(seq, after); o.What != InForce || o.Deploy.Kind != First {
					t.Fatalf("%+v", o)
				}
				h.serve("shop@1 x3")
				if r := h.Releases("shop"); len(r) != 1 || !r[0].Current {
					t.Errorf("%+v", r)
				}
			})
		})
	}
}

// A service that comes back with a release that fails is not taken back to one
// that nobody has asked for since it left.
func TestAServiceThatComesBackBrokenIsStuck(t *testing.T) {
	inHouse(t, func(h *house) {
		h.runs("v1", fine)
		clear(h.wants)
		h.apply()
		time.Sleep(time.Minute)
		h.wantRelease("v2", 2, diesYoung, nil)
		h.apply()
		seq, after := h.Wanted("shop")
		if o := h.decidedAs(seq, after); o.What != Unhealed {
			t.Fatalf("%+v", o)
		}
		if states := h.states(); states != "first done, first stuck" {
			t.Error(states)
		}
	})
}

// Why instances that are wanted cannot be started is seen as long as that is so.
func TestWhatCannotBeStartedIsSeen(t *testing.T) {
	inHouse(t, func(h *house) {
		h.runs("v1", fine)
		h.pool.do(func() { h.pool.noStart = errors.New("there is no secret token") })
		h.wantRelease("v1", 1, fine, func(w *Want) { w.Replicas = 5 })
		h.apply()
		time.Sleep(5 * time.Second)
		if st, _ := h.Standing("shop"); st.NoStart != "there is no secret token" {
			t.Errorf("%+v", st)
		}
		h.wantRelease("v1", 1, fine, nil)
		h.apply()
		time.Sleep(time.Second)
		if st, _ := h.Standing("shop"); st.NoStart != "" {
			t.Errorf("none is wanted any more: %+v", st)
		}
		h.wantRelease("v1", 1, fine, func(w *Want) { w.Replicas = 5 })
		h.apply()
		time.Sleep(5 * time.Second)
		h.pool.do(func() { h.pool.noStart = nil })
		time.Sleep(time.Minute)
		h.serve("shop@1 x5")
		if st, _ := h.Standing("shop"); st.NoStart != "" {
			t.Errorf("all are there: %+v", st)
		}
	})
}
