package bus

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/backstay/backstay"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("BUS_WRITER"); dir != "" {
		recordForEver(dir)
	}
	goleak.VerifyTestMain(m)
}

func newBus(t *testing.T, dir string) *Bus {
	t.Helper()
	b, err := New(Options{Dir: dir, Node: "n1"})
	must(t, err)
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// record records the events from..to, which say so.
func record(b *Bus, from, to int) {
	for i := from; i <= to; i++ {
		b.Record(backstay.Event{Kind: backstay.StateChanged, Because: fmt.Sprint("event ", i)})
	}
}

// saying returns what the events say.
func saying(events []backstay.Event) (texts []string) {
	for _, e := range events {
		texts = append(texts, e.Because)
	}
	return texts
}

func events(from, to int) (texts []string) {
	for i := from; i <= to; i++ {
		texts = append(texts, fmt.Sprint("event ", i))
	}
	return texts
}

func since(t *testing.T, b *Bus, id string) []backstay.Event {
	t.Helper()
	all, err := b.Since(id)
	must(t, err)
	for i := 1; i < len(all); i++ {
		if seq(t, all[i]) <= seq(t, all[i-1]) {
			t.Fatalf("%s comes after %s", all[i].ID, all[i-1].ID)
		}
	}
	return all
}

func seq(t *testing.T, e backstay.Event) uint64 {
	t.Helper()
	n, ok := seqOf(e.ID)
	if !ok {
		t.Fatalf("id %q", e.ID)
	}
	return n
}

func TestNumbersGoOnAfterACleanEnd(t *testing.T) {
	dir := t.TempDir()
	next := uint64(1)
	for range 5 {
		b := newBus(t, dir)
		record(b, 1, 3)
		for _, e := range since(t, b, "")[next-1:] {
			if seq(t, e) != next {
				t.Errorf("%s, want number %d", e.ID, next)
			}
			next++
		}
		must(t, b.Close())
	}
	if next != 16 {
		t.Errorf("%d events", next-1)
	}
}

// Numbers that were heard and never reached the disk are not given again.
func TestNumbersAreNotGivenTwice(t *testing.T) {
	dir, d := t.TempDir(), &disk{left: -1}
	b := onDisk(t, dir, d, nil)
	d.set(0)
	record(b, 1, 1000)
	heard, err := b.Last(1)
	must(t, err)
	_ = b.Close() // the disk refuses: as after a kill, nothing of it is there
	again := newBus(t, dir)
	record(again, 1, 1)
	if e := since(t, again, "")[0]; seq(t, e) <= seq(t, heard[0]) {
		t.Errorf("%s after %s was heard", e.ID, heard[0].ID)
	}
}

func TestEventsAreWholeAndTheSameFromDisk(t *testing.T) {
	dir := t.TempDir()
	b := newBus(t, dir)
	b.Record(backstay.Event{
		ID: "forged", Node: "forged", Kind: backstay.Ejected, Ref: "instance/shop-7f3a9c", From: "a", To: "b",
		Because: "line\nbreak \x00 \xff <&> \u2028", Cause: "n1/b/1", Actor: "root", Gen: 7,
	})
	b.Record(backstay.Event{Because: strings.Repeat("é", maxBecause), From: strings.Repeat("x", 10*maxWord)})
	b.Record(backstay.Event{At: time.Date(12345, 1, 1, 0, 0, 0, 0, time.UTC), Because: "far future"})
	b.Record(backstay.Event{Because: strings.Repeat("\x01", maxBecause), From: strings.Repeat("\x01", maxWord), Ref: backstay.Ref(strings.Repeat("\x01", maxWord))})
	fresh := since(t, b, "")
	must(t, b.Close())
	again := newBus(t, dir)
	stored := since(t, again, "")
	if len(stored) != 4 {
		t.Fatalf("%d events on disk", len(stored))
	}
	fresh[2].At = stored[2].At // JSON has no such year
	if diff := cmp.Diff(fresh, stored); diff != "" {
		t.Errorf("memory and disk differ:\n%s", diff)
	}
	e := stored[0]
	if !strings.HasPrefix(e.ID, "n1/") || e.Node != "n1" || e.At.IsZero() || e.Because != "line\nbreak \x00 \ufffd <&> \u2028" {
		t.Errorf("%+v", e)
	}
	if e := stored[1]; len(e.Because) > maxBecause || !strings.HasSuffix(e.Because, "é…") || len(e.From) > maxWord {
		t.Errorf("%d bytes, ends %q", len(e.Because), e.Because[len(e.Because)-8:])
	}
}

// waitIdle returns when all that was recorded is on disk.
func waitIdle(b *Bus) {
	for {
		b.mu.Lock()
		idle, waits := b.idle, b.next-b.queue
		b.mu.Unlock()
		<-idle
		if waits == 0 {
			return
		}
	}
}

func TestSinceAndLast(t *testing.T) {
	dir := t.TempDir()
	b := newBus(t, dir)
	record(b, 1, 100)
	must(t, b.Close())
	b = newBus(t, dir)
	record(b, 101, 200)
	all := since(t, b, "")
	if diff := cmp.Diff(events(1, 200), saying(all)); diff != "" {
		t.Fatal(diff)
	}
	for _, i := range []int{0, 1, 98, 99, 100, 101, 198, 199} {
		if diff := cmp.Diff(saying(all[i+1:]), saying(since(t, b, all[i].ID))); diff != "" {
			t.Errorf("since %s:\n%s", all[i].ID, diff)
		}
	}
	for _, n := range []int{-1, 0, 1, 99, 100, 101, 200, 500} {
		got, err := b.Last(n)
		must(t, err)
		if diff := cmp.Diff(saying(all[len(all)-min(max(n, 0), 200):]), saying(got)); diff != "" {
			t.Errorf("last %d:\n%s", n, diff)
		}
	}
	for _, id := range []string{"x", "n2/b/1", "n1/b/x", "n1/b/0", "n1/b/-1", "/b/1", "n1/1"} {
		if _, err := b.Since(id); !errors.Is(err, ErrUnknownID) {
			t.Errorf("since %q: %v", id, err)
		}
		if _, err := b.Watch(t.Context(), id); !errors.Is(err, ErrUnknownID) {
			t.Errorf("watch %q: %v", id, err)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
