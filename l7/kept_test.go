package l7_test

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/backstay/backstay/l7"
)

// A body that is small enough is sent again whole; a larger one never.
func TestABodyIsSentAgainWholeOrNotAtAll(t *testing.T) {
	for name, c := range map[string]struct {
		size    int
		chunked bool
		again   bool
	}{
		"none":            {0, false, true},
		"small":           {1000, false, true},
		"at the bound":    {64 << 10, false, true},
		"chunked":         {64 << 10, true, true},
		"above":           {64<<10 + 16, false, false},
		"above, chunked":  {100 << 10, true, false},
		"far above":       {1 << 20, false, false},
		"far and chunked": {1 << 20, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			want := bigBody(c.size)
			var seen atomic.Int64
			u := listenRaw(t, func(n int, conn net.Conn, in *bufio.Reader) {
				_, body, err := request(in)
				if err != nil {
					return
				}
				seen.Add(1)
				if body != want {
					t.Errorf("try %d got %d bytes of %d", n, len(body), len(want))
				}
				if n > 0 {
					_, _ = io.WriteString(conn, ok("done"))
				}
			})
			r := newRig(t, func(s *l7.Snapshot) {
				s.Pools["shop"] = l7.Pool{Pool: s.Pools["shop"].Pool, Servers: []l7.Server{server(t, 0, u.addr), server(t, 1, u.addr)}}
			})
			var body io.Reader = strings.NewReader(want)
			if c.chunked {
				body = io.MultiReader(body)
			}
			req, _ := http.NewRequest(http.MethodPut, r.url("/"), body)
			resp, err := r.client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if c.again && (resp.StatusCode != 200 || seen.Load() != 2) || !c.again && (resp.StatusCode != 502 || seen.Load() != 1) {
				t.Errorf("%s after %d tries", resp.Status, seen.Load())
			}
		})
	}
}

// A proxy that has just been started has sockets before it has orders: who comes
// then waits in the kernel's queue and is served.
func TestClientsThatComeBeforeTheFirstSnapshotAreServed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := l7.New(l7.Options{Log: slog.New(slog.DiscardHandler)})
	p.SetListener(bind, l)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	ready := make(chan struct{})
	go func() { done <- p.Run(ctx, func() { close(ready) }) }()
	defer func() { cancel(); <-done }()
	<-ready
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(hang))
	w := &wire{tb: t, Conn: c, in: bufio.NewReader(c)}
	w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	s := newSnapshot()
	s.Pools["shop"] = l7.Pool{Pool: s.Pools["shop"].Pool, Servers: []l7.Server{server(t, 0, serveHTTP(t, named("a")))}}
	if err := p.Apply(ctx, s); err != nil {
		t.Fatal(err)
	}
	if _, body := w.answer("GET"); body != "a" {
		t.Errorf("got %q", body)
	}
	web(&s, func(f *l7.Frontend) { f.Bind = append(f.Bind, "elsewhere:1") })
	s.Gen++
	if err := p.Apply(ctx, s); err != nil {
		t.Fatal(err)
	}
	if got := p.Stats().Unbound; len(got) != 1 || got[0] != "elsewhere:1" {
		t.Errorf("unbound: %v", got)
	}
}

// Frontends may listen at Unix sockets; who comes by one is on this host.
func TestUnixSocketsAreServed(t *testing.T) {
	r := newRig(t, nil, serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("X-Forwarded-For"))
	}))
	path := t.TempDir() + "/s"
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	r.proxy.SetListener("unix:"+path, l)
	web(&r.snap, func(f *l7.Frontend) { f.Bind = append(f.Bind, "unix:"+path) })
	r.apply()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	w := &wire{tb: t, Conn: c, in: bufio.NewReader(c)}
	w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if _, body := w.answer("GET"); body != "127.0.0.1" {
		t.Errorf("got %q", body)
	}
}
