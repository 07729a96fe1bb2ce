package demo

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// liveEvery is how often the line of the act that is played is written anew.
const liveEvery = 200 * time.Millisecond

// erase goes to the beginning of the line of a terminal and empties it.
const erase = "\r\x1b[K"

// live is the last line of a terminal: the act that is played, and what the load
// has met so far. Without a terminal there is none.
type live struct {
	mu    sync.Mutex // guards shown, and the order of what is written
	shown bool
}

// say writes a line, over the live one if there is one.
func (d *director) say(format string, args ...any) {
	d.live.mu.Lock()
	defer d.live.mu.Unlock()
	text := fmt.Sprintf(format+"\n", args...)
	if d.live.shown {
		text, d.live.shown = erase+text, false
	}
	_, _ = fmt.Fprint(d.Out, text) // nobody is left to tell
}

// during shows how an act goes on until the function that it returns is called.
func (d *director) during(l *load, title string) (over func()) {
	if !d.Terminal || d.Dumb {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		d.follow(ctx, l, title)
	}()
	return func() { cancel(); <-ended }
}

// follow writes the live line until ctx is done.
func (d *director) follow(ctx context.Context, l *load, title string) {
	began := time.Now()
	for {
		t, err := l.look()
		if err != nil {
			return // the load has ended, and somebody else says so
		}
		a := Act{Number: len(d.acts), Title: title}
		a.fill(t)
		d.live.mu.Lock()
		d.live.shown = true
		_, _ = fmt.Fprint(d.Out, erase+cut(fmt.Sprintf("%s  %.0fs", a.counts(), time.Since(began).Seconds()), d.Width))
		d.live.mu.Unlock()
		wait(ctx, liveEvery)
		if ctx.Err() != nil {
			return
		}
	}
}

// cut returns as much of s as fits into a line of a terminal: a longer one could
// not be erased.
func cut(s string, width int) string {
	if r := []rune(s); width > 0 && len(r) >= width {
		return string(r[:width-1])
	}
	return s
}
