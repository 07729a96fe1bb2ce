package bus

import (
	"bytes"
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

	"github.com/backstay/backstay"
)

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
		if since, err := b.Refused(); err == nil || !since.Before(time.Now()) {
			t.Errorf("while it is full: %v since %v", err, since)
		}
		d.set(-1)
		time.Sleep(5 * syncAfter)
		if _, err := b.Refused(); err != nil {
			t.Errorf("once there is room: %v", err)
		}
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
