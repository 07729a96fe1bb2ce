package records

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/backstay/backstay/host/proc/keeper/sys"
	"github.com/backstay/backstay/internal/keeperwire"
)

func ringOf(t *testing.T, path string) *Ring {
	t.Helper()
	r, err := OpenRing(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sys.CloseFD(&r.fd) })
	return r
}

func add(r *Ring, n int) {
	for range n {
		r.Add(&keeperwire.Event{Kind: keeperwire.EvState, ID: "x", Text: []byte(strings.Repeat("t", 100))})
	}
}

func TestOverflowAsksForAList(t *testing.T) {
	r := ringOf(t, t.TempDir()+"/events")
	add(r, maxEvents+1)
	first, ok := r.Get(r.first)
	if !ok || first.Kind != keeperwire.EvResync || r.first != maxEvents+1 || r.Last() != maxEvents+2 {
		t.Errorf("%v %+v, %d to %d", ok, first, r.first, r.Last())
	}
}

func TestRingGoesOnAfterAKillAtAnyByte(t *testing.T) {
	path := t.TempDir() + "/events"
	r := ringOf(t, path)
	add(r, 5)
	r.Ack(2)
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
		if again.first != 3 || again.Last() != want {
			t.Fatalf("cut at %d of %d: %d to %d", cut, len(whole), again.first, again.Last())
		}
	}
}

func TestAckedEventsMakeRoomAndNumbersGoOn(t *testing.T) {
	path := t.TempDir() + "/events"
	r := ringOf(t, path)
	for range 40 {
		add(r, 1000)
		r.Ack(r.Last() - 10) // a slow agent that never quite catches up
	}
	var st syscall.Stat_t
	if err := syscall.Fstat(r.fd, &st); err != nil || len(r.at) != 10 || st.Blocks*512 > 3<<20 {
		t.Errorf("%d events in %d bytes of disk, %v", len(r.at), st.Blocks*512, err)
	}
	again := ringOf(t, path)
	if again.first != r.first || again.Last() != 40_000 {
		t.Errorf("%d to %d", again.first, again.Last())
	}
	if e, ok := again.Get(39_995); !ok || e.Seq != 39_995 {
		t.Errorf("%v %+v", ok, e)
	}
	again.Ack(1 << 60)
	add(again, 1)
	if last := ringOf(t, path); last.first != 40_001 || last.Last() != 40_001 {
		t.Errorf("%d to %d", last.first, last.Last())
	}
}
