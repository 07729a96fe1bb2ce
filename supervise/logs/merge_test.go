package logs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// merged returns the lines of several logs as text: log, time, stream, text.
func merged(t *testing.T, o Options, files ...string) []string {
	t.Helper()
	lines := []string{}
	must(t, Merge(t.Context(), func() []string { return files }, o, func(file string, l Line) error {
		lines = append(lines, filepath.Base(filepath.Dir(file))+" "+show(l))
		return nil
	}))
	return lines
}

// pens returns one pen for each of several logs, in directories of their names.
func pens(t *testing.T, names ...string) (pens []*pen, files []string) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		p := &pen{t: t, path: filepath.Join(dir, name, "x.log")}
		must(t, os.Mkdir(filepath.Dir(p.path), 0o700))
		p.open()
		t.Cleanup(p.close)
		pens, files = append(pens, p), append(files, p.path)
	}
	return pens, files
}

// Whoever reads the logs of a service reads what happened in the order in which
// it did, over rotations; lines of one moment stay with their log.
func TestLinesOfSeveralLogsComeByTime(t *testing.T) {
	p, files := pens(t, "a", "b", "c")
	p[0].write(out, 1, "one\none and a half\n")
	p[1].write(errs, 2, "two\n")
	p[0].write(out, 3, "three\n")
	p[1].rotate(1)
	p[1].write(out, 3, "three too\n")
	p[0].write(out, 6, "six, without end")
	p[1].write(out, 5, "five\n")
	want(t, "all", merged(t, Options{}, files...),
		"a 1 stdout one", "a 1 stdout one and a half", "b 2 stderr two", "a 3 stdout three", "b 3 stdout three too", "b 5 stdout five", "a 6 stdout six, without end")
	want(t, "tail", merged(t, Options{Tail: 1}, files...), "b 5 stdout five", "a 6 stdout six, without end")
	want(t, "since", merged(t, Options{Since: at(5)}, files...), "b 5 stdout five", "a 6 stdout six, without end")
}

// The lines of one log stay in its order, though one that was torn has an older
// time than those that came to an end before it, and some have none.
func TestMergingKeepsTheOrderOfEachLog(t *testing.T) {
	p, files := pens(t, "a", "b")
	p[0].write(out, 1, "begun ")
	p[0].write(errs, 4, "four\n", 0)
	p[0].write(out, 5, "and ended\n", 0)
	p[1].raw("when?\n")
	p[1].write(out, 3, "three\n")
	p[1].write(out, 6, "six\n")
	want(t, "all", merged(t, Options{}, files...),
		"b - stdout when?", "b 3 stdout three", "a 4 stderr four", "a 1 stdout begun and ended", "b 6 stdout six")
}

func TestMergingPassesOverWhatIsNotThere(t *testing.T) {
	p, files := pens(t, "a")
	p[0].write(out, 1, "one\n")
	want(t, "all", merged(t, Options{}, filepath.Join(t.TempDir(), "gone.log"), files[0]), "a 1 stdout one")
	want(t, "none", merged(t, Options{}))
	must(t, os.Mkdir(filepath.Join(filepath.Dir(files[0]), "y.log"), 0o700))
	err := Merge(t.Context(), func() []string { return []string{files[0], filepath.Dir(files[0]) + "/y.log"} }, Options{}, func(string, Line) error { return nil })
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory for a log: %v", err)
	}
}

// Lines that are written between two looks are shown by their time, whichever
// log is looked at first; logs come and go meanwhile.
func TestFollowedLogsAreMergedAsTheyCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, files := pens(t, "a", "b", "c")
		p[0].write(out, 1, "old\n")
		var live atomic.Pointer[[]string]
		has := func(files []string) { live.Store(&files) }
		has(files[:2])
		var lines []string
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- Merge(ctx, func() []string { return *live.Load() }, Options{Follow: true, Tail: 5}, func(file string, l Line) error {
				lines = append(lines, filepath.Base(filepath.Dir(file))+" "+show(l))
				return nil
			})
		}()
		pause()
		time.Sleep(lookEvery / 2) // all that follows lies between two looks
		p[1].write(out, 3, "three\n")
		p[0].write(out, 2, "two\n")
		p[0].write(out, 4, "four\n")
		pause()
		has(files[1:]) // a has gone, and c has come
		p[0].write(out, 5, "last words")
		p[2].write(out, 6, "first\n")
		pause()
		p[0].write(out, 7, " that nobody hears\n")
		p[2].write(out, 9, "nine\n")
		p[1].write(out, 8, "eight\nunfinished")
		pause()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
		want(t, "followed", lines, "a 1 stdout old", "a 2 stdout two", "b 3 stdout three", "a 4 stdout four", "a 5 stdout last words",
			"c 6 stdout first", "b 8 stdout eight", "c 9 stdout nine", "b 8 stdout unfinished")
	})
}

// Whoever has had enough ends all reading: no file stays open.
func TestMergingEndsWithItsReader(t *testing.T) {
	p, files := pens(t, "a", "b", "c")
	for i := range 30 {
		p[i%3].write(out, i, "x\n")
	}
	enough, n := errors.New("enough"), 0
	before := openFiles(t)
	err := Merge(t.Context(), func() []string { return files }, Options{Follow: true}, func(string, Line) error {
		if n++; n == 7 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || n != 7 || openFiles(t) != before {
		t.Errorf("%v after %d lines, %d files open, were %d", err, n, openFiles(t), before)
	}
}

// openFiles counts the logs that this process has open.
func openFiles(t *testing.T) (n int) {
	t.Helper()
	fds, err := filepath.Glob("/proc/self/fd/*")
	must(t, err)
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && strings.Contains(to, t.TempDir()[:len(os.TempDir())+5]) {
			n++
		}
	}
	return n
}

// Whatever is written where, each line is shown once, in the order of its log,
// and those that have been there from the start by their time.
func TestMergeLosesAndDoublesNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	p, files := pens(t, "a", "b", "c", "d")
	var lines []string
	for n := range 2000 {
		who := r.IntN(len(p))
		p[who].write(out, n, fmt.Sprintf("line %d\n", n))
		lines = append(lines, fmt.Sprintf("%c %d stdout line %d", 'a'+who, n, n))
		if r.IntN(100) == 0 {
			p[who].rotate(30)
		}
	}
	if got := merged(t, Options{}, files...); !slices.Equal(got, lines) {
		t.Errorf("%d of %d lines, or another order", len(got), len(lines))
	}
}
