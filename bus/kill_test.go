package bus

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay"
)

// recordForEver is a process that records as fast as it can and says what it
// hears. It ends by being killed.
func recordForEver(dir string) {
	b, err := New(Options{Dir: dir, Node: "n1"})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	heard, err := b.Watch(context.Background(), os.Getenv("BUS_AFTER"))
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	go func() {
		for i := 0; ; i++ {
			b.Record(backstay.Event{Kind: backstay.StateChanged, Ref: "instance/shop-7f3a9c", Because: strings.Repeat("x", i%500), Gen: uint64(i)})
			if i%10 == 9 {
				time.Sleep(time.Millisecond)
			}
		}
	}()
	for e := range heard {
		fmt.Println(e.ID, e.Kind)
	}
}

// A writer is killed in the middle, again and again: numbers only grow, also over
// those that were heard and lost, what is on disk is whole, and what the process
// before has half written is told.
func TestKilledWriterLosesNoNumberAndNoOrder(t *testing.T) {
	dir := t.TempDir()
	highest, torn := uint64(0), 0
	for round := range 5 {
		first, last := writeAndKill(t, dir, highest)
		if first <= highest {
			t.Fatalf("round %d: number %d, and %d was heard before", round, first, highest)
		}
		highest = last
		b, err := New(Options{Dir: dir, Node: "n1"})
		must(t, err)
		all := since(t, b, "") // fails where numbers do not grow
		for _, e := range all {
			if e.Kind == backstay.EventsLost {
				torn++
			} else if len(e.Because) != int(e.Gen)%500 {
				t.Fatalf("%s is not whole", e.ID)
			}
		}
		next, err := b.Last(1)
		must(t, err)
		if len(next) > 0 {
			highest = max(highest, seq(t, next[0]))
		}
		must(t, b.Close())
	}
	t.Logf("highest number %d, told of half a line %d times", highest, torn)
}

// writeAndKill runs a writer for a moment and returns the first new and the last
// number that it said it heard.
func writeAndKill(t *testing.T, dir string, known uint64) (first, last uint64) {
	t.Helper()
	r, w, err := os.Pipe()
	must(t, err)
	defer func() { _ = r.Close() }()
	p, err := os.StartProcess("/proc/self/exe", []string{"writer"}, &os.ProcAttr{
		Env: append(os.Environ(), "BUS_WRITER="+dir, fmt.Sprintf("BUS_AFTER=n1/boot/%d", max(known, 1))), Files: []*os.File{nil, w, os.Stderr},
	})
	must(t, err)
	must(t, w.Close())
	enough := 200 + rand.IntN(800)
	lines := bufio.NewScanner(r)
	for n, killed := 0, false; lines.Scan(); n++ {
		id, _, _ := strings.Cut(lines.Text(), " ")
		number, ok := seqOf(id)
		if !ok {
			continue // the last line may be torn; a gap has no number
		}
		if last = number; number > known && first == 0 {
			first = number
			n = 0
		}
		if first > 0 && n > enough && !killed {
			must(t, p.Kill())
			killed = true
		}
	}
	_ = p.Kill()
	_, _ = p.Wait()
	if first == 0 {
		t.Fatal("the writer heard nothing new")
	}
	return first, last
}
