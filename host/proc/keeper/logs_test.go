package keeper_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/keeperwire"
)

func TestLogsSurviveWhatHappensToTheirFiles(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c := n.start()
	c.subscribe(0)
	tick := "i=0; while :; do echo tick $i; i=$((i+1)); sleep 0.01; done"
	before := c.up(n.spec("log", tick))
	file := n.logs + "/log.log"
	grows := func(what string) {
		t.Helper()
		last := len(n.log("log"))
		eventually(t, "the log grows after "+what, func() bool { return len(n.log("log")) > last && strings.HasSuffix(n.log("log"), "\n") })
	}
	grows("start")
	_ = os.Remove(file)
	grows("the file was removed")
	_ = os.Rename(file, file+".old")
	grows("somebody renamed it")
	_ = os.Truncate(file, 0)
	eventually(t, "it goes on at the front", func() bool { s := n.log("log"); return len(s) > 0 && s[0] == 't' })
	_ = os.RemoveAll(n.logs)
	grows("the directory was removed")
	_ = os.RemoveAll(n.logs)
	_ = os.WriteFile(n.logs, nil, 0o600) // now it cannot be made
	e := c.event(kind(keeperwire.EvLogDropped, "log"))
	if e.N == 0 {
		t.Errorf("%+v", e)
	}
	_ = os.Remove(n.logs)
	eventually(t, "it is said what was dropped", func() bool { return strings.Contains(n.log("log"), "backstay: dropped ") })
	grows("all that")
	if got := c.list()["log"]; got.PID != before.PID || got.Dropped < e.N {
		t.Errorf("%+v", got)
	}
}

func TestBothStreamsStayWholeLines(t *testing.T) {
	t.Parallel()
	bothStreams(t, 150_000, 1<<30)
}

// TestBothStreamsGoOnOverRotation has streams that wait for each other while the
// file changes under them.
func TestBothStreamsGoOnOverRotation(t *testing.T) {
	t.Parallel()
	bothStreams(t, 100_000, 64<<10)
}

// bothStreams fails unless the marks give each stream back as it was printed, and
// lines are torn only where they are said to be, and not more often than a line
// may take too long to end.
func bothStreams(t *testing.T, lines int, maxSize int64) {
	t.Helper()
	n := newNode(t)
	c := n.start()
	s := n.role("both", "both", strconv.Itoa(lines))
	s.LogMaxSize, s.LogMaxFiles = maxSize, 1000
	began := time.Now()
	c.start(s)
	c.until("both", keeperwire.Completed)
	most := 2 * int(time.Since(began)/tornAfter)
	var all streams
	for i := int(s.LogMaxFiles); i >= 0; i-- {
		if _, err := os.Stat(keeperwire.Rotated(s.LogFile, i)); err == nil {
			all.read(t, keeperwire.Rotated(s.LogFile, i))
		}
	}
	for stream, name := range map[keeperwire.Stream]string{keeperwire.Stdout: "out", keeperwire.Stderr: "err"} {
		if got := numbered(t, all.text[stream].String(), name); got != lines {
			t.Errorf("%s: %d lines of %d", name, got, lines)
		}
		if got := strings.Count(all.text[stream].String(), "\n"); got != lines {
			t.Errorf("%s: %d ends of line, want %d", name, got, lines)
		}
	}
	if all.torn > most {
		t.Errorf("%d lines are torn, and no more than %d can have taken %v to end", all.torn, most, tornAfter)
	}
}

// tornAfter is how long the end of a line is waited for.
const tornAfter = 100 * time.Millisecond

// streams is what the marks of a log say of where its bytes came from.
type streams struct {
	text [3]strings.Builder
	torn int
}

// read adds a file, and fails where its bytes and its marks do not agree.
func (s *streams) read(t *testing.T, log string) {
	t.Helper()
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	idx, err := os.ReadFile(keeperwire.Index(log))
	if err != nil {
		t.Fatal(err)
	}
	var last keeperwire.Mark
	for ; len(idx) > 0; idx = idx[keeperwire.MarkSize:] {
		m, err := keeperwire.DecodeMark(idx)
		if err != nil {
			t.Fatal(err)
		}
		end := uint64(len(text))
		if next, err := keeperwire.DecodeMark(idx[keeperwire.MarkSize:]); err == nil {
			end = next.Offset
		}
		torn := m.Offset > 0 && m.Stream != last.Stream && text[m.Offset-1] != '\n'
		if said := m.Flags&keeperwire.Torn != 0; said != torn {
			t.Fatalf("%s: a line is torn: %v; mark %+v after %+v", filepath.Base(log), torn, m, last)
		}
		if torn {
			s.torn++
		}
		s.text[m.Stream].Write(text[m.Offset:end])
		last = m
	}
}

func TestOddOutput(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c := n.start()
	for name, one := range map[string]struct {
		script string
		want   func(b []byte) bool
	}{
		"line of 20 MB":      {"head -c 20000000 /dev/zero | tr '\\0' x", func(b []byte) bool { return len(b) == 20_000_000 && b[0] == 'x' }},
		"zero bytes":         {"head -c 1000 /dev/zero", func(b []byte) bool { return bytes.Equal(b, make([]byte, 1000)) }},
		"one byte at a time": {"for i in 1 2 3 4 5 6 7 8 9; do printf x; done", func(b []byte) bool { return string(b) == "xxxxxxxxx" }},
		"closed stdout":      {"exec >&-; echo no; echo yes >&2", func(b []byte) bool { return bytes.HasSuffix(b, []byte("yes\n")) }},
		"half lines of both": {"printf 'a'; sleep 0.3; printf 'b' >&2; sleep 0.3; printf 'c\\n'", func(b []byte) bool { // whose turn it is is not promised, only the order of each
			return len(b) == 4 && strings.Replace(string(b), "b", "", 1) == "ac\n"
		}},
		"nothing":              {"true", func(b []byte) bool { return len(b) == 0 }},
		"a grandchild prints":  {"(sleep 5; echo late) & exec echo early", func(b []byte) bool { return bytes.HasPrefix(b, []byte("early\n")) }},
		"stdin is empty":       {"cat; echo end", func(b []byte) bool { return string(b) == "end\n" }},
		"opens /dev/stderr":    {"echo x > /dev/stderr", func(b []byte) bool { return string(b) == "x\n" }},
		"a line over rotation": {"yes | head -c 3000000", func(b []byte) bool { return len(b)%2 == 0 }},
	} {
		s := n.spec("odd", one.script)
		s.LogFile = n.logs + "/" + strings.ReplaceAll(strings.ReplaceAll(name, " ", "_"), "/", "_")
		if name == "a line over rotation" {
			s.LogMaxSize = 1 << 20
		}
		c.start(s)
		c.until("odd", keeperwire.Completed)
		b, err := os.ReadFile(s.LogFile)
		if err != nil || !one.want(b) {
			t.Errorf("%s: %d bytes, %.40q, %v", name, len(b), b, err)
		}
	}
}

func TestRotationKeepsAsManyFilesAsAsked(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c := n.start()
	s := n.role("rot", "lines", "600000", "0") // 9 MB
	s.LogMaxSize, s.LogMaxFiles = 1<<20, 3
	c.start(s)
	c.until("rot", keeperwire.Completed)
	all := ""
	for i := 2; i >= 0; i-- {
		b, err := os.ReadFile(keeperwire.Rotated(s.LogFile, i))
		if err != nil || i > 0 && (len(b) < 1<<20 || len(b) > 2<<20) || len(b) > 0 && b[len(b)-1] != '\n' {
			t.Fatalf("file %d: %d bytes, %v", i, len(b), err)
		}
		all += string(b)
	}
	if _, err := os.Stat(keeperwire.Rotated(s.LogFile, 3)); !os.IsNotExist(err) {
		t.Error("a fourth file")
	}
	if !strings.HasSuffix(all, "line 000599999\n") || strings.Count(all, "\n") != strings.Count(all, "line ") {
		t.Error("torn lines, or not to the end")
	}
}

// TestKeeperFrozenForAWhile is the writer that finds a full FIFO and nobody who
// reads: it waits, and loses nothing.
func TestKeeperFrozenForAWhile(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c := n.start()
	_ = n.cmd.Process.Signal(syscall.SIGSTOP)
	_ = n.cmd.Process.Signal(syscall.SIGCONT)
	s := n.role("w", "lines", "300000", "0")
	c.up(s)
	_ = n.cmd.Process.Signal(syscall.SIGSTOP)
	time.Sleep(300 * time.Millisecond)
	_ = n.cmd.Process.Signal(syscall.SIGCONT)
	c.until("w", keeperwire.Completed)
	if got := numbered(t, n.log("w"), "line"); got != 300000 {
		t.Errorf("%d lines", got)
	}
}

// TestStreamThatWaitsIsNotForgotten takes the log away while stderr waits for the
// end of a line of stdout.
func TestStreamThatWaitsIsNotForgotten(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c := n.start()
	c.up(n.spec("wait", `while :; do printf half; head -c 100000 /dev/zero >&2; printf ' line\n'; sleep 0.02; done`))
	last := int64(0)
	for range 4 {
		eventually(t, "the log grows by a megabyte", func() bool {
			info, err := os.Stat(n.logs + "/wait.log")
			return err == nil && info.Size() > last+1<<20
		})
		_ = os.Remove(n.logs + "/wait.log")
		_ = os.Mkdir(n.logs+"/wait.log", 0o755) // it cannot be written now
		time.Sleep(1200 * time.Millisecond)
		_ = os.Remove(n.logs + "/wait.log")
	}
}
