package keeper

import (
	"os"
	"strings"
	"testing"

	"github.com/backstay/backstay/internal/keeperwire"
)

func ringOf(t *testing.T, path string) *ring {
	t.Helper()
	r, err := openRing(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeFD(&r.fd) })
	return r
}

func add(r *ring, n int) {
	for range n {
		r.add(&keeperwire.Event{Kind: keeperwire.EvState, ID: "x", Text: []byte(strings.Repeat("t", 100))})
	}
}

func TestOverflowAsksForAList(t *testing.T) {
	r := ringOf(t, t.TempDir()+"/events")
	add(r, maxEvents+1)
	first, ok := r.get(r.first)
	if !ok || first.Kind != keeperwire.EvResync || r.first != maxEvents+1 || r.last() != maxEvents+2 {
		t.Errorf("%v %+v, %d to %d", ok, first, r.first, r.last())
	}
}

func TestRingGoesOnAfterAKillAtAnyByte(t *testing.T) {
	path := t.TempDir() + "/events"
	r := ringOf(t, path)
	add(r, 5)
	r.ack(2)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := int(r.at[2]); cut <= len(whole); cut++ { // within the last event
		if err := os.WriteFile(path, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		again := ringOf(t, path)
		want := uint64(4)
		if cut == len(whole) {
			want = 5
		}
		if again.first != 3 || again.last() != want {
			t.Fatalf("cut at %d of %d: %d to %d", cut, len(whole), again.first, again.last())
		}
	}
}

func TestAckedEventsMakeRoomAndNumbersGoOn(t *testing.T) {
	path := t.TempDir() + "/events"
	r := ringOf(t, path)
	for range 40 {
		add(r, 1000)
		r.ack(r.last() - 10) // a slow agent that never quite catches up
	}
	if len(r.at) != 10 || r.end > 2*tidyRing+tidyRing {
		t.Errorf("%d events in %d bytes", len(r.at), r.end)
	}
	again := ringOf(t, path)
	if again.first != r.first || again.last() != 40_000 {
		t.Errorf("%d to %d", again.first, again.last())
	}
	if e, ok := again.get(39_995); !ok || e.Seq != 39_995 {
		t.Errorf("%v %+v", ok, e)
	}
	again.ack(1 << 60)
	add(again, 1)
	if last := ringOf(t, path); last.first != 40_001 || last.last() != 40_001 {
		t.Errorf("%d to %d", last.first, last.last())
	}
}
