package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// sample is one request.
type sample struct {
	began, ended time.Time
	who          string // first word of a good answer; empty if it was lost
	pid          string // second word
	lost         string // what happened instead
}

// load is a client with kept connections, each sending the next request when
// the last is answered. It never sends one twice: what is not answered well is
// lost.
type load struct {
	addr    string
	request string
	stop    context.CancelFunc
	all     sync.WaitGroup

	mu      sync.Mutex // guards samples
	samples []sample
}

// Bounds of the client.
const (
	answerWithin = 30 * time.Second
	afterLoss    = 5 * time.Millisecond // so that a refused connection is not asked thousands of times
)

// startLoad sends method / to addr over conns connections.
func startLoad(ctx context.Context, addr, method string, conns int) *load {
	ctx, stop := context.WithCancel(ctx)
	l := &load{addr: addr, stop: stop, request: method + " / HTTP/1.1\r\nHost: bench.example\r\n\r\n"}
	if method == http.MethodPost {
		l.request = "POST / HTTP/1.1\r\nHost: bench.example\r\nContent-Length: 5\r\n\r\norder"
	}
	for range conns {
		l.all.Go(func() { l.run(ctx) })
	}
	return l
}

// end stops the load after the requests under way and returns all samples.
func (l *load) end() []sample {
	l.stop()
	l.all.Wait()
	return l.samples
}

// seen returns a copy of what there is by now.
func (l *load) seen() []sample {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]sample(nil), l.samples...)
}

func (l *load) run(ctx context.Context) {
	var c *conn
	defer func() { c.close() }()
	for ctx.Err() == nil {
		s := sample{began: time.Now()}
		var err error
		if c == nil {
			c, err = dial(context.WithoutCancel(ctx), l.addr) // what has begun counts
		}
		if err == nil {
			s.who, s.pid, err = c.ask(l.request)
		}
		s.ended = time.Now()
		if err != nil {
			s.lost = err.Error()
		}
		l.add(s)
		if c != nil && c.done {
			c.close()
			c = nil
		}
		if err != nil && pause(ctx, afterLoss) != nil {
			return
		}
	}
}

func (l *load) add(s sample) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.samples = append(l.samples, s)
}

// conn is a kept connection; done when it cannot be used again.
type conn struct {
	net.Conn

	in   *bufio.Reader
	done bool
}

func dial(ctx context.Context, addr string) (*conn, error) {
	c, err := (&net.Dialer{Timeout: answerWithin}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, in: bufio.NewReader(c)}, nil
}

func (c *conn) close() {
	if c != nil {
		_ = c.Close()
	}
}

// ask sends one request and returns the first two words of the answer.
func (c *conn) ask(request string) (who, pid string, err error) {
	c.done = true // until the answer is whole
	_ = c.SetDeadline(time.Now().Add(answerWithin))
	if _, err := io.WriteString(c, request); err != nil {
		return "", "", fmt.Errorf("send: %w", err)
	}
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return "", "", fmt.Errorf("read answer: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", "", fmt.Errorf("read body: %w", err)
	}
	c.done = resp.Close
	words := strings.Fields(string(body))
	if resp.StatusCode != http.StatusOK || len(words) != 2 {
		return "", "", fmt.Errorf("answered %s", resp.Status)
	}
	return words[0], words[1], nil
}

// window is what happened to the requests that ended in a span of time: those
// under way when something happens suffer from it.
type window struct {
	sent, lost int
	first      string // loss
	p50, p99   time.Duration
	rate       float64 // good answers a second
}

func windowOf(samples []sample, from, to time.Time) window {
	var w window
	var took []time.Duration
	for _, s := range samples {
		if s.ended.Before(from) || !s.ended.Before(to) {
			continue
		}
		w.sent++
		if s.lost == "" {
			took = append(took, s.ended.Sub(s.began))
			continue
		}
		if w.lost++; w.first == "" {
			w.first = s.lost
		}
	}
	w.p50, w.p99 = quantile(took, 0.5), quantile(took, 0.99)
	w.rate = float64(len(took)) / to.Sub(from).Seconds()
	return w
}
