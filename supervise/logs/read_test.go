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
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/backstay/backstay/internal/keeperwire"
)

const (
	out    = keeperwire.Stdout
	errs   = keeperwire.Stderr
	keeper = keeperwire.Keeper
)

// pen writes a log as the keeper does: the mark first, then the bytes.
type pen struct {
	t        *testing.T
	path     string
	log, idx *os.File
	off      int64
}

func newPen(t *testing.T) *pen {
	t.Helper()
	p := &pen{t: t, path: filepath.Join(t.TempDir(), "shop-7f3a9c.log")}
	p.open()
	t.Cleanup(p.close)
	return p
}

func (p *pen) open() {
	var err error
	p.log, err = os.OpenFile(p.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
	must(p.t, err)
	p.idx, err = os.OpenFile(keeperwire.Index(p.path), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o640)
	must(p.t, err)
	p.off = 0
}

func (p *pen) close() { _, _ = p.log.Close(), p.idx.Close() }

// at is the time called n in tests.
func at(n int) time.Time { return time.Unix(1_700_000_000+int64(n), 0) }

func (p *pen) mark(m keeperwire.Mark) {
	_, err := p.idx.Write(keeperwire.AppendMark(nil, m))
	must(p.t, err)
}

func (p *pen) write(stream keeperwire.Stream, n int, text string, flags ...uint8) {
	m := keeperwire.Mark{Offset: uint64(p.off), At: at(n).UnixNano(), Stream: stream}
	for _, f := range flags {
		m.Flags |= f
	}
	p.mark(m)
	p.raw(text)
}

func (p *pen) raw(text string) {
	n, err := p.log.WriteString(text)
	must(p.t, err)
	p.off += int64(n)
}

// rotate does what the keeper does: indexes go first.
func (p *pen) rotate(old int) {
	p.close()
	for n := old; n > 0; n-- {
		from, to := keeperwire.Rotated(p.path, n-1), keeperwire.Rotated(p.path, n)
		_ = os.Rename(keeperwire.Index(from), keeperwire.Index(to))
		_ = os.Rename(from, to)
	}
	p.open()
}

// read returns the lines as text: time, stream, text.
func read(t *testing.T, o Options) []string {
	t.Helper()
	lines := []string{}
	must(t, Read(t.Context(), o, func(l Line) error {
		lines = append(lines, show(l))
		return nil
	}))
	return lines
}

func show(l Line) string {
	when := "-"
	if !l.At.IsZero() {
		when = fmt.Sprint(l.At.Unix() - at(0).Unix())
	}
	return fmt.Sprintf("%s %s %s", when, l.Stream, l.Text)
}

func want(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(append([]string{}, want...), got); diff != "" {
		t.Errorf("%s:\n%s", what, diff)
	}
}

func TestLogThatIsNotThere(t *testing.T) {
	o := Options{File: filepath.Join(t.TempDir(), "no.log")}
	if err := Read(t.Context(), o, nil); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "no.log") {
		t.Errorf("%v", err)
	}
	must(t, os.Mkdir(o.File, 0o700))
	if err := Read(t.Context(), o, nil); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("%v", err)
	}
}

func TestLinesHaveTheirTimeAndStream(t *testing.T) {
	p := newPen(t)
	p.write(out, 1, "one\ntwo\n", keeperwire.Fresh)
	p.write(errs, 2, "oh\n")
	p.write(out, 3, "\nnul \x00\xff\r\nunfinished")
	want(t, "all", read(t, Options{File: p.path}), "1 stdout one", "1 stdout two", "2 stderr oh", "3 stdout ", "3 stdout nul \x00\xff\r", "3 stdout unfinished")
}

// Both streams print halves of lines in turn: each line is whole again, and has
// the time of its beginning.
func TestTornLinesAreJoinedByStream(t *testing.T) {
	p := newPen(t)
	p.write(out, 1, "first ")
	p.write(errs, 2, "trouble: ", keeperwire.Torn)
	p.write(out, 3, "second", keeperwire.Torn)
	p.write(errs, 4, "disk\n", keeperwire.Torn)
	p.write(out, 5, " third\n")
	want(t, "all", read(t, Options{File: p.path}), "2 stderr trouble: disk", "1 stdout first second third")
	want(t, "tail", read(t, Options{File: p.path, Tail: 1}), "1 stdout first second third")
}

// A line that a run began and did not end is not gone on with by the next run,
// nor is one over bytes that were lost.
func TestLinesDoNotReachOverARunOrAHole(t *testing.T) {
	p := newPen(t)
	p.write(out, 1, "dying")
	p.write(out, 2, "born\nhalf", keeperwire.Fresh)
	p.write(keeper, 3, "\nbackstay: dropped 7 bytes\n", keeperwire.Lost)
	p.write(out, 4, "on\n")
	want(t, "all", read(t, Options{File: p.path}), "1 stdout dying", "2 stdout born", "2 stdout half", "3 backstay backstay: dropped 7 bytes", "4 stdout on")
}

func TestIndexThatIsMissingTornOrWrong(t *testing.T) {
	text := "one\ntwo\nthree\n"
	mark := func(off uint64, n int, s keeperwire.Stream) string {
		return string(keeperwire.AppendMark(nil, keeperwire.Mark{Offset: off, At: at(n).UnixNano(), Stream: s}))
	}
	unknown := []string{"- stdout one", "- stdout two", "- stdout three"}
	for name, c := range map[string]struct {
		index string
		want  []string
	}{
		"empty":               {"", unknown},
		"half a mark":         {mark(0, 1, out)[:9], unknown},
		"a mark and a half":   {mark(0, 1, out) + mark(4, 2, errs)[:15], []string{"1 stdout one", "1 stdout two", "1 stdout three"}},
		"begins late":         {mark(8, 2, errs), []string{"- stdout one", "- stdout two", "2 stderr three"}},
		"beyond the end":      {mark(0, 1, out) + mark(1<<40, 2, errs) + mark(4, 3, errs), []string{"1 stdout one", "3 stderr two", "3 stderr three"}},
		"backward":            {mark(0, 1, out) + mark(8, 2, errs) + mark(4, 3, out), []string{"1 stdout one", "1 stdout two", "2 stderr three"}},
		"twice at one offset": {mark(0, 1, out) + mark(0, 2, errs), []string{"2 stderr one", "2 stderr two", "2 stderr three"}},
		"at the end":          {mark(0, 1, out) + mark(14, 2, errs), []string{"1 stdout one", "1 stdout two", "1 stdout three"}},
		"no such stream":      {"\x00\x00\x00\x00\x00\x00\x77\x00\x00\x00\x00\x00\x00\x00\x00\x00" + mark(4, 2, errs), []string{"- stdout one", "2 stderr two", "2 stderr three"}},
	} {
		p := newPen(t)
		p.raw(text)
		_, err := p.idx.WriteString(c.index)
		must(t, err)
		want(t, name, read(t, Options{File: p.path}), c.want...)
		want(t, name+", tail", read(t, Options{File: p.path, Tail: 2}), c.want[1:]...)
	}
	p := newPen(t)
	p.raw(text)
	must(t, os.Remove(keeperwire.Index(p.path)))
	want(t, "missing", read(t, Options{File: p.path, Since: at(5)}), unknown...)
	must(t, os.Mkdir(keeperwire.Index(p.path), 0o700))
	want(t, "directory", read(t, Options{File: p.path}), unknown...)
}

func TestEndlessLineIsCutAndSaysSo(t *testing.T) {
	p := newPen(t)
	const size = 100 << 20
	p.write(out, 1, "before\n")
	chunk := strings.Repeat("x", 1<<20)
	for range size >> 20 {
		p.raw(chunk)
	}
	p.raw("\nafter\n")
	cut := "1 stdout " + strings.Repeat("x", maxLine) + cutMark
	want(t, "all", read(t, Options{File: p.path}), "1 stdout before", cut, "1 stdout after")
	want(t, "tail", read(t, Options{File: p.path, Tail: 2}), cut, "1 stdout after")
	q := newPen(t)
	q.raw(strings.Repeat("y", maxLine) + "\n" + strings.Repeat("z", maxLine+1))
	want(t, "exactly and one more", read(t, Options{File: q.path}), "- stdout "+strings.Repeat("y", maxLine), "- stdout "+strings.Repeat("z", maxLine)+cutMark)
}

// numbered writes lines from..to in pieces of random size, from both streams.
func (p *pen) numbered(r *rand.Rand, from, to int) {
	for i := from; i <= to; i++ {
		line := fmt.Sprintf("line %d %s\n", i, strings.Repeat("x", r.IntN(30)))
		half := r.IntN(len(line))
		p.write(out, i, line[:half])
		if r.IntN(3) == 0 {
			p.write(errs, i, "noise\n", keeperwire.Torn)
		}
		p.write(out, i, line[half:])
	}
}

// numbers returns the numbers of the numbered lines.
func numbers(lines []string) (ns []int) {
	for _, l := range lines {
		var at, n int
		if _, err := fmt.Sscanf(l, "%d stdout line %d", &at, &n); err == nil {
			ns = append(ns, n)
		}
	}
	return ns
}

func upTo(from, to int) (ns []int) {
	for i := from; i <= to; i++ {
		ns = append(ns, i)
	}
	return ns
}

// The tail is the end of the whole, whatever its length, over older files too.
func TestTailIsTheEndOfAll(t *testing.T) {
	p := newPen(t)
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 4 {
		p.numbered(r, n*300+1, n*300+300)
		if n < 3 {
			p.rotate(5)
		}
	}
	all := read(t, Options{File: p.path})
	if diff := cmp.Diff(upTo(1, 1200), numbers(all)); diff != "" {
		t.Fatal(diff)
	}
	for _, n := range []int{1, 2, 5, 100, 299, 300, 301, 500, 1000, len(all) - 1, len(all), len(all) + 10} {
		if diff := cmp.Diff(all[max(0, len(all)-n):], read(t, Options{File: p.path, Tail: n})); diff != "" {
			t.Errorf("tail %d:\n%s", n, diff)
		}
	}
	want(t, "none", read(t, Options{File: p.path, Tail: -1}))
	for _, n := range []int{1, 300, 601, 1200, 1201} {
		since := read(t, Options{File: p.path, Since: at(n)})
		if got := numbers(since); !slices.Equal(got, upTo(n, 1200)) {
			t.Errorf("since %d: %d lines", n, len(got))
		}
		if diff := cmp.Diff(since[max(0, len(since)-7):], read(t, Options{File: p.path, Since: at(n), Tail: 7})); diff != "" {
			t.Errorf("since %d, tail 7:\n%s", n, diff)
		}
	}
}

// follow collects lines in the background until stop is called.
func follow(t *testing.T, o Options) (stop func() []string) {
	t.Helper()
	o.Follow = true
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	var lines []string
	go func() {
		done <- Read(ctx, o, func(l Line) error { lines = append(lines, show(l)); return nil })
	}()
	return func() []string {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
		return lines
	}
}

func pause() { time.Sleep(2 * lookEvery) }

// The log is written and rotated at any moment, faster than it is looked at.
func TestFollowOverRotationLosesAndDoublesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPen(t)
		r := rand.New(rand.NewPCG(3, 4))
		p.numbered(r, 1, 50)
		stop := follow(t, Options{File: p.path})
		tailed := follow(t, Options{File: p.path, Tail: 3})
		pause()
		last := 50
		for range 60 {
			n := 1 + r.IntN(20)
			p.numbered(r, last+1, last+n)
			last += n
			switch r.IntN(4) {
			case 0:
				p.rotate(8)
			case 1, 2:
				time.Sleep(time.Duration(r.IntN(200)) * time.Millisecond)
			}
			if r.IntN(10) == 0 {
				p.rotate(8)
				p.rotate(8)
				pause()
			}
		}
		pause()
		if diff := cmp.Diff(upTo(1, last), numbers(stop())); diff != "" {
			t.Error(diff)
		}
		if got := numbers(tailed()); got[len(got)-1] != last || !slices.Equal(got, upTo(got[0], last)) || got[0] < 48 {
			t.Errorf("with a tail: %d", got)
		}
	})
}

func TestFollowWaitsForTheEndOfALine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPen(t)
		p.write(out, 1, "half")
		stop := follow(t, Options{File: p.path, Tail: 1})
		pause()
		p.write(errs, 2, "other\n", keeperwire.Torn)
		pause()
		p.write(out, 3, " a line\nthe last")
		pause()
		want(t, "followed", stop(), "2 stderr other", "1 stdout half a line", "3 stdout the last")
	})
}

func TestFollowOverTruncationRemovalAndBirth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPen(t)
		must(t, os.Remove(p.path))
		must(t, os.Remove(keeperwire.Index(p.path)))
		stop := follow(t, Options{File: p.path})
		pause()
		p.open() // born while it is followed
		p.write(out, 1, "one\nbegun")
		pause()
		must(t, p.log.Truncate(0)) // by somebody; the keeper sees it and begins the index anew
		pause()
		must(t, p.idx.Truncate(0))
		p.off = 0
		p.write(errs, 2, "two\n")
		pause()
		must(t, os.Remove(p.path)) // by somebody; the keeper opens another
		p.close()
		pause()
		must(t, os.Remove(keeperwire.Index(p.path)))
		p.open()
		p.write(out, 3, "three\n")
		pause()
		want(t, "followed", stop(), "1 stdout one", "1 stdout begun", "2 stderr two", "3 stdout three")
	})
}

func TestReadingEndsWithItsReader(t *testing.T) {
	p := newPen(t)
	p.raw(strings.Repeat("x\n", 10))
	enough := errors.New("enough")
	n := 0
	err := Read(t.Context(), Options{File: p.path}, func(Line) error {
		if n++; n == 3 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || n != 3 {
		t.Errorf("%v after %d lines", err, n)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Read(ctx, Options{File: p.path}, func(Line) error { t.Error("a line"); return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
