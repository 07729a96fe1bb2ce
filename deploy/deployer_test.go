package deploy

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay/backstay"
)

var update = flag.Bool("update", false, "write the transcripts anew")

// TestTranscripts plays deploys and compares what they told with testdata.
func TestTranscripts(t *testing.T) {
	for name, play := range map[string]func(h *house){
		"rolling": func(h *house) {
			h.wantRelease("v2", 2, fine, nil)
			h.apply()
			h.until(Done)
		},
		"dies-young": func(h *house) {
			h.wantRelease("v2", 2, diesYoung, nil)
			h.apply()
			h.until(RolledBack)
		},
		"never-ready": func(h *house) {
			h.wantRelease("v2", 2, never, nil)
			h.apply()
			h.until(RolledBack)
		},
		"flaps": func(h *house) {
			h.wantRelease("v2", 2, flaps, nil)
			h.apply()
			h.until(RolledBack)
		},
		"third-flakes-once": func(h *house) {
			h.wantRelease("v2", 2, flakeOnce, nil)
			h.apply()
			h.until(Done)
		},
		"third-flakes-twice": func(h *house) {
			h.wantRelease("v2", 2, flakeMore, nil)
			h.apply()
			h.until(RolledBack)
		},
		"both-ill": func(h *house) {
			h.pool.do(func() {
				for _, b := range h.pool.w.bodies {
					b.program = never
					b.Ready = false
				}
				h.pool.w.programs[1] = never
			})
			h.wantRelease("v2", 2, diesAtOnce, nil)
			h.apply()
			h.until(Stuck)
		},
		"recreate": func(h *house) {
			h.wantRelease("v2", 2, fine, func(w *Want) { w.Config.Strategy = "recreate" })
			h.apply()
			h.until(Done)
		},
		"restart": func(h *house) {
			_, _ = h.Restart(h.t.Context(), "shop", "ann")
			h.until(Done)
		},
		"abort": func(h *house) {
			h.wantRelease("v2", 2, fine, nil)
			h.apply()
			h.untilIt("one good", func(d Deploy) bool { return d.Replaced == 1 })
			_, _ = h.Abort(h.t.Context(), "shop", "ann")
			h.until(RolledBack)
		},
		"rollback": func(h *house) {
			h.wantRelease("v2", 2, fine, nil)
			h.apply()
			h.until(Done)
			_, _ = h.Rollback(h.t.Context(), "shop", 0, "ann")
			h.untilIt("back", func(d Deploy) bool { return d.Kind == Rollback && d.State == Done })
		},
		"pause": func(h *house) {
			h.wantRelease("v2", 2, diesYoung, func(w *Want) { w.Config.OnFailure = "pause" })
			h.apply()
			h.until(Paused)
			_, _ = h.Abort(h.t.Context(), "shop", "ann")
			h.until(RolledBack)
		},
		"supersede-in-mid-drain": func(h *house) {
			h.pool.do(func() { h.pool.w.drain = 10 * time.Second })
			h.wantRelease("v2", 2, fine, nil)
			h.apply()
			h.untilIt("draining", func(d Deploy) bool { return d.Leaving > 0 })
			h.wantRelease("v3", 3, fine, nil)
			h.apply()
			_, _ = h.Deploy(h.t.Context(), "shop", Ask{Supersede: true, By: "bob"})
			h.until(Done)
		},
		"no-port-free": func(h *house) {
			h.pool.do(func() { h.pool.noStart = errors.New("no port from 20000 to 29999 is free") })
			h.wantRelease("v2", 2, fine, nil)
			h.apply()
			h.until(RolledBack)
		},
	} {
		t.Run(name, func(t *testing.T) {
			inHouse(t, func(h *house) {
				h.runs("v1", fine)
				play(h)
				golden(t, name, h.script())
			})
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || got != string(want) {
		t.Errorf("got (%v)\n%s\nRead the difference; if it is right, run with -update.", err, got)
	}
}

// Wherever the agent is killed, the next one goes on: nothing is started twice,
// nothing is left, and no rule is broken.
func TestAnAgentKilledAnywhereGoesOn(t *testing.T) {
	for name, c := range map[string]struct {
		p    program
		ends State
		with string
	}{
		"good": {fine, Done, "shop@2 x3"},
		"bad":  {diesYoung, RolledBack, "shop@1 x3"},
	} {
		t.Run(name, func(t *testing.T) {
			for at := time.Duration(0); at < 13*time.Second; at += 350 * time.Millisecond {
				inHouse(t, func(h *house) {
					h.runs("v1", fine)
					h.wantRelease("v2", 2, c.p, nil)
					h.apply()
					time.Sleep(at)
					h.killed()
					h.until(c.ends)
					h.serve(c.with)
					starts := 0
					for _, l := range h.did() {
						if strings.HasPrefix(l, "start") {
							starts++
						}
					}
					if most := 6; starts > most {
						t.Errorf("killed after %v: %d starts, at most %d", at, starts, most)
					}
				})
			}
		})
	}
}

// Killed at every single change of the record, again and again.
func TestAnAgentKilledAtEveryStepGoesOn(t *testing.T) {
	inHouse(t, func(h *house) {
		h.runs("v1", fine)
		h.wantRelease("v2", 2, fine, nil)
		h.apply()
		for range 400 {
			d, _ := h.Status("shop")
			if d.State == Done && d.To == 2 {
				break
			}
			time.Sleep(50 * time.Millisecond)
			h.killed()
			if n := serveCount(h.pool); n < 3 {
				t.Fatalf("%d serve\n%s", n, h.script())
			}
		}
		h.until(Done)
		h.serve("shop@2 x3")
	})
}

func serveCount(p *pool) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.w.serving(0)
}

func TestARolledBackReleaseIsNotTriedAgainByItself(t *testing.T) {
	inHouse(t, func(h *house) {
		h.runs("v1", fine)
		h.wantRelease("v2", 2, diesYoung, nil)
		h.apply()
		h.until(RolledBack)
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
		h.wantRelease("v2", 2, fine, nil)
		h.apply()
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

func TestARollbackWithoutItsProgramIsRefusedAtOnce(t *testing.T) {
	inHouse(t, func(h *house) {
		h.runs("v1", fine)
		h.wantRelease("v2", 2, fine, nil)
		h.apply()
		h.until(Done)
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
		h.wantRelease("v2", 2, fine, nil)
		h.apply()
		h.until(Done)
		h.serve("shop@2 x3")
	})
}

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

func TestAFileThatGoesBackAbortsTheDeploy(t *testing.T) {
	inHouse(t, func(h *house) {
		h.runs("v1", fine)
		h.wantRelease("v2", 2, fine, nil)
		h.apply()
		h.untilIt("one good", func(d Deploy) bool { return d.Replaced > 0 })
		h.wantRelease("v1", 1, fine, nil)
		h.apply()
		h.until(RolledBack)
		h.serve("shop@1 x3")
		h.wantRelease("v2", 2, fine, nil) // nothing was wrong with it
		h.apply()
		h.until(Done)
		h.serve("shop@2 x3")
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
		if states := h.states(); states != "first done" {
			t.Error(states)
		}
	})
}

// Traffic leaves in the moment of the wish, before anything is stopped.
func TestAbortMovesTrafficFirstAndAtOnce(t *testing.T) {
	inHouse(t, func(h *house) {
		h.runs("v1", fine)
		h.wantRelease("v2", 2, fine, nil)
		h.apply()
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

func TestNothingIsDoneThatCannotBeWrittenDown(t *testing.T) {
	inHouse(t, func(h *house) {
		h.runs("v1", fine)
		h.wantRelease("v2", 2, fine, nil)
		h.apply()
		h.untilIt("one there", func(d Deploy) bool { return d.Waits != "" })
		mend := h.noDisk()
		time.Sleep(time.Second)
		before := len(h.did())
		time.Sleep(10 * time.Second)
		if did := h.did(); len(did) != before {
			t.Errorf("done without a record: %q", did[before:])
		}
		_, err := h.Pause(h.t.Context(), "shop", "ann")
		h.code(err, "disk")
		mend()
		h.until(Done)
		h.serve("shop@2 x3")
	})
}

// noDisk makes the state unwritable until the function it returns is called.
func (h *house) noDisk() (mend func()) {
	deploys := filepath.Join(h.dir, "deploys")
	if err := errors.Join(os.Rename(deploys, deploys+".away"), os.WriteFile(deploys, nil, 0o600)); err != nil {
		h.t.Fatal(err)
	}
	return func() {
		if err := errors.Join(os.Remove(deploys), os.Rename(deploys+".away", deploys)); err != nil {
			h.t.Fatal(err)
		}
	}
}

// Keeping what is wanted needs no record, and going back does not wait for one.
func TestAFullDiskDoesNotKeepAServiceDown(t *testing.T) {
	inHouse(t, func(h *house) {
		h.runs("v1", fine)
		mend := h.noDisk()
		h.pool.do(func() { h.pool.w.bodies = h.pool.w.bodies[1:] })
		time.Sleep(5 * time.Second)
		h.serve("shop@1 x3")
		mend()

		h.wantRelease("v2", 2, diesYoung, nil)
		h.apply()
		h.untilIt("one there", func(d Deploy) bool { return d.Waits != "" })
		mend = h.noDisk()
		time.Sleep(10 * time.Second)
		h.serve("shop@1 x3")
		h.pool.do(func() {
			if n := len(h.pool.w.bodies); n != 3 {
				t.Errorf("%d instances: the bad release is still there", n)
			}
		})
		mend()
		h.until(RolledBack)
		h.killed()
		time.Sleep(time.Minute)
		h.serve("shop@1 x3")
	})
}

func TestABrokenRecordIsPutAsideAndMadeAnew(t *testing.T) {
	inHouse(t, func(h *house) {
		h.runs("v1", fine)
		h.wantRelease("v2", 2, fine, nil)
		h.apply()
		h.until(Done)
		h.close()
		record := filepath.Join(h.dir, "deploys", "shop.json")
		if err := os.WriteFile(record, []byte(`{"backstay": "depl`), 0o600); err != nil {
			t.Fatal(err)
		}
		before := h.seen()
		h.open()
		h.apply()
		time.Sleep(time.Minute)
		if rel, _ := h.Current("shop"); rel.Seq != 2 || h.seen() != before {
			t.Errorf("in force is %s, and there is\n%s\ninstead of\n%s", rel.ID(), h.seen(), before)
		}
		if aside, _ := filepath.Glob(record + ".broken-*"); len(aside) != 1 {
			t.Errorf("put aside: %q", aside)
		}
	})
}

func TestARecordOfANewerVersionIsLeftAlone(t *testing.T) {
	inHouse(t, func(h *house) {
		h.runs("v1", fine)
		h.close()
		record := filepath.Join(h.dir, "deploys", "shop.json")
		newer := []byte(`{"backstay": "deploys", "v": 2, "service": "shop"}`)
		if err := os.WriteFile(record, newer, 0o600); err != nil {
			t.Fatal(err)
		}
		before := h.seen()
		h.open()
		h.wantRelease("v2", 2, fine, nil)
		h.apply()
		time.Sleep(time.Minute)
		_, err := h.Deploy(h.t.Context(), "shop", Ask{})
		h.code(err, "state_newer")
		if !strings.Contains(err.Error(), record) {
			t.Errorf("%v does not name the file", err)
		}
		if text, _ := os.ReadFile(record); string(text) != string(newer) || h.seen() != before {
			t.Error("something was touched")
		}
	})
}

func TestReleasesAreForgottenButForThoseThatAreNeeded(t *testing.T) {
	inHouse(t, func(h *house) {
		h.runs("v1", fine)
		for seq := 2; seq <= 8; seq++ {
			p := fine
			if seq == 8 {
				p = diesAtOnce
			}
			h.wantRelease(fmt.Sprintf("v%d", seq), seq, p, func(w *Want) { w.Config.KeepReleases = 1 })
			h.apply()
			h.untilIt("over", func(d Deploy) bool { return d.To == seq && d.State.Ended() })
		}
		var kept []string
		for _, r := range h.Releases("shop") {
			kept = append(kept, fmt.Sprintf("%d current=%v good=%v undone=%v", r.Seq, r.Current, r.Good, r.Undone != ""))
		}
		want := []string{
			"8 current=false good=false undone=true", "7 current=true good=true undone=false",
			"6 current=false good=true undone=false", "5 current=false good=true undone=false",
		}
		if !slices.Equal(kept, want) {
			t.Errorf("kept %q", kept)
		}
		on, _ := filepath.Glob(filepath.Join(h.dir, "releases", "shop", "*.json"))
		if len(on) != 4 {
			t.Errorf("on disk: %q", on)
		}
		if info, err := os.Stat(on[0]); err != nil || info.Mode().Perm() != 0o600 {
			t.Error("a release, which holds env files, may be read by others")
		}
	})
}

func TestWatchTellsEveryLineOnceAndEnds(t *testing.T) {
	inHouse(t, func(h *house) {
		h.runs("v1", fine)
		h.wantRelease("v2", 2, fine, nil)
		h.apply()
		lines, err := h.Watch(h.t.Context(), "shop", "", 0)
		if err != nil {
			t.Fatal(err)
		}
		var got []Progress
		for p := range lines {
			got = append(got, p)
			time.Sleep(700 * time.Millisecond) // a slow reader misses nothing
		}
		d, _ := h.Status("shop")
		if len(got) != len(d.Lines) || !got[len(got)-1].Final || got[len(got)-1].Deploy.New.Sent < 1000 {
			t.Fatalf("%d lines of %d, the last %+v", len(got), len(d.Lines), got[len(got)-1])
		}
		for i, p := range got {
			if p.N != i+1 || p.Text != d.Lines[i].Text || p.Final != (i == len(got)-1) {
				t.Errorf("line %d is %+v", i, p)
			}
		}
		lines, _ = h.Watch(h.t.Context(), "shop", d.ID, len(got)-1) // after a break of the line
		if p := <-lines; p.N != len(got) || !p.Final {
			t.Errorf("%+v", p)
		}
		_, err = h.Watch(h.t.Context(), "cart", "", 0)
		if p := new(backstay.Problem); !errors.As(err, &p) || p.Code != "not_found" {
			t.Error(err)
		}
		ctx, cancel := context.WithCancel(h.t.Context())
		lines, _ = h.Watch(ctx, "shop", "", 0)
		cancel()
		for range lines {
		}
	})
}

func TestEventsAreToldOnce(t *testing.T) {
	inHouse(t, func(h *house) {
		h.runs("v1", fine)
		h.wantRelease("v2", 2, fine, nil)
		h.apply()
		h.until(Done)
		time.Sleep(time.Minute)
		n := map[string]int{}
		for _, e := range h.said.all() {
			n[e]++
		}
		want := map[string]int{
			"deploy_changed service/shop >rolling": 2, "deploy_changed service/shop rolling>done": 1,
			"deploy_changed service/shop rolling>finishing": 1, "deploy_changed service/shop finishing>done": 1,
			"deploy_step service/shop >": 9,
		}
		for e, k := range want {
			if n[e] != k {
				t.Errorf("%s told %d times, want %d", e, n[e], k)
			}
		}
		if len(n) != len(want) {
			t.Errorf("%v", n)
		}
	})
}

// Asking for the release that a deploy goes back to anyway is no second deploy.
func TestAskingForWhereItGoesBackAnyway(t *testing.T) {
	inHouse(t, func(h *house) {
		h.runs("v1", fine)
		h.wantRelease("v2", 2, fine, nil)
		h.apply()
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

func TestADrainThatWasCutShortIsSaid(t *testing.T) {
	inHouse(t, func(h *house) {
		h.runs("v1", fine)
		h.pool.do(func() { h.pool.stubborn = 3 })
		h.wantRelease("v2", 2, fine, nil)
		h.apply()
		h.until(Done)
		if n := strings.Count(h.script(), "9 -> 3 in flight, stopped"); n != 3 {
			t.Errorf("said %d times\n%s", n, h.script())
		}
	})
}

// With all of the state gone, what runs is replaced and not mistaken for a
// release that happens to get its number.
func TestANewReleaseNeverGetsTheNumberOfOneThatRuns(t *testing.T) {
	inHouse(t, func(h *house) {
		h.runs("v1", fine)
		h.wantRelease("v2", 2, fine, nil)
		h.apply()
		h.until(Done)
		h.close()
		if err := errors.Join(os.RemoveAll(filepath.Join(h.dir, "releases")), os.RemoveAll(filepath.Join(h.dir, "deploys"))); err != nil {
			t.Fatal(err)
		}
		h.open()
		h.wantRelease("v9", 3, fine, nil)
		h.apply()
		h.until(Done)
		h.serve("shop@3 x3")
		h.pool.do(func() {
			if n := len(h.pool.w.bodies); n != 3 {
				t.Errorf("%d instances", n)
			}
		})
	})
}

// Files of every version that was ever written are read.
func TestFilesOfVersion1AreRead(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/state-v1")); err != nil {
		t.Fatal(err)
	}
	p := newPool()
	d, err := New(Options{Pool: p, Traffic: p, Check: p, Dir: dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	rel, _ := d.Current("shop")
	last, _ := d.Status("shop")
	st, _ := d.Standing("shop")
	got := fmt.Sprintf("%s %s, %s %s after %s: %s; %d releases, %d deploys", rel.ID(), rel.Version, last.ID, last.State,
		last.Ended.Sub(last.Started).Round(time.Second), last.Reason, len(d.Releases("shop")), len(d.History("shop")))
	want := "shop@1 v1, shop-d2 rolled_back after 3s: shop-3fa9c4 exited 3, 1.5s after it was ready; " +
		"no instance of shop@2 was ever good; 2 releases, 2 deploys"
	if got != want || st.Current != "shop@1" {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if broken, _ := filepath.Glob(filepath.Join(dir, "*", "*.broken-*")); len(broken) != 0 {
		t.Errorf("put aside: %q", broken)
	}
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

// A reboot takes all instances. What waits for a person must not keep the
// service down for that.
func TestAfterARebootSomethingServes(t *testing.T) {
	for _, s := range []State{Paused, Stuck, Rolling, RollingBack} {
		inHouse(t, func(h *house) {
			h.runs("v1", fine)
			h.wantRelease("v2", 2, diesYoung, func(w *Want) {
				if s == Paused {
					w.Config.OnFailure = "pause"
				}
			})
			if s == Stuck {
				h.pool.do(func() {
					h.pool.w.programs[1] = never
					for _, b := range h.pool.w.bodies {
						b.program, b.Ready = never, false
					}
				})
			}
			h.apply()
			h.until(s)
			h.close()
			h.pool.do(func() { h.pool.w.bodies, h.pool.w.programs[1] = nil, fine })
			h.open()
			h.apply()
			time.Sleep(time.Minute)
			h.serve("shop@1 x3")
			if s == Stuck || s == Paused {
				h.until(s)
			}
		})
	}
}
