package bus

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/backstay/backstay"
)

// A segment is a file of lines, each an event or a mark, by the number of its
// first event: 00000000000000000042.jsonl. It begins with a mark.
const (
	segmentName = "%020d.jsonl"
	// maxSegment is the size at which the next segment begins, in bytes, and
	// maxSegments how many there are: some hundred thousand events, months of a
	// quiet host and a day of one that is badly ill.
	maxSegment  = 4 << 20
	maxSegments = 8
	// maxLine is the longest line that is read, in bytes. None that is written is
	// longer: an event's texts are bounded, and JSON makes six bytes of one at most.
	maxLine = 64 << 10
)

// The name and version of the format.
const (
	format  = "events"
	version = 1
)

// mark is the line that says what a file is and which numbers are given out. A
// later mark stands over an earlier one.
type mark struct {
	Backstay string `json:"backstay"`
	V        int    `json:"v"`
	Reserved uint64 `json:"reserved"` // no event has a higher number
}

// line is a mark or an event.
type line struct {
	Backstay string `json:"backstay"`
	V        int    `json:"v"`
	Reserved uint64 `json:"reserved"`
	Ref      string `json:"ref"` // in place of the event's, which takes only what is well formed: a log keeps what it was told

	backstay.Event
}

// errNewer is wrapped by the error for a log that this program cannot read.
var errNewer = errors.New("a newer backstay has written it")

func appendMark(b []byte, reserved uint64) []byte {
	text, err := json.Marshal(mark{format, version, reserved})
	if err != nil {
		panic(fmt.Sprintf("bus: encode mark: %v", err)) // numbers and constants
	}
	return append(append(b, text...), '\n')
}

func appendEvent(b []byte, e backstay.Event) []byte {
	text, err := json.Marshal(e)
	if err != nil { // a year that RFC 3339 has no room for
		e.At = e.At.UTC().AddDate(-e.At.Year(), 0, 0)
		text, err = json.Marshal(e)
	}
	if err != nil {
		panic(fmt.Sprintf("bus: encode event %s: %v", e.ID, err))
	}
	return append(append(b, text...), '\n')
}

// seqOf returns the number in id.
func seqOf(id string) (seq uint64, ok bool) {
	parts := strings.Split(id, "/")
	if len(parts) != 3 {
		return 0, false
	}
	seq, err := strconv.ParseUint(parts[2], 10, 64)
	return seq, err == nil && seq > 0
}

// found is what [scan] makes of a segment.
type found struct {
	last     uint64 // highest number of an event
	reserved uint64 // by the last mark
	damaged  int    // lines that are neither
	tail     int    // bytes after the last newline
	lines    int    // of any kind
}

// scan reads lines from r and hands events in growing order to visit until it
// returns false. What is damaged is counted and passed over. Bytes after the
// last newline are no line yet.
func scan(r io.Reader, visit func(seq uint64, e backstay.Event) bool) (f found, err error) {
	lines := bufio.NewReaderSize(r, maxLine)
	for {
		text, err := lines.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			f.damaged++
			if err := skipLine(lines); err != nil {
				return f, endOf(err)
			}
			continue
		case err != nil:
			f.tail = len(text)
			return f, endOf(err)
		}
		seq, e, err := f.take(text)
		switch {
		case errors.Is(err, errNewer):
			return f, err
		case err != nil:
			f.damaged++
		case seq > 0 && !visit(seq, e):
			return f, nil
		}
	}
}

// endOf returns nil for the end of a file.
func endOf(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return fmt.Errorf("read events: %w", err)
}

func skipLine(r *bufio.Reader) error {
	for {
		if _, err := r.ReadSlice('\n'); !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}

// errNoEvent is for a line that is no event, or none that belongs here.
var errNoEvent = errors.New("no event")

// take decodes one line. A mark has the number 0.
func (f *found) take(text []byte) (seq uint64, e backstay.Event, err error) {
	var l line
	f.lines++
	if err := json.Unmarshal(text, &l); err != nil {
		return 0, e, fmt.Errorf("decode event: %w", err)
	}
	known := l.Backstay == format && l.V > 0 && l.V <= version
	switch {
	case known:
		f.reserved = l.Reserved
		return 0, e, nil
	case l.Backstay != "" && f.lines == 1: // the head of a file: no other line is to be judged by it
		return 0, e, fmt.Errorf("it is %q version %d, not %s version %d: %w", l.Backstay, l.V, format, version, errNewer)
	case l.Backstay != "":
		return 0, e, errNoEvent
	}
	seq, ok := seqOf(l.ID)
	if !ok || seq <= f.last {
		return 0, e, errNoEvent
	}
	f.last = seq
	l.Event.Ref = backstay.Ref(l.Ref)
	return seq, l.Event, nil
}

// segments returns the paths of the segments in dir, oldest first.
func segments(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list segments: %w", err)
	}
	var paths []string
	for _, e := range entries {
		if _, ok := firstOf(e.Name()); ok && e.Type().IsRegular() {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	return paths, nil // ReadDir sorts, and the names have one length
}

// firstOf returns the number in a segment's name.
func firstOf(name string) (uint64, bool) {
	seq, err := strconv.ParseUint(strings.TrimSuffix(name, ".jsonl"), 10, 64)
	return seq, err == nil && name == fmt.Sprintf(segmentName, seq)
}

// read returns events from the segments in dir with numbers in (after, before),
// oldest first, limit at most.
func read(dir string, after, before uint64, limit int) ([]backstay.Event, error) {
	paths, err := segments(dir)
	if err != nil {
		return nil, err
	}
	var events []backstay.Event
	for _, path := range paths[start(paths, after):] {
		err := scanFile(path, func(seq uint64, e backstay.Event) bool {
			if seq > after && seq < before {
				events = append(events, e)
			}
			return seq < before && len(events) < limit
		})
		if err != nil && !errors.Is(err, os.ErrNotExist) { // the oldest goes while we read
			return nil, err
		}
		if len(events) == limit {
			break
		}
	}
	return events, nil
}

// start returns which of paths is the first that may have events after a number.
func start(paths []string, after uint64) int {
	i, _ := slices.BinarySearchFunc(paths, after, func(path string, after uint64) int {
		first, _ := firstOf(filepath.Base(path))
		if first <= after {
			return -1
		}
		return 1
	})
	return max(0, i-1)
}

func scanFile(path string, visit func(uint64, backstay.Event) bool) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read events: %w", err)
	}
	defer func() { _ = f.Close() }()
	if _, err := scan(f, visit); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}
