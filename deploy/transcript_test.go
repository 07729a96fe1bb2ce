package deploy

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/golden"
)

// plays are deploys, each from shop@1 in force.
var plays = map[string]func(h *house){
	"rolling": func(h *house) {
		h.rollsUntil(fine, Done)
	},
	"dies-young": func(h *house) {
		h.rollsUntil(diesYoung, RolledBack)
	},
	"never-ready": func(h *house) {
		h.rollsUntil(never, RolledBack)
	},
	"flaps": func(h *house) {
		h.rollsUntil(flaps, RolledBack)
	},
	"third-flakes-once": func(h *house) {
		h.rollsUntil(flakeOnce, Done)
	},
	"third-flakes-twice": func(h *house) {
		h.rollsUntil(flakeMore, RolledBack)
	},
	"both-ill": func(h *house) {
		h.pool.do(func() {
			for _, b := range h.pool.w.bodies {
				b.program = never
				b.Ready = false
			}
			h.pool.w.programs[1] = never
		})
		h.rollsUntil(diesAtOnce, Stuck)
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
		h.rolls(fine)
		h.untilIt("one good", func(d Deploy) bool { return d.Replaced == 1 })
		_, _ = h.Abort(h.t.Context(), "shop", "ann")
		h.until(RolledBack)
	},
	"rollback": func(h *house) {
		h.rollsUntil(fine, Done)
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
		h.rolls(fine)
		h.untilIt("draining", func(d Deploy) bool { return d.Leaving > 0 })
		h.wantRelease("v3", 3, fine, nil)
		h.apply()
		_, _ = h.Deploy(h.t.Context(), "shop", Ask{Supersede: true, By: "bob"})
		h.until(Done)
	},
	"no-port-free": func(h *house) {
		h.pool.do(func() { h.pool.noStart = errors.New("no port from 20000 to 29999 is free") })
		h.rollsUntil(fine, RolledBack)
	},
}

// TestTranscripts compares what the plays told with testdata.
func TestTranscripts(t *testing.T) {
	for name, play := range plays {
		t.Run(name, func(t *testing.T) {
			inHouse(t, func(h *house) {
				h.runs("v1", fine)
				play(h)
				golden.Check(t, filepath.Join("testdata", name+".txt"), h.script())
			})
		})
	}
}
