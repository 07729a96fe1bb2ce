package l7

import (
	"bytes"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A disk that gets full in the middle of a line must not spoil the next one.
func TestALineBehindATornOneIsWhole(t *testing.T) {
	r, full, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	go func() { // it is full by then: a write to a pipe is read when it has ended or there is no room
		_, _ = io.ReadFull(r, make([]byte, 100))
		_ = r.Close()
	}()
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
	before, lost := log.written.Load(), log.dropped.Load()
	if before == 0 || lost == 0 || before+lost != 65 || !w.torn { // a batch ends above 64 KiB
		t.Fatalf("%d written, %d dropped, torn %v", before, lost, w.torn)
	}
	w.write(<-log.queue)
	w.close()
	text, err := os.ReadFile(path)
	if err != nil || string(text) != "\n"+string(bytes.Repeat(long, 3)) {
		t.Errorf("behind it: %.20q… of %d bytes, %v", text, len(text), err)
	}
	if w.torn || log.written.Load() != before+3 || log.dropped.Load() != lost {
		t.Errorf("%d written, %d dropped, torn %v", log.written.Load(), log.dropped.Load(), w.torn)
	}
}
