package deploy

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestARolledBackReleaseIsNotTriedAgainByItself(t *testing.T) {
	inHouse(t, func(h *house) {
		h.runs("v1", fine)
		h.rollsUntil(diesYoung, RolledBack)
		h.apply()
		h.killed()
		time.Sleep(time.Hour)
		if n := len(h.History("shop")); n != 2 {
			t.Fatalf("%d deploys\n%s", n, h.script())
		}
		h.serve("shop@1 x3")
		st, _ := h.Standing("shop")
		if st.Current != "shop@1" || st.Wanted != "shop@2" || !strings.Contains(st.Because, "exited 3") {
			t.Errorf("%+v", st)
		}
		_, err := h.Deploy(h.t.Context(), "shop", Ask{By: "ann"})
		h.code(err, "release_rolled_back")
		h.pool.do(func() { h.pool.w.programs[2] = fine }) // the database is back
		if d, err := h.Deploy(h.t.Context(), "shop", Ask{By: "ann", Again: true}); err != nil || d.To != 2 {
			t.Fatal(d, err)
		}
		h.until(Done)
		h.serve("shop@2 x3")
	})
}

// A rollback by hand is a wish as well: the file that still wants the release is
// not put in force again by a SIGHUP.
func TestARollbackByHandStays(t *testing.T) {
	inHouse(t, func(h *house) {
		h.runs("v1", fine)
		for n, v := range []string{"v2", "v3"} {
			h.wantRelease(v, n+2, fine, nil)
			h.apply()
			h.untilIt(v, func(d Deploy) bool { return d.State == Done && d.To == n+2 })
		}
		for _, to := range []int{2, 1} { // each time to the last good one before
			if d, err := h.Rollback(h.t.Context(), "shop", 0, "ann"); err != nil || d.To != to {
				t.Fatal(d.To, err)
			}
			h.untilIt("back", func(d Deploy) bool { return d.To == to && d.State == Done })
			h.killed()
			time.Sleep(time.Minute)
			h.serve(fmt.Sprintf("shop@%d x3", to))
		}
		_, err := h.Rollback(h.t.Context(), "shop", 0, "ann")
		h.code(err, "nothing_to_roll_back")
		_, err = h.Rollback(h.t.Context(), "shop", 9, "ann")
		h.code(err, "release_unknown")
		if d, err := h.Rollback(h.t.Context(), "shop", 3, "ann"); err != nil || d.To != 3 {
			t.Error(d, err)
		}
		h.untilIt("forth", func(d Deploy) bool { return d.To == 3 && d.State == Done })
		h.serve("shop@3 x3")
	})
}

func TestWhatCannotBeStartedChangesNothing(t *testing.T) {
	inHouse(t, func(h *house) {
		h.runs("v1", fine)
		before := h.seen()
		gone := errors.New("/srv/app/v2/shop: no such file or directory")

		h.cannot("v2", gone) // the binary of the new release is missing
		h.rolls(fine)
		_, err := h.Deploy(h.t.Context(), "shop", Ask{})
		h.code(err, "release_not_startable")
		if d := h.until(Refused); !strings.Contains(d.Reason, gone.Error()) {
			t.Error(d.Reason)
		}

		h.cannot("v2", nil)
		h.cannot("v1", gone) // that of the old one is
		_, err = h.Deploy(h.t.Context(), "shop", Ask{})
		h.code(err, "rollback_not_startable")
		h.apply()
		h.apply()
		if n := len(h.History("shop")); n != 3 {
			t.Errorf("%d deploys, want the first and two refusals", n)
		}
		time.Sleep(time.Minute)
		if after := h.seen(); after != before {
			t.Errorf("something has changed:\n%s\nwas\n%s", after, before)
		}

		// With on_failure: pause nothing goes back by itself, so nothing must be there.
		h.wantRelease("v2", 2, diesYoung, func(w *Want) { w.Config.OnFailure = "pause" })
		h.apply()
		h.until(Paused)
		_, err = h.Abort(h.t.Context(), "shop", "ann")
		h.code(err, "rollback_not_startable")
		h.serve("shop@1 x3")
	})
}

// What was refused and is wanted no more leaves no release, on disk or to see;
// what the file wants all the same is told, also by the agent after this one.
// Deploys that have been are not pushed out of history by refusals.
func TestARefusedDeployLeavesNoRelease(t *testing.T) {
	inHouse(t, func(h *house) {
		h.runs("v1", fine)
		h.cannot("v1", errors.New("overwritten"))
		releases := func() (seqs []int) {
			for _, r := range h.Releases("shop") {
				seqs = append(seqs, r.Seq)
			}
			return seqs
		}
		for range maxHistory {
			before := h.wants["shop"]
			h.wantRelease("v2", 0, fine, nil)
			h.apply()
			_, err := h.Deploy(h.t.Context(), "shop", Ask{By: "ann"})
			h.code(err, "rollback_not_startable")
			h.killed() // wanted still: it is kept
			if got := releases(); len(got) != 2 {
				t.Fatalf("wanted and refused: releases %v", got)
			}
			if st, _ := h.Standing("shop"); st.Wanted == st.Current || !strings.Contains(st.Because, "overwritten") {
				t.Fatalf("%+v", st)
			}
			h.wants["shop"] = before
			h.apply()
			if got := releases(); !slices.Equal(got, []int{1}) {
				t.Fatalf("wanted no more: releases %v", got)
			}
		}
		if on, _ := filepath.Glob(filepath.Join(h.dir, "releases", "shop", "*.json")); len(on) != 1 {
			t.Errorf("on disk: %q", on)
		}
		if states := h.states(); states != "first done, deploy refused" {
			t.Error(states)
		}
		next := maxHistory + 2 // no number stands for two releases
		h.cannot("v1", nil)
		h.wantRelease("v3", next, fine, nil)
		h.apply()
		h.untilIt("v3", func(d Deploy) bool { return d.To == next && d.State == Done })
		h.serve(fmt.Sprintf("shop@%d x3", next))
	})
}

// A release whose turn never came, because the file changed again, was never
// there.
func TestAReleaseWhoseTurnNeverCameIsForgotten(t *testing.T) {
	inHouse(t, func(h *house) {
		h.runs("v1", fine)
		for seq, v := range []string{2: "v2", 3: "v3", 4: "v4"} {
			if v != "" {
				h.wantRelease(v, seq, fine, nil)
				h.apply()
			}
		}
		h.killed()
		h.untilIt("v4", func(d Deploy) bool { return d.To == 4 && d.State == Done })
		for _, r := range h.Releases("shop") {
			if r.Seq == 3 {
				t.Errorf("%+v", r)
			}
		}
	})
}

func TestARollbackWithoutItsProgramIsRefusedAtOnce(t *testing.T) {
	inHouse(t, func(h *house) {
		h.runs("v1", fine)
		h.rollsUntil(fine, Done)
		before := h.seen()
		h.cannot("v1", errors.New("overwritten"))
		_, err := h.Rollback(h.t.Context(), "shop", 0, "ann")
		h.code(err, "rollback_not_startable")
		time.Sleep(time.Minute)
		if after := h.seen(); after != before {
			t.Errorf("something has changed:\n%s\nwas\n%s", after, before)
		}
	})
}

// An old release that is ill and whose program is gone is no reason to keep the
// release that mends it out.
func TestAFixIsNotRefusedForTheIllReleaseItReplaces(t *testing.T) {
	inHouse(t, func(h *house) {
		h.runs("v1", fine)
		h.pool.do(func() {
			for _, b := range h.pool.w.bodies {
				b.program, b.Ready = never, false
			}
		})
		time.Sleep(time.Second)
		h.cannot("v1", errors.New("no such file or directory"))
		h.rollsUntil(fine, Done)
		h.serve("shop@2 x3")
	})
}

func TestAFileThatGoesBackAbortsTheDeploy(t *testing.T) {
	inHouse(t, func(h *house) {
		h.runs("v1", fine)
		h.rolls(fine)
		h.untilIt("one good", func(d Deploy) bool { return d.Replaced > 0 })
		h.wantRelease("v1", 1, fine, nil)
		h.apply()
		h.until(RolledBack)
		h.serve("shop@1 x3")
		h.rollsUntil(fine, Done) // nothing was wrong with it
		h.serve("shop@2 x3")
	})
}

// Traffic leaves in the moment of the wish, before anything is stopped.
func TestAbortMovesTrafficFirstAndAtOnce(t *testing.T) {
	inHouse(t, func(h *house) {
		h.runs("v1", fine)
		h.rolls(fine)
		h.untilIt("two good", func(d Deploy) bool { return d.Replaced == 2 })
		var before int
		h.pool.do(func() { before = len(h.pool.tape) })
		began := time.Now()
		if _, err := h.Abort(h.t.Context(), "shop", "ann"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		h.pool.do(func() {
			first := h.pool.tape[before]
			if !strings.HasPrefix(first, "withdraw shop-") && !strings.HasPrefix(first, "start") {
				t.Errorf("first: %s", first)
			}
			if h.pool.w.serving(2) != 0 || h.pool.w.serving(1) == 0 || time.Since(began) > 0 {
				t.Errorf("after %v %d of the new release take traffic", time.Since(began), h.pool.w.serving(2))
			}
		})
		h.until(RolledBack)
		h.serve("shop@1 x3")
		_, err := h.Abort(h.t.Context(), "shop", "ann")
		h.code(err, "no_deploy")
	})
}

// Asking for the release that a deploy goes back to anyway is no second deploy.
func TestAskingForWhereItGoesBackAnyway(t *testing.T) {
	inHouse(t, func(h *house) {
		h.runs("v1", fine)
		h.rolls(fine)
		h.untilIt("one good", func(d Deploy) bool { return d.Replaced > 0 })
		h.wantRelease("v1", 1, fine, nil)
		h.apply()
		d, err := h.Deploy(h.t.Context(), "shop", Ask{By: "bob"})
		if err != nil || d.ID != "shop-d2" || d.State != RollingBack {
			t.Errorf("%s %s, %v", d.ID, d.State, err)
		}
		h.until(RolledBack)
		h.serve("shop@1 x3")
	})
}

// A release whose instances live a little longer than min_ready, and end again
// and again, is not waited for until the deadline.
func TestAReleaseThatIsGoodByChanceGoesBack(t *testing.T) {
	inHouse(t, func(h *house) {
		h.runs("v1", fine)
		began := time.Now()
		h.rollsUntil(program{ready: 500 * time.Millisecond, dies: 2200 * time.Millisecond}, RolledBack)
		h.serve("shop@1 x3")
		d, _ := h.Status("shop")
		if !strings.Contains(d.Reason, "it was good, and has ended 2 times since") {
			t.Errorf("because %q", d.Reason)
		}
		if took := d.Ended.Sub(began); took > 20*time.Second { // of the clock of the bubble
			t.Errorf("it took %v", took)
		}
	})
}
