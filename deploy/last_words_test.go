package deploy

import (
	"slices"
	"testing"
	"time"

	"github.com/backstay/backstay"
)

// The last lines of the instance that is the reason are read beside everything
// else: they come late, and the report has them all the same, whatever the
// deploy becomes by it.
func TestTheReportHasLastLinesThatComeLate(t *testing.T) {
	for end, c := range map[State]struct {
		p         program
		onFailure string
		strategy  string
	}{
		RolledBack: {p: diesYoung},
		Paused:     {p: diesYoung, onFailure: "pause"},
		Stuck:      {p: diesAtOnce, strategy: "recreate"},
	} {
		t.Run(string(end), func(t *testing.T) {
			inHouse(t, func(h *house) {
				h.runs("v1", fine)
				h.pool.do(func() {
					h.pool.w.mute, h.pool.w.drain = 200*time.Millisecond, 0
					if end == Stuck {
						h.pool.w.programs[1] = never
					}
				})
				h.wantRelease("v2", 2, c.p, func(w *Want) {
					if c.onFailure != "" {
						w.Config.OnFailure = c.onFailure
					}
					if c.strategy != "" {
						w.Config.Strategy = c.strategy
					}
				})
				h.apply()
				d := h.report()
				if d.State != end || !slices.Equal(d.LastLog, lastWords) {
					t.Errorf("%s with the last lines %q\n%s", d.State, d.LastLog, h.script())
				}
			})
		})
	}
}

// A first release is not judged by its deaths: the last of them may be a moment
// before the deadline.
func TestTheReportAtTheDeadlineHasLastLinesThatComeLate(t *testing.T) {
	inHouse(t, func(h *house) {
		h.pool.do(func() { h.pool.w.mute = 200 * time.Millisecond })
		h.wantRelease("v1", 1, program{dies: 10*time.Second - 100*time.Millisecond}, func(w *Want) {
			w.Config.ProgressDeadline = backstay.Duration(10 * time.Second)
		})
		h.apply()
		d := h.report()
		if d.State != Stuck || !slices.Equal(d.LastLog, lastWords) {
			t.Errorf("%s: %s, with the last lines %q\n%s", d.State, d.Reason, d.LastLog, h.script())
		}
	})
}

// A log that cannot be read holds nothing up for longer than a second, and no
// traffic at all.
func TestLastLinesThatNeverComeAreGivenUp(t *testing.T) {
	inHouse(t, func(h *house) {
		h.runs("v1", fine)
		h.pool.do(func() { h.pool.w.mute, h.pool.w.drain = time.Hour, 0 })
		h.wantRelease("v2", 2, diesYoung, nil)
		h.apply()
		back := h.until(RollingBack)
		time.Sleep(100 * time.Millisecond)
		h.serve("shop@1 x3")
		d := h.report()
		if took := d.Ended.Sub(back.Since); d.State != RolledBack || d.LastLog != nil || took > hearWithin+200*time.Millisecond {
			t.Errorf("%s after %v with %q\n%s", d.State, took, d.LastLog, h.script())
		}
		time.Sleep(time.Minute)
		h.serve("shop@1 x3")
	})
}

// One that has printed nothing is not waited for.
func TestAnInstanceThatSaidNothingIsNotWaitedFor(t *testing.T) {
	inHouse(t, func(h *house) {
		h.runs("v1", fine)
		h.pool.do(func() { h.pool.w.words, h.pool.w.drain = []string{}, 0 })
		h.wantRelease("v2", 2, diesYoung, nil)
		h.apply()
		d := h.report()
		if took := d.Ended.Sub(d.Since); d.Ill != "" || d.State != RolledBack || took > 200*time.Millisecond {
			t.Errorf("%s after %v, still hears %q\n%s", d.State, took, d.Ill, h.script())
		}
	})
}

// An agent that is killed while it waits for the lines is followed by one that
// has them.
func TestTheNextAgentHearsTheLastLines(t *testing.T) {
	inHouse(t, func(h *house) {
		h.runs("v1", fine)
		h.pool.do(func() { h.pool.w.mute, h.pool.w.drain = 500*time.Millisecond, 0 })
		h.wantRelease("v2", 2, diesYoung, nil)
		h.apply()
		h.until(RollingBack)
		h.killed()
		if d := h.report(); d.State != RolledBack || !slices.Equal(d.LastLog, lastWords) {
			t.Errorf("%s with the last lines %q\n%s", d.State, d.LastLog, h.script())
		}
	})
}

// report is what the one who deploys is told at the end.
func (h *house) report() (d Deploy) {
	h.t.Helper()
	lines, err := h.Watch(h.t.Context(), "shop", "", 0)
	if err != nil {
		h.t.Fatal(err)
	}
	for p := range lines {
		d = p.Deploy
	}
	return d
}
