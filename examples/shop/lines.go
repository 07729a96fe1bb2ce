package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// lines prints numbered lines: the process id, a number that grows by one, and
// what there is to say. Each line is one write, so that nothing comes between.
type lines struct {
	to io.Writer

	mu sync.Mutex // guards n and the order of writes
	n  int
}

func (l *lines) printf(format string, args ...any) {
	what := fmt.Sprintf(format, args...)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n++
	_, _ = fmt.Fprintf(l.to, "%d %d %s\n", os.Getpid(), l.n, what)
}

// beat is how often chatter catches up with its rate.
const beat = 10 * time.Millisecond

// chatter prints perSecond lines a second until the function that it returns is
// called, which waits for the last one.
func (l *lines) chatter(perSecond int) (stop func()) {
	if perSecond <= 0 {
		return func() {}
	}
	ended, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		l.chat(perSecond, ended)
	}()
	return func() { close(ended); <-done }
}

func (l *lines) chat(perSecond int, ended <-chan struct{}) {
	start, said := time.Now(), 0
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return
		case <-tick.C:
		}
		due := int(time.Since(start).Seconds() * float64(perSecond))
		for ; said < due && !closed(ended); said++ {
			l.printf("chatter")
		}
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
