package l7

import (
	"fmt"
	"log/slog"
	"sync"
	"testing"

	"github.com/backstay/backstay"
)

// What is swept away while a snapshot comes in force must not be what it hangs on.
func TestSweepingWhileServersComeLosesNone(t *testing.T) {
	p := New(Options{Log: slog.New(slog.DiscardHandler)})
	var f Frontend
	f.SetDefaults()
	f.Bind, f.Routes = []string{"b"}, []Route{{To: "shop"}}
	stop := make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				p.sweep()
			}
		}
	})
	for gen := range uint64(300) {
		s := Server{ID: fmt.Sprintf("shop-%06d", gen), Release: fmt.Sprintf("shop@%d", gen), Address: "127.0.0.1", Ports: map[string]uint16{"http": 1}, Ready: true}
		err := p.Apply(t.Context(), Snapshot{
			Backstay: kindOfSnapshot, V: 1, Gen: gen + 1, Frontends: map[string]Frontend{"web": f},
			Pools: map[string]Pool{"shop": {Pool: backstay.Pool{Keepalive: 1}, Servers: []Server{s}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range p.table.Load().binds["b"].targets[targetKey{"shop", ""}].list {
			if !m.enter(false) {
				t.Fatalf("generation %d: its server takes nothing", gen+1)
			}
			if p.lasting.find(m.id) != m.server {
				t.Fatalf("generation %d: its server is another one", gen+1)
			}
			m.leave(false)
		}
	}
	close(stop)
	wait.Wait()
	p.sweep()
	if n := len(p.lasting.all()); n != 1 {
		t.Errorf("%d servers are remembered, one is there", n)
	}
	if n := len(p.Stats().Releases); n != keptReleases+1 {
		t.Errorf("%d releases are remembered", n)
	}
}
