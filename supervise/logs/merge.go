package logs

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"slices"
	"time"
)

// Merge calls line with each line of several logs, the oldest first; those of one
// log stay in its order. files names the logs: once, or with Follow at every look,
// so that logs that come are read from their beginning and those that go are left
// at their end. One that is not there has no lines. Of o, File is not
// looked at, and Tail counts in each log. With Follow it returns the context's
// error.
func Merge(ctx context.Context, files func() []string, o Options, line func(file string, l Line) error) error {
	m := &merger{Options: o, files: files, line: line, stop: ctx.Err}
	defer func() { m.leave(m.readers) }()
	m.join(files())
	if err := m.round(m.readers, (*reader).past); err != nil {
		return err
	}
	if !o.Follow {
		return nil
	}
	m.Tail = 0 // of the past
	return m.follow(ctx)
}

// merger reads several logs, round by round: no round shows what comes during it.
type merger struct {
	Options

	files   func() []string
	line    func(string, Line) error
	stop    func() error
	readers []*reader
}

// join begins to read those of files that are not read yet, and returns the
// readers of what is no longer one of them.
func (m *merger) join(files []string) (gone []*reader) {
	var known []string
	for _, r := range m.readers {
		if known = append(known, r.File); !slices.Contains(files, r.File) {
			gone = append(gone, r)
		}
	}
	for _, f := range files {
		if slices.Contains(known, f) {
			continue
		}
		o := m.Options
		o.File = f
		r := &reader{Options: o, stop: m.stop}
		r.renderer.emit = r.emit
		m.readers = append(m.readers, r)
	}
	return gone
}

// leave ends the reading of some.
func (m *merger) leave(gone []*reader) {
	for _, r := range gone {
		closeAll(r.files)
	}
	m.readers = slices.DeleteFunc(m.readers, func(r *reader) bool { return slices.Contains(gone, r) })
}

// follow shows what comes.
func (m *merger) follow(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		gone := m.join(m.files())
		if err := m.round(m.readers, func(r *reader) error {
			if slices.Contains(gone, r) {
				return r.rest()
			}
			return r.look()
		}); err != nil {
			return err
		}
		m.leave(gone)
		select {
		case <-tick.C:
		case <-ctx.Done():
			if err := m.round(m.readers, (*reader).flush); err != nil {
				return err
			}
			return ctx.Err() //nolint:wrapcheck // being told to end is no story
		}
	}
}

// rest shows what is left of a log that is followed no longer.
func (r *reader) rest() error {
	if err := r.look(); err != nil {
		return err
	}
	return r.flush()
}

// round shows the lines that pass finds in each of some logs.
func (m *merger) round(some []*reader, pass func(*reader) error) error {
	var heads []*head // the next line of each, oldest first
	defer func() {
		for _, h := range heads {
			h.end()
		}
	}()
	for _, r := range some {
		h := newHead(r, pass)
		if err := h.advance(); err != nil {
			h.end()
			return err
		}
		heads = insert(heads, h)
	}
	for len(heads) > 0 {
		h := heads[0]
		if err := m.line(h.file, h.line); err != nil {
			return err
		}
		if err := h.advance(); err != nil {
			return err
		}
		heads = insert(heads[1:], h)
	}
	return nil
}

// insert puts h where its line belongs, after those of the same time; or ends it
// if it has no more.
func insert(heads []*head, h *head) []*head {
	if h.over {
		h.end()
		return heads
	}
	n, _ := slices.BinarySearchFunc(heads, h, func(in, h *head) int {
		if in.at.After(h.at) {
			return 1
		}
		return -1
	})
	return slices.Insert(heads, n, h)
}

// head is the next line of one log in a round.
type head struct {
	file string
	next func() (Line, bool)
	end  func()
	err  error

	line Line
	at   time.Time // where line belongs: a line is not before the one before it
	over bool
}

// errEnough ends a pass whose lines nobody takes any more.
var errEnough = errors.New("nobody reads on")

// newHead begins a pass over the log of r.
func newHead(r *reader, pass func(*reader) error) *head {
	h := &head{file: r.File}
	h.next, h.end = iter.Pull(func(yield func(Line) bool) {
		r.line = func(l Line) error {
			if !yield(l) {
				return errEnough
			}
			return nil
		}
		h.err = pass(r)
	})
	return h
}

// advance goes to the next line. The text of the one before is gone then.
func (h *head) advance() error {
	line, ok := h.next()
	if h.line, h.over = line, !ok; ok && line.At.After(h.at) {
		h.at = line.At
	}
	if errors.Is(h.err, fs.ErrNotExist) {
		return nil
	}
	return h.err
}
