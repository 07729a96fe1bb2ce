package bus

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/backstay/backstay"
)

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
