package supervise

import (
	"fmt"
	"testing"
	"time"

	"github.com/backstay/backstay/health"
)

// BenchmarkAnswer is what one answer of a probe costs the owner with a thousand
// instances: 1000 answers a second are what as many of them give with two probes
// of 2 s.
func BenchmarkAnswer(b *testing.B) {
	f, now := newFleet(), time.Now()
	f.apply(now, map[string]Service{"shop": service("readiness", "liveness")}, func() float64 { return 0 })
	var all []*machine
	for i := range 1000 {
		m := newMachine(fmt.Sprintf("shop-%06x", i), meta{Service: "shop", policy: policyFrom(f.services["shop"])}, now)
		f.add(now, m, 0)
		m.begun(now, run{starts: 1, pid: 1 + i, at: now})
		f.touch(m)
		all = append(all, m)
	}
	f.take(now)
	board := newBoard()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		now = now.Add(time.Millisecond)
		m := all[i%len(all)]
		m.answer(now, m.question(now, readiness), health.Result{Good: true, Output: "HTTP 200"})
		f.touch(m)
		f.tick(now)
		f.take(now)
		for _, m := range f.look() {
			board.put(m.view())
		}
	}
}
