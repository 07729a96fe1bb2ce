package bus

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/backstay/backstay"
)

const (
	// chunk is how many numbers are reserved at a time, and low how many must be
	// left. Between them lie more events than wait for the disk: only a disk that
	// refuses longer than that, and then a kill, could give a number twice.
	chunk = 4 * maxQueue
	low   = 2 * maxQueue
	// syncAfter is how long events may be lost by a power cut, and how long a disk
	// is left alone after it has refused.
	syncAfter = time.Second
)

// segment is the part of [os.File] that is used.
type segment interface {
	Write(b []byte) (int, error)
	Sync() error
	Close() error
}

// writer brings a bus to disk. One goroutine owns it.
type writer struct {
	bus   *Bus
	dir   string
	found found // in the newest segment that has something, when it was opened
	half  int   // bytes of an unfinished line that were found there

	create   func(path string) (segment, error)
	file     segment
	size     int64
	reserved uint64 // as on disk
	torn     bool   // the last line of the file is not finished
	refused  bool   // the disk has refused, and that is logged
	dirty    bool   // not synced
}

// open finds where an earlier process has ended, and goes on there.
func open(o Options, create func(path string) (segment, error)) (*writer, error) {
	w := &writer{dir: o.Dir, create: create}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make directory: %w", err)
	}
	paths, err := segments(o.Dir)
	if err != nil || len(paths) == 0 {
		return w, err
	}
	newest := paths[len(paths)-1]
	if err := w.look(newest); err != nil {
		return nil, err
	}
	w.half = w.found.tail
	damaged := w.found.damaged
	for i := len(paths) - 2; i >= 0 && w.found.reserved == 0; i-- { // a full disk leaves empty ones
		if err := w.look(paths[i]); err != nil {
			return nil, err
		}
	}
	first, _ := firstOf(filepath.Base(newest))
	w.found.last = max(w.found.last, first-min(first, 1))
	info, err := os.Stat(newest)
	if err != nil {
		return nil, fmt.Errorf("open newest segment: %w", err)
	}
	if w.file, err = create(newest); err != nil {
		return nil, fmt.Errorf("open newest segment: %w", err)
	}
	w.size, w.torn = info.Size(), w.half > 0
	if w.half > 0 {
		o.Log.Warn("event log ends in half a line, which is skipped", "segment", newest, "bytes", w.half)
	}
	if damaged > 0 {
		o.Log.Warn("event log has lines that are no events, which are skipped", "segment", newest, "lines", damaged)
	}
	return w, nil
}

// look reads the segment at path.
func (w *writer) look(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open segment: %w", err)
	}
	defer func() { _ = f.Close() }()
	found, err := scan(f, func(uint64, backstay.Event) bool { return true })
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(path), err)
	}
	w.found.last = max(w.found.last, found.last)
	w.found.reserved, w.found.damaged, w.found.tail = found.reserved, found.damaged, found.tail
	return nil
}

// create opens the segment at path to append to it, and makes it if it is not
// there.
func create(path string) (segment, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
}

// run writes until the bus is closed.
func (w *writer) run() {
	defer close(w.bus.done)
	timer := time.NewTimer(syncAfter)
	timed := true // the timer runs
	defer timer.Stop()
	for {
		select {
		case <-w.bus.work:
		case <-timer.C:
			timed = false
			w.sync()
		}
		if w.refused && timed && !w.closing() {
			continue // the disk is left alone for a while
		}
		w.turn()
		if w.closing() {
			w.bus.err = w.end()
			return
		}
		if !timed && (w.refused || w.dirty) {
			timed = true
			timer.Reset(syncAfter)
		}
	}
}

func (w *writer) closing() bool {
	w.bus.mu.Lock()
	defer w.bus.mu.Unlock()
	return w.bus.closed
}

// turn writes all that waits, or as much as the disk takes.
func (w *writer) turn() {
	for {
		batch, reserve := w.take()
		if len(batch) == 0 && reserve <= w.reserved {
			w.give(nil)
			return
		}
		rest, err := w.write(batch, reserve)
		w.give(rest)
		w.tell(err)
		if err != nil {
			return
		}
	}
}

// take takes what waits in hand, and says which numbers should be reserved.
func (w *writer) take() (batch []backstay.Event, reserve uint64) {
	b := w.bus
	b.mu.Lock()
	defer b.mu.Unlock()
	for ; b.queue < b.next; b.queue++ {
		batch = append(batch, b.ring[b.queue%ringSize])
	}
	b.idle = make(chan struct{})
	reserve = w.reserved
	if b.next+low > reserve {
		reserve = b.next + chunk
	}
	return batch, reserve
}

// give puts back what could not be written.
func (w *writer) give(rest []backstay.Event) {
	b := w.bus
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(rest) > 0 {
		b.queue, _ = seqOf(rest[0].ID)
		b.trim()
	}
	close(b.idle)
}

// tell logs that the disk begins or ceases to refuse, and records what that cost.
func (w *writer) tell(err error) {
	switch {
	case err != nil && !w.refused:
		w.bus.Log.Error("events are not kept: the disk refuses", "dir", w.dir, "why", err.Error())
	case err == nil && w.refused:
		w.bus.Log.Info("events are kept again", "dir", w.dir)
	}
	b := w.bus
	b.mu.Lock()
	if err != nil && !w.refused {
		b.since = b.now()
	}
	w.refused, b.refused = err != nil, err
	if err != nil {
		b.mu.Unlock()
		return
	}
	lost := b.lost
	b.lost = 0
	b.mu.Unlock()
	if lost > 0 {
		b.Record(backstay.Event{Kind: backstay.EventsLost, Because: fmt.Sprintf("%d events were not kept: the disk refused or was too slow", lost)})
	}
}

// write appends a batch, after a mark if numbers are to be reserved, and returns
// what is not on disk.
func (w *writer) write(batch []backstay.Event, reserve uint64) (rest []backstay.Event, err error) {
	if err := w.ready(batch); err != nil {
		return batch, err
	}
	var b []byte
	if w.torn {
		b = append(b, '\n') // what is torn is a line of its own
	}
	if reserve > w.reserved {
		b = appendMark(b, reserve)
	}
	before := len(b)
	for _, e := range batch {
		b = appendEvent(b, e)
	}
	n, err := w.file.Write(b)
	n = max(0, min(n, len(b)))
	w.size += int64(n)
	w.dirty = w.dirty || n > 0
	if err != nil {
		w.torn = n > 0 && b[n-1] != '\n' || n == 0 && w.torn
		if n >= before && before > 0 {
			w.reserved = max(w.reserved, reserve)
		}
		whole := bytes.Count(b[min(before, n):n], []byte{'\n'})
		return batch[whole:], fmt.Errorf("write events: %w", err)
	}
	w.torn, w.reserved = false, max(w.reserved, reserve)
	return nil, nil
}

// ready makes sure that there is a segment with room.
func (w *writer) ready(batch []backstay.Event) error {
	if w.file != nil && w.size < maxSegment {
		return nil
	}
	w.bus.mu.Lock()
	first := w.bus.next
	w.bus.mu.Unlock()
	if len(batch) > 0 {
		first, _ = seqOf(batch[0].ID)
	}
	f, err := w.create(filepath.Join(w.dir, fmt.Sprintf(segmentName, first)))
	if err != nil {
		return fmt.Errorf("begin segment: %w", err)
	}
	w.sync()
	if w.file != nil {
		_ = w.file.Close() // synced above; what it may say then changes nothing
	}
	w.file, w.size, w.torn = f, 0, false
	w.reserved = 0 // every segment says it anew
	w.forget()
	return nil
}

// forget removes the oldest segments beyond their bound.
func (w *writer) forget() {
	paths, err := segments(w.dir)
	for i := 0; err == nil && i < len(paths)-maxSegments; i++ {
		if err := os.Remove(paths[i]); err != nil && !errors.Is(err, fs.ErrNotExist) {
			w.bus.Log.Warn("old events not removed", "segment", paths[i], "why", err.Error())
		}
	}
}

func (w *writer) sync() {
	if !w.dirty || w.file == nil {
		return
	}
	w.dirty = false
	if err := w.file.Sync(); err != nil && !w.refused {
		w.bus.Log.Error("events not synced", "dir", w.dir, "why", err.Error())
	}
}

// end leaves the log so that the next process goes on with the next number.
func (w *writer) end() error {
	b := w.bus
	b.mu.Lock()
	unkept, last := b.next-b.queue, b.next-1
	b.mu.Unlock()
	if w.file == nil {
		return nil
	}
	var err error
	if !w.refused {
		_, err = w.file.Write(appendMark(nil, last))
	}
	err = errors.Join(err, w.file.Sync(), w.file.Close())
	if unkept > 0 {
		err = errors.Join(err, fmt.Errorf("%d events could not be kept", unkept))
	}
	if err != nil {
		return fmt.Errorf("close event log: %w", err)
	}
	return nil
}
