package l7

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A disk that gets full in the middle of a line must not spoil the next one.
func TestALineBehindATornOneIsWhole(t *testing.T) {
	r, full, err := os.Pipe() // takes 64 KiB, and then no more
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	_ = full.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
	path := filepath.Join(t.TempDir(), "access.log")
	log := &accessLog{path: path, queue: make(chan *[]byte, logQueue), stop: make(chan struct{})}
	w := &logWriter{accessLog: log, log: slog.New(slog.DiscardHandler), file: full, looked: time.Now()}
	long := []byte(`{"a":"` + string(bytes.Repeat([]byte("x"), 1000)) + "\"}\n")
	for range 68 {
		line := getBuffer(logLines)
		*line = append((*line)[:0], long...)
		log.queue <- line
	}
	w.write(<-log.queue)
	if n := log.written.Load(); n != 64 || log.dropped.Load() != 1 || !w.torn {
		t.Fatalf("%d written, %d dropped, torn %v", n, log.dropped.Load(), w.torn)
	}
	w.write(<-log.queue)
	w.close()
	text, err := os.ReadFile(path)
	if err != nil || string(text) != "\n"+string(bytes.Repeat(long, 3)) {
		t.Errorf("behind it: %.20q… of %d bytes, %v", text, len(text), err)
	}
	if w.torn || log.written.Load() != 64+3 || log.dropped.Load() != 1 {
		t.Errorf("%d written, %d dropped, torn %v", log.written.Load(), log.dropped.Load(), w.torn)
	}
}
