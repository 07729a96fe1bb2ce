package bus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
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

// disk is a place for segments that refuses after so many more bytes.
type disk struct {
	sync.Mutex // guards all below

	left    int // -1: no bound
	refused int
}

var errFull = errors.New("no space left on device")

func (d *disk) set(left int) {
	d.Lock()
	defer d.Unlock()
	d.left = left
}

func (d *disk) create(path string) (segment, error) {
	d.Lock()
	defer d.Unlock()
	if d.left == 0 {
		d.refused++
		return nil, errFull
	}
	f, err := create(path)
	return diskFile{f, d}, err
}

type diskFile struct {
	segment

	disk *disk
}

func (f diskFile) Write(b []byte) (int, error) {
	f.disk.Lock()
	defer f.disk.Unlock()
	if f.disk.left < 0 || len(b) <= f.disk.left {
		f.disk.left -= min(len(b), max(f.disk.left, 0))
		return f.segment.Write(b)
	}
	f.disk.refused++
	n, _ := f.segment.Write(b[:f.disk.left])
	f.disk.left = 0
	return n, errFull
}

// onDisk returns a bus whose segments lie on d.
func onDisk(t *testing.T, dir string, d *disk, log *slog.Logger) *Bus {
	t.Helper()
	b, err := newOn(Options{Dir: dir, Node: "n1", Log: log}, d.create)
	must(t, err)
	return b
}

// The disk is full for a while, in the middle of a line: those who watch see
// everything at once, everything that waits gets to disk, each once, and a
// person is told once.
func TestFullDiskCostsNothingIfItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, d, said := t.TempDir(), &disk{left: -1}, &bytes.Buffer{}
		b := onDisk(t, dir, d, slog.New(slog.NewTextHandler(said, nil)))
		watched, err := b.Watch(t.Context(), "")
		must(t, err)
		record(b, 1, 10)
		synctest.Wait()
		d.set(333)
		for i := 11; i <= 100; i++ {
			record(b, i, i)
			synctest.Wait()
		}
		d.Lock()
		if d.refused > 3 {
			t.Errorf("a full disk was tried %d times in no time", d.refused)
		}
		d.Unlock()
		for i := 1; i <= 100; i++ {
			if e := <-watched; e.Because != fmt.Sprint("event ", i) {
				t.Fatalf("watched %q as event %d", e.Because, i)
			}
		}
		d.set(100)
		time.Sleep(5 * syncAfter)
		d.set(-1)
		time.Sleep(5 * syncAfter)
		must(t, b.Close())
		again := newBus(t, dir)
		if diff := cmp.Diff(events(1, 100), saying(since(t, again, ""))); diff != "" {
			t.Errorf("on disk:\n%s", diff)
		}
		must(t, again.Close())
		if n := strings.Count(said.String(), "the disk refuses"); n != 1 || !strings.Contains(said.String(), "events are kept again") || !strings.Contains(said.String(), "no space left") {
			t.Errorf("said:\n%s", said)
		}
		if b.Lost() != 0 {
			t.Errorf("%d lost", b.Lost())
		}
	})
}

// A disk that refuses for too long costs the oldest, and how many is told.
func TestWhatIsLostIsCountedAndTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, d := t.TempDir(), &disk{left: -1}
		b := onDisk(t, dir, d, nil)
		record(b, 1, 1)
		synctest.Wait()
		d.set(0)
		record(b, 2, 2+maxQueue+99)
		synctest.Wait()
		if b.Lost() != 100 {
			t.Errorf("%d lost", b.Lost())
		}
		d.set(-1)
		time.Sleep(2 * syncAfter)
		must(t, b.Close())
		again := newBus(t, dir)
		all := since(t, again, "")
		last := all[len(all)-1]
		if last.Kind != backstay.EventsLost || !strings.HasPrefix(last.Because, "100 events were not kept") {
			t.Errorf("the last is %+v", last)
		}
		if diff := cmp.Diff(append(events(1, 1), events(102, 2+maxQueue+99)...), saying(all[:len(all)-1])); diff != "" {
			t.Errorf("on disk:\n%s", diff)
		}
		must(t, again.Close())
	})
}

// A recorder never waits, not even for a disk that hangs.
func TestRecorderNeverWaitsForTheDisk(t *testing.T) {
	hang := make(chan struct{})
	b, err := newOn(Options{Dir: t.TempDir(), Node: "n1"}, func(path string) (segment, error) {
		f, err := create(path)
		return hanging{f, hang}, err
	})
	must(t, err)
	record(b, 1, 3*ringSize)
	close(hang)
	must(t, b.Close())
}

type hanging struct {
	segment

	on <-chan struct{}
}

func (h hanging) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte("event ")) {
		<-h.on
	}
	return h.segment.Write(b)
}

func TestDirectoryThatCannotBeIsAnError(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	if _, err := New(Options{Dir: file}); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("%v", err)
	}
}

// A log that a newer version has written is refused by name, and not a byte of
// it is changed.
func TestNewerLogIsRefused(t *testing.T) {
	for _, head := range []string{`{"backstay":"events","v":2,"reserved":9}`, `{"backstay":"ledger","v":1}`} {
		dir := t.TempDir()
		path := filepath.Join(dir, fmt.Sprintf(segmentName, 1))
		must(t, os.WriteFile(path, []byte(head+"\n"), 0o600))
		_, err := New(Options{Dir: dir})
		if !errors.Is(err, errNewer) || !strings.Contains(err.Error(), "not events version 1") {
			t.Errorf("%v", err)
		}
		if text, _ := os.ReadFile(path); string(text) != head+"\n" {
			t.Errorf("the file is %q now", text)
		}
	}
}

// What a killed process has half written is skipped, said, and in nobody's way.
func TestHalfALineIsSkippedAndSaid(t *testing.T) {
	dir := t.TempDir()
	b := newBus(t, dir)
	record(b, 1, 5)
	must(t, b.Close())
	path := filepath.Join(dir, fmt.Sprintf(segmentName, 1))
	text, err := os.ReadFile(path)
	must(t, err)
	cut := bytes.LastIndex(text, []byte("event 5"))
	must(t, os.Truncate(path, int64(cut)))
	said := &bytes.Buffer{}
	b, err = New(Options{Dir: dir, Node: "n1", Log: slog.New(slog.NewTextHandler(said, nil))})
	must(t, err)
	record(b, 6, 6)
	want := append(events(1, 4), "the process before was ended", "event 6")
	check := func(all []backstay.Event) {
		t.Helper()
		got := saying(all)
		for i := range got {
			if i >= len(want) || !strings.HasPrefix(got[i], want[i]) {
				t.Errorf("events %q", got)
				return
			}
		}
	}
	check(since(t, b, ""))
	must(t, b.Close())
	again := newBus(t, dir)
	check(since(t, again, ""))
	if !strings.Contains(said.String(), "half a line") {
		t.Errorf("said:\n%s", said)
	}
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

func TestLogIsBoundedAndKeepsTheNewest(t *testing.T) {
	dir := t.TempDir()
	b := newBus(t, dir)
	watched, err := b.Watch(t.Context(), "")
	must(t, err)
	long := strings.Repeat("x", maxBecause)
	const n = (maxSegments + 3) * maxSegment / maxBecause
	for i := range n {
		b.Record(backstay.Event{Because: long})
		if i%1000 == 0 {
			_, _ = b.Since("n1/x/999999999") // nothing, but the queue is drained
			waitIdle(b)
		}
	}
	must(t, b.Close())
	total := int64(0)
	paths, err := segments(dir)
	must(t, err)
	for _, p := range paths {
		info, err := os.Stat(p)
		must(t, err)
		total += info.Size()
	}
	if len(paths) != maxSegments || total > maxSegments*maxSegment+maxQueue*(maxBecause+1000) {
		t.Errorf("%d segments of %d bytes", len(paths), total)
	}
	again := newBus(t, dir)
	all := since(t, again, "")
	if last := seq(t, all[len(all)-1]); last != n {
		t.Errorf("the newest kept is %d of %d", last, n)
	}
	gapTold, doubles, at := 0, 0, uint64(0)
	for e := range watched { // it never read: the log has moved on
		if e.ID == "" {
			gapTold++
			continue
		}
		if seq(t, e) <= at {
			doubles++
		}
		at = seq(t, e)
	}
	if gapTold == 0 || doubles > 0 || at != n {
		t.Errorf("told of a gap %d times, %d doubles, ended at %d", gapTold, doubles, at)
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

// Watchers that begin anywhere, while many record, hear each event once.
func TestWatchersHearEachEventOnceInOrder(t *testing.T) {
	dir := t.TempDir()
	b := newBus(t, dir)
	record(b, 1, 3000)
	must(t, b.Close())
	b = newBus(t, dir)
	const recorders, each = 4, 1500
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			events, err := b.Watch(ctx, "")
			if err != nil {
				t.Error(err)
				return
			}
			for want := uint64(1); want <= 3000+recorders*each; want++ {
				if e := <-events; seq(t, e) != want {
					t.Errorf("%s, want %d", e.ID, want)
					return
				}
			}
		})
	}
	for range recorders {
		all.Go(func() {
			for i := 1; i <= each; i++ {
				record(b, i, i)
				if i%100 == 0 {
					waitIdle(b) // else they are faster than any disk
				}
			}
		})
	}
	all.Wait()
	cancel()
	if b.Lost() > 0 {
		t.Errorf("%d did not get to disk", b.Lost())
	}
}

func TestWatchEndsWithItsContextAndWithTheBus(t *testing.T) {
	b := newBus(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	first, err := b.Watch(ctx, "")
	must(t, err)
	second, err := b.Watch(t.Context(), "")
	must(t, err)
	cancel()
	if _, ok := <-first; ok {
		t.Error("an event out of nothing")
	}
	record(b, 1, 1)
	must(t, b.Close())
	if e := <-second; e.Because != "event 1" {
		t.Errorf("%+v", e)
	}
	if _, ok := <-second; ok {
		t.Error("the watcher is not at its end")
	}
	record(b, 2, 2) // nobody minds
	if b.Lost() != 1 {
		t.Errorf("%d lost after the end", b.Lost())
	}
	must(t, b.Close())
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
