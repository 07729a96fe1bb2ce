package pump_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/backstay/backstay/host/proc/keeper/pump"
	"github.com/backstay/backstay/internal/keeperwire"
)

// bench is a pumper with one source: what is written to ends goes to log.
type bench struct {
	t    *testing.T
	p    *pump.Pumper
	ends [2]int
	log  string
	lost atomic.Uint64
}

func newBench(t *testing.T, lim pump.Limits) *bench {
	t.Helper()
	b := &bench{t: t, log: t.TempDir() + "/x.log"}
	p, err := pump.New(func(_ int, _ string, total uint64, _ string, _ bool) { b.lost.Store(total) })
	if err != nil {
		t.Fatal(err)
	}
	b.p = p
	var ours [2]int
	for i := range ours {
		var pair [2]int
		if err := syscall.Pipe2(pair[:], syscall.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		_ = syscall.SetNonblock(pair[0], true)
		ours[i], b.ends[i] = pair[0], pair[1]
	}
	t.Cleanup(func() {
		p.Forget(1)
		p.Settle()
		_, _ = syscall.Close(b.ends[0]), syscall.Close(b.ends[1])
	})
	p.Open(pump.Source{Place: 1, ID: "x", Pipes: ours, Log: b.log, Limits: lim, Fresh: true})
	return b
}

func (b *bench) write(stream int, text string) {
	b.t.Helper()
	if n, err := syscall.Write(b.ends[stream], []byte(text)); err != nil || n != len(text) {
		b.t.Fatal(n, err)
	}
}

// drain returns when all that was written is in the log.
func (b *bench) drain() {
	b.p.Drain(1)
	b.p.Settle()
}

func (b *bench) read(n int) string {
	text, _ := os.ReadFile(keeperwire.Rotated(b.log, n))
	return string(text)
}

func (b *bench) until(want string) {
	b.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for b.read(0) != want {
		if time.Now().After(deadline) {
			b.t.Fatalf("%q, want %q", b.read(0), want)
		}
		time.Sleep(time.Millisecond)
	}
}

func (b *bench) marks() (marks []keeperwire.Mark) {
	b.t.Helper()
	idx, err := os.ReadFile(keeperwire.Index(b.log))
	if err != nil {
		b.t.Fatal(err)
	}
	for ; len(idx) > 0; idx = idx[keeperwire.MarkSize:] {
		m, err := keeperwire.DecodeMark(idx)
		if err != nil {
			b.t.Fatal(err)
		}
		marks = append(marks, m)
	}
	return marks
}

func TestWholeLinesOfTwoStreamsDoNotMix(t *testing.T) {
	t.Parallel()
	b := newBench(t, pump.Limits{})
	b.write(0, "one\nhal")
	b.until("one\n")
	b.write(1, "oops\n")
	b.until("one\noops\n") // at once: the half line is still in the FIFO
	b.write(0, "f\n")
	b.until("one\noops\nhalf\n")
	var got []string
	for _, m := range b.marks() {
		got = append(got, fmt.Sprintf("%d:%d:%d", m.Offset, m.Stream, m.Flags))
	}
	if want := "0:0:2 4:1:0 9:0:0"; strings.Join(got, " ") != want {
		t.Errorf("marks %q, want %q", got, want)
	}
}

func TestLineThatDoesNotEndIsWrittenInTime(t *testing.T) {
	t.Parallel()
	b := newBench(t, pump.Limits{})
	b.write(0, "password: ")
	b.until("password: ")
	b.write(1, "oops\n")
	b.until("password: oops\n")
	if m := b.marks(); len(m) != 2 || m[1].Flags&keeperwire.Torn == 0 {
		t.Errorf("%+v", m)
	}
	b.write(0, "more\n") // and it is watched as before
	b.until("password: oops\nmore\n")
}

func TestDrainWritesWhatHasNoEnd(t *testing.T) {
	t.Parallel()
	b := newBench(t, pump.Limits{})
	b.write(0, "a\nlast words")
	b.write(1, "and these")
	b.drain()
	if lost := b.lost.Load(); lost != 0 || b.read(0) != "a\nlast wordsand these" {
		t.Errorf("%d lost, %q", lost, b.read(0))
	}
}

func TestRotationIsAtTheEndOfALineAndFinishedAfterAKill(t *testing.T) {
	t.Parallel()
	b := newBench(t, pump.Limits{Size: 8, Files: 2})
	for i := range 4 {
		b.write(0, fmt.Sprintf("line %d\nrest\n", i))
		b.drain()
	}
	if b.read(0) != "line 3\nrest\n" || b.read(1) != "line 2\nrest\n" || b.read(2) != "" {
		t.Errorf("%q %q %q", b.read(0), b.read(1), b.read(2))
	}
	b.p.Close(1)
	b.p.Settle()
	if err := os.Rename(keeperwire.Index(b.log), keeperwire.Index(keeperwire.Rotated(b.log, 1))); err != nil {
		t.Fatal(err)
	}
	_ = os.Remove(keeperwire.Rotated(b.log, 1))
	// So a keeper leaves them that is killed between the two renames.
	again := newBench(t, pump.Limits{Size: 8, Files: 2})
	again.p.Open(pump.Source{Place: 2, ID: "y", Pipes: [2]int{dup(t), dup(t)}, Log: b.log, Limits: pump.Limits{Size: 8, Files: 2}})
	again.p.Settle()
	if b.read(0) != "" || b.read(1) != "line 3\nrest\n" {
		t.Errorf("%q %q", b.read(0), b.read(1))
	}
	again.p.Forget(2)
}

// TestRotationRenamesEachIndexBeforeItsLog listens to the directory: of the two
// ways to be killed between them only one can be told from a log that is whole.
func TestRotationRenamesEachIndexBeforeItsLog(t *testing.T) {
	t.Parallel()
	b := newBench(t, pump.Limits{Size: 8, Files: 3})
	b.write(0, "line 0\nrest\n")
	b.drain()
	b.write(0, "line 1\nrest\n")
	b.drain()
	fd, err := syscall.InotifyInit1(syscall.IN_CLOEXEC | syscall.IN_NONBLOCK)
	if err == nil {
		defer func() { _ = syscall.Close(fd) }()
		_, err = syscall.InotifyAddWatch(fd, filepath.Dir(b.log), syscall.IN_MOVED_FROM)
	}
	if err != nil {
		t.Fatal(err)
	}
	b.write(0, "line 2\nrest\n")
	b.drain()
	buf := make([]byte, 4096)
	k, err := syscall.Read(fd, buf)
	if err != nil {
		t.Fatal("nothing was renamed: ", err)
	}
	var names []string
	for buf = buf[:k]; len(buf) > 0; {
		size := binary.NativeEndian.Uint32(buf[12:])
		names = append(names, string(bytes.TrimRight(buf[16:16+size], "\x00")))
		buf = buf[16+size:]
	}
	if want := "x.log.1.idx x.log.1 x.log.idx x.log"; strings.Join(names, " ") != want {
		t.Errorf("renamed in the order %q, want %q", names, want)
	}
}

// dup is an end of a pipe that nothing comes from.
func dup(t *testing.T) int {
	t.Helper()
	var pair [2]int
	if err := syscall.Pipe2(pair[:], syscall.O_CLOEXEC|syscall.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(pair[1]) })
	return pair[0]
}

func TestWhatCannotBeWrittenIsCountedAndConfessed(t *testing.T) {
	t.Parallel()
	b := newBench(t, pump.Limits{})
	b.write(0, "before\n")
	b.drain()
	b.p.Close(1)
	if err := os.Remove(b.log); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(b.log, 0o755); err != nil {
		t.Fatal(err)
	}
	var pair [2]int
	if err := syscall.Pipe2(pair[:], syscall.O_CLOEXEC|syscall.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	b.p.Open(pump.Source{Place: 1, ID: "x", Pipes: [2]int{pair[0], dup(t)}, Log: b.log})
	_, _ = syscall.Write(pair[1], []byte("twelve bytes"))
	b.drain()
	if lost := b.lost.Load(); lost != 12 {
		t.Errorf("%d lost", lost)
	}
	_ = os.Remove(b.log)
	deadline := time.Now().Add(30 * time.Second)
	for !strings.HasSuffix(b.read(0), "after\n") {
		_, _ = syscall.Write(pair[1], []byte("after\n"))
		if time.Now().After(deadline) {
			t.Fatalf("%q", b.read(0))
		}
		time.Sleep(20 * time.Millisecond)
	}
	if !strings.HasPrefix(b.read(0), "backstay: dropped ") {
		t.Errorf("%q", b.read(0))
	}
	_ = syscall.Close(pair[1])
}
