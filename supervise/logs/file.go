package logs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/backstay/backstay/internal/keeperwire"
)

const (
	// blockSize is how much of a log is read at a time, in bytes.
	blockSize = 256 << 10
	// maxFiles is how many older files of a log are looked for.
	maxFiles = 1000
)

// file is one file of a log, open, and how far it has been read.
type file struct {
	log   *os.File
	idx   *os.File // nil: there is none
	info  fs.FileInfo
	pos   int64
	marks marks
}

// openFile opens the n-th older file of the log at path, with its index.
func openFile(path string, n int) (f *file, err error) {
	name := keeperwire.Rotated(path, n)
	for range renames {
		if f, err = openLog(name); err != nil {
			return nil, err
		}
		if f.index(name) {
			return f, nil
		}
		f.close() // it was renamed in between
	}
	return openLog(name)
}

// renames is how many renames of a log one opening of it may meet.
const renames = 3

func openLog(name string) (*file, error) {
	log, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read log: %w", err)
	}
	info, err := log.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", name)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read log: %w", err), log.Close())
	}
	return &file{log: log, info: info}, nil
}

// index opens the index of a log called name, if there is one: without it lines
// are still lines. It reports whether f is still called so; an index is renamed
// before its log, and so it would be another's otherwise.
func (f *file) index(name string) (same bool) {
	idx, err := os.Open(keeperwire.Index(name))
	if info, statErr := os.Stat(name); statErr != nil || !os.SameFile(info, f.info) {
		_ = idx.Close() // of nil is harmless
		return false
	}
	if err != nil {
		return true
	}
	if info, err := idx.Stat(); err != nil || !info.Mode().IsRegular() {
		_ = idx.Close()
		return true
	}
	f.idx, f.marks = idx, marks{r: idx}
	return true
}

func (f *file) close() {
	_ = f.log.Close()
	if f.idx != nil {
		_ = f.idx.Close()
	}
}

func (f *file) size() int64 { return sizeOf(f.log) }

func sizeOf(f *os.File) int64 {
	if f == nil {
		return 0
	}
	info, err := f.Stat()
	if err != nil {
		return 0
	}
	return info.Size()
}

// seek has reading begin at pos.
func (f *file) seek(pos int64) {
	f.pos = pos
	f.marks.seek(pos, sizeOf(f.idx))
}

// render hands what lies between the place where reading has come to and end to
// r. Every byte has its mark on disk before itself, so bytes are read first.
func (f *file) render(r *renderer, end int64, stop func() error) error {
	if f.pos >= end {
		return nil
	}
	b := make([]byte, min(blockSize, end-f.pos))
	for f.pos < end {
		if err := stop(); err != nil {
			return err
		}
		n, err := f.log.ReadAt(b[:min(int64(len(b)), end-f.pos)], f.pos)
		if err := f.block(r, b[:n]); err != nil {
			return err
		}
		switch {
		case errors.Is(err, io.EOF): // it has become shorter
			return nil
		case err != nil:
			return fmt.Errorf("read log: %w", err)
		}
	}
	return nil
}

// block hands bytes at the place where reading has come to, mark by mark.
func (f *file) block(r *renderer, b []byte) error {
	for len(b) > 0 {
		mark, good, changed := f.marks.at(f.pos, f.size)
		if changed && mark.Flags&(keeperwire.Fresh|keeperwire.Lost) != 0 {
			if err := r.flush(); err != nil { // what was begun is not gone on with
				return err
			}
		}
		n := min(good, int64(len(b)))
		if err := r.piece(mark.Stream, f.marks.when(), b[:n]); err != nil {
			return err
		}
		b, f.pos = b[n:], f.pos+n
	}
	return nil
}

// lastLines returns where the last n lines before end begin, or 0 and how many
// newlines there are if there are no more.
func (f *file) lastLines(n int, end int64) (start int64, found int) {
	b := make([]byte, min(blockSize, end))
	for end > 0 {
		from := max(0, end-blockSize)
		block := b[:end-from]
		if _, err := f.log.ReadAt(block, from); err != nil {
			return 0, found // it has become shorter: from the beginning, then
		}
		for i := bytes.LastIndexByte(block, '\n'); i >= 0; i = bytes.LastIndexByte(block[:i], '\n') {
			if found == n {
				return from + int64(i) + 1, found
			}
			found++
		}
		end = from
	}
	return 0, found
}

// chain opens the files of the log at path that are not known, oldest first. One
// that is renamed meanwhile is met twice and taken once.
func chain(path string, known []*file) (files []*file, err error) {
	for n, missing := 0, 0; n < maxFiles && missing < 2; n++ { // one is missing in the middle of a rotation
		f, err := openFile(path, n)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			missing++
			continue
		case err != nil:
			closeAll(files)
			return nil, err
		case f.among(files) || f.among(known):
			f.close()
		default:
			files = append([]*file{f}, files...)
		}
		missing = 0
	}
	return files, nil
}

// among reports whether f is one of files.
func (f *file) among(files []*file) bool {
	for _, other := range files {
		if os.SameFile(f.info, other.info) {
			return true
		}
	}
	return false
}

// named reports whether the file of that name is f.
func (f *file) named(name string) bool {
	info, err := os.Stat(name)
	return err == nil && os.SameFile(info, f.info)
}

func closeAll(files []*file) {
	for _, f := range files {
		f.close()
	}
}
