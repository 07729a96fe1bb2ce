package deploy

import (
	"strings"
	"testing"
	"time"
)

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
