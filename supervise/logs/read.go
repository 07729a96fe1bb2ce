package logs

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/backstay/backstay/internal/keeperwire"
)

// Options say which lines of which log.
type Options struct {
	File   string    // of the log; older files and indexes are beside it
	Tail   int       // at most this many of the past, the newest; 0 is all, less is none
	Since  time.Time // none older than this; lines whose time is unknown count as new
	Follow bool      // go on with what comes, until ctx is done
}

const (
	// lookEvery is how often a log that is followed is looked at.
	lookEvery = 100 * time.Millisecond
	// torn is how many lines before those of Tail are read too: a line that the
	// other stream has torn began that much earlier at most.
	torn = 64
)

// Read calls line with each line, in the order in which their first parts came
// to an end. The text is good until line returns; its error ends reading and is
// returned. Without Follow, a log that is not there is an error, and a line that
// has no end yet is shown as it is. With Follow it returns the context's error.
func Read(ctx context.Context, o Options, line func(Line) error) error {
	r := &reader{Options: o, line: line, stop: ctx.Err}
	r.renderer.emit = r.emit
	defer func() { closeAll(r.files) }()
	if err := r.past(); err != nil || !o.Follow {
		return err
	}
	return r.follow(ctx)
}

// reader reads one log.
type reader struct {
	Options
	renderer

	line  func(Line) error
	stop  func() error // returns an error when reading should end
	files []*file      // oldest first; the last is being written
	count int          // lines so far
	skip  int          // of the first lines, so many are not shown
}

// emit shows a line, unless it is too old or not of the tail.
func (r *reader) emit(l Line) error {
	if !l.At.IsZero() && l.At.Before(r.Since) {
		return nil
	}
	r.count++
	if r.count <= r.skip {
		return nil
	}
	return r.line(l)
}

// past reads what is there. A line without an end is shown as it is, unless its
// end may still come.
func (r *reader) past() error {
	if err := r.behind(); err != nil || r.Follow {
		return err
	}
	return r.flush()
}

func (r *reader) behind() error {
	files, err := chain(r.File, nil)
	if err != nil {
		return err
	}
	if len(files) == 0 && !r.Follow {
		return fmt.Errorf("read log %s: %w", r.File, fs.ErrNotExist)
	}
	r.files = files
	ends := sizes(files)
	if r.Tail == 0 {
		return r.walk(0, 0, ends)
	}
	first, start := r.beginning(ends)
	shown := r.renderer.emit
	r.renderer.emit = func(l Line) error { // once to count, for what is torn makes no line of its own
		if l.At.IsZero() || !l.At.Before(r.Since) {
			r.count++
		}
		return nil
	}
	if err := r.walk(first, start, ends); err != nil {
		return err
	}
	if !r.Follow {
		if err := r.flush(); err != nil {
			return err
		}
	}
	r.renderer = renderer{emit: shown}
	r.skip, r.count = r.count-max(r.Tail, 0), 0
	return r.walk(first, start, ends)
}

func sizes(files []*file) []int64 {
	ends := make([]int64, len(files))
	for i, f := range files {
		ends[i] = f.size()
	}
	return ends
}

// walk reads from start in the first of files on to the ends.
func (r *reader) walk(first int, start int64, ends []int64) error {
	for i, f := range r.files {
		switch older := r.Since.After(f.info.ModTime()) && i < len(r.files)-1; {
		case i < first || older:
			f.seek(ends[i])
		case i == first:
			f.seek(start)
		default:
			f.seek(0)
		}
		if err := f.render(&r.renderer, ends[i], r.stop); err != nil {
			return err
		}
	}
	return nil
}

// beginning returns where to begin so that the tail is surely there.
func (r *reader) beginning(ends []int64) (first int, start int64) {
	want := max(r.Tail, 0) + torn
	for i, f := range slices.Backward(r.files) {
		start, found := f.lastLines(want, ends[i])
		if found >= want {
			return i, start
		}
		want -= found
	}
	return 0, 0
}

// follow reads what comes.
func (r *reader) follow(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		if err := r.look(); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if err := r.flush(); err != nil {
				return err
			}
			return ctx.Err() //nolint:wrapcheck // being told to end is no story
		}
	}
}

// look reads what has come, and goes on in the next file where there is one. The
// next one is looked for first: when it is there, the one before is complete.
func (r *reader) look() error {
	var more []*file
	if len(r.files) == 0 || !r.newest().named(r.File) {
		var err error
		if more, err = chain(r.File, r.files); err != nil {
			return err
		}
	}
	last := max(len(r.files)-1, 0)
	r.files = append(r.files, more...)
	ends := sizes(r.files)
	for i, f := range r.files[last:] {
		if err := r.advance(f, ends[last+i]); err != nil {
			return err
		}
	}
	if len(more) > 0 {
		r.forget()
	}
	return nil
}

func (r *reader) newest() *file { return r.files[len(r.files)-1] }

// advance reads a file that is so long to its end.
func (r *reader) advance(f *file, size int64) error {
	if size < f.pos { // somebody has made it shorter: what was begun is gone
		if err := r.flush(); err != nil {
			return err
		}
		f.pos, f.marks = 0, marks{r: f.marks.r}
	}
	if f.idx == nil && f.named(r.File) && !f.index(r.File) {
		f.marks = marks{}
	}
	return f.render(&r.renderer, size, r.stop)
}

// forget closes the files that are gone. The others are kept, to be known again.
func (r *reader) forget() {
	kept := r.files[:0]
	for i, f := range r.files {
		if i == len(r.files)-1 || f.anywhere(r.File) {
			kept = append(kept, f)
		} else {
			f.close()
		}
	}
	r.files = kept
}

// anywhere reports whether f is one of the files of the log at path still.
func (f *file) anywhere(path string) bool {
	for n, missing := 0, 0; n < maxFiles && missing < 2; n++ {
		if f.named(keeperwire.Rotated(path, n)) {
			return true
		}
		if _, err := os.Stat(keeperwire.Rotated(path, n)); err != nil {
			missing++
		} else {
			missing = 0
		}
	}
	return false
}
