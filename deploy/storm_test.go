package deploy

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// Whatever is asked for in whatever order, with the agent killed in between: at
// most two releases take traffic, and the last word is what runs in the end.
func TestAnythingInAnyOrderEndsWithTheLastWord(t *testing.T) {
	for seed := range uint64(25) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			inHouse(t, func(h *house) {
				s := &storm{house: h, dice: rand.New(rand.NewPCG(seed, 1)), version: 1}
				h.runs("v1", fine)
				for range 25 {
					s.act()
					s.watch(time.Duration(s.dice.IntN(4000)) * time.Millisecond)
				}
				s.end()
			})
		})
	}
}

type storm struct {
	*house

	dice    *rand.Rand
	version int
	told    []string
}

func (s *storm) act() {
	ctx := s.t.Context()
	what := s.dice.IntN(10)
	s.told = append(s.told, fmt.Sprintf("%s %d", time.Now().Format("04:05.00"), what))
	switch what {
	case 0, 1:
		s.next(programs[s.dice.IntN(len(programs))])
	case 2:
		s.killed()
	case 3:
		_, _ = s.Abort(ctx, "shop", "ann")
	case 4:
		_, _ = s.Pause(ctx, "shop", "ann")
	case 5:
		_, _ = s.Resume(ctx, "shop", "ann")
	case 6:
		_, _ = s.Rollback(ctx, "shop", 0, "ann")
	case 7:
		_, _ = s.Restart(ctx, "shop", "ann")
	case 8:
		w := s.wants["shop"]
		w.Replicas = s.dice.IntN(6)
		s.wants["shop"] = w
		s.apply()
	case 9:
		_, _ = s.Deploy(ctx, "shop", Ask{Supersede: true, Again: s.dice.IntN(2) == 0, By: "ann"})
	}
}

// next asks for a release that was never there.
func (s *storm) next(p program) {
	s.version++
	replicas := s.wants["shop"].Replicas
	s.wantRelease(fmt.Sprintf("v%d", s.version), s.version, p, func(w *Want) { w.Replicas = replicas })
	s.apply()
}

func (s *storm) watch(most time.Duration) {
	for end := time.Now().Add(most); time.Now().Before(end); beat() {
		s.pool.do(func() {
			releases := map[string]bool{}
			for _, b := range s.pool.w.bodies {
				if serves(b.Instance) {
					releases[b.Release] = true
				}
			}
			if len(releases) > 2 {
				s.t.Fatalf("%d releases take traffic\n%v\n%s\n%s", len(releases), s.told, s.pool.view(), s.script())
			}
		})
	}
}

// end asks for one more release, which is well, and waits for it.
func (s *storm) end() {
	s.t.Helper()
	w := s.wants["shop"]
	w.Replicas = 3
	s.wants["shop"] = w
	s.next(fine)
	d, err := s.Deploy(s.t.Context(), "shop", Ask{Supersede: true, By: "ann"})
	if err != nil || d.To != s.version {
		s.t.Fatalf("%s to %d: %v\n%v", d.ID, d.To, err, s.told)
	}
	s.watch(5 * time.Minute)
	if d, _ := s.Status("shop"); d.State != Done || d.To != s.version {
		s.t.Fatalf("%s %s: %s\n%v\n%s", d.ID, d.State, d.Reason, s.told, s.script())
	}
	s.serve(fmt.Sprintf("shop@%d x3", s.version))
	if n := len(s.pool.Instances()); n != 3 {
		s.t.Errorf("%d instances", n)
	}
}
