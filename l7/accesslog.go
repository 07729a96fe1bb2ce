package l7

import (
	"bytes"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of access logs. Traffic never waits for one.
const (
	// logQueue lines wait for the disk: a fifth of a second of a busy proxy.
	logQueue = 4096
	// logLine is the longest line; its target and agent are cut before.
	logLine  = 4 << 10
	logField = 1 << 10
	// logLook is how often a log asks whether its file was moved away.
	logLook = time.Second
	// logMoved is how long a file that was moved away still takes lines, where
	// another cannot be made at its path: who may make one there, as the agent for
	// a proxy that is nobody's, does so within a second.
	logMoved = 10 * time.Second
	// logBatch is how much is written at once.
	logBatch = 64 << 10
)

var logLines = bufferPool(logLine)

// accessLog is a file that lines go to. It lives as long as a table
// has it.
type accessLog struct {
	path             string
	queue            chan *[]byte
	written, dropped atomic.Uint64
	because          atomic.Pointer[string]
	reopen           atomic.Bool
	stop             chan struct{}
}

// put queues a line, or drops it.
func (l *accessLog) put(line *[]byte) {
	select {
	case l.queue <- line:
	default:
		l.drop(line, "the queue is full")
	}
}

func (l *accessLog) drop(line *[]byte, why string) {
	logLines.Put(line)
	l.dropped.Add(1)
	l.because.Store(&why)
}

// logs are the access logs by path.
type logs struct {
	log *slog.Logger

	mu      sync.Mutex // guards what follows; a leaf
	byPath  map[string]*accessLog
	running bool
	writers sync.WaitGroup
}

func newLogs(log *slog.Logger) *logs { return &logs{log: log, byPath: map[string]*accessLog{}} }

// open returns the log at path.
func (g *logs) open(path string) *accessLog {
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.byPath[path]
	if l == nil {
		l = &accessLog{path: path, queue: make(chan *[]byte, logQueue), stop: make(chan struct{})}
		g.byPath[path] = l
		g.begin(l)
	}
	return l
}

func (g *logs) begin(l *accessLog) {
	if g.running {
		g.writers.Go(func() { (&logWriter{accessLog: l, log: g.log}).run() })
	}
}

// keep ends the logs that nothing in t writes to, the frontends that are parting
// among it: they have answers to give.
func (g *logs) keep(t *table) {
	named := map[*accessLog]bool{}
	for _, fronts := range []map[string]*front{t.fronts, t.parting} {
		for _, f := range fronts {
			named[f.log] = true
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	maps.DeleteFunc(g.byPath, func(_ string, l *accessLog) bool {
		if named[l] {
			return false
		}
		close(l.stop)
		return true
	})
}

// start begins the writers and returns what ends them, with all that is queued
// written.
func (g *logs) start() (stop func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.running = true
	for _, l := range g.byPath {
		g.begin(l)
	}
	return func() {
		g.mu.Lock()
		g.running = false
		for _, l := range g.byPath {
			close(l.stop)
		}
		clear(g.byPath)
		g.mu.Unlock()
		g.writers.Wait()
	}
}

// reopen has all logs open their files anew.
func (g *logs) reopen() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, l := range g.byPath {
		l.reopen.Store(true)
	}
}

func (g *logs) stats() map[string]LogStats {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := map[string]LogStats{}
	for path, l := range g.byPath {
		s := LogStats{Written: l.written.Load(), Dropped: l.dropped.Load()}
		if why := l.because.Load(); why != nil {
			s.Because = *why
		}
		all[path] = s
	}
	return all
}

// logWriter is the one goroutine that writes to a log's file.
type logWriter struct {
	*accessLog

	log    *slog.Logger
	file   *os.File
	looked time.Time
	moved  time.Time // since when the file is not the one at its path; zero: it is
	batch  []byte
	lines  uint64
	told   bool // that the file cannot be written
	torn   bool // the last line of the file has no end: the disk was full
}

func (w *logWriter) run() {
	defer w.close()
	for {
		select {
		case line := <-w.queue:
			w.write(line)
		case <-w.stop:
			for len(w.queue) > 0 {
				w.write(<-w.queue)
			}
			return
		}
	}
}

// write writes line and what else is queued in one piece.
func (w *logWriter) write(line *[]byte) {
	w.batch, w.lines = w.batch[:0], 0
	if w.torn {
		w.batch = append(w.batch, '\n')
	}
	for {
		w.batch = append(w.batch, *line...)
		w.lines++
		logLines.Put(line)
		if len(w.queue) == 0 || len(w.batch) > logBatch {
			break
		}
		line = <-w.queue
	}
	if err := w.flush(); err != nil {
		w.failed(err)
		return
	}
	w.written.Add(w.lines)
	w.told = false
}

func (w *logWriter) failed(err error) {
	why := err.Error()
	w.dropped.Add(w.lines)
	w.because.Store(&why)
	w.close()
	if !w.told {
		w.told = true
		w.log.Error("access log not written", "path", w.path, "why", why)
	}
}

func (w *logWriter) flush() error {
	w.look()
	if w.file == nil {
		f, err := openLog(w.path)
		if err != nil {
			return err
		}
		w.file = f
	}
	n, err := w.file.Write(w.batch)
	if err != nil {
		w.tear(w.batch[:n])
		return fmt.Errorf("write access log: %w", err)
	}
	w.torn = false
	return nil
}

// tear counts the lines of a batch that went out before its write failed. What
// is written next begins on a line of its own.
func (w *logWriter) tear(out []byte) {
	if len(out) == 0 {
		return
	}
	whole := uint64(bytes.Count(out, []byte{'\n'}))
	if w.torn { // the first ended what was torn before
		whole--
	}
	w.written.Add(whole)
	w.lines -= whole
	w.torn = out[len(out)-1] != '\n'
}

func openLog(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return nil, fmt.Errorf("open access log: %w", err)
	}
	return f, nil
}

// look changes over to the file at the path if that is another one.
func (w *logWriter) look() {
	now := time.Now()
	asked := w.reopen.Swap(false)
	if w.file == nil || !asked && now.Sub(w.looked) < logLook {
		return
	}
	w.looked = now
	have, err := w.file.Stat()
	there, errThere := os.Stat(w.path)
	if !asked && err == nil && errThere == nil && os.SameFile(have, there) {
		w.moved = time.Time{}
		return
	}
	if w.moved.IsZero() {
		w.moved = now
	}
	next, err := openLog(w.path)
	if err != nil && now.Sub(w.moved) < logMoved {
		return
	}
	w.close()
	w.file, w.moved = next, time.Time{}
}

func (w *logWriter) close() {
	if w.file != nil {
		_ = w.file.Close() // written through; nothing is buffered here
		w.file = nil
	}
}

// ReopenLogs has access logs open their files anew, as after SIGHUP. A file that
// was moved away is noticed within a second anyway.
func (p *Proxy) ReopenLogs() { p.logs.reopen() }
