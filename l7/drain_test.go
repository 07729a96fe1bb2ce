package l7_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/l7"
)

// gated is a server whose answers wait for open.
func gated(t *testing.T) (addr string, arrived chan string, open chan struct{}) {
	t.Helper()
	arrived, open = make(chan string, 100), make(chan struct{})
	return serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		arrived <- r.URL.Path
		<-open
		_, _ = io.WriteString(w, "late")
	}), arrived, open
}

func TestDrainAnswersWhenNothingIsInFlightAndNotBefore(t *testing.T) {
	addr, arrived, open := gated(t)
	r := newRig(t, nil, addr, serveHTTP(t, named("other")))
	r.edit(1, func(s *l7.Server) { s.Ready = false })
	got := make(chan string, 1)
	go func() { _, body := r.get("/slow"); got <- body }()
	<-arrived
	r.snap.Pools["shop"].Servers[1].Ready = true
	r.edit(0, func(s *l7.Server) { s.Drain = true })
	for range 10 {
		if _, body := r.get("/"); body != "other" {
			t.Fatalf("a draining server got a request: %q", body)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := r.proxy.Drain(ctx, "shop-000000", false); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("drained with a request in flight: %v", err)
	}
	drained := make(chan error, 1)
	go func() { drained <- r.proxy.Drain(context.Background(), "shop-000000", false) }()
	close(open)
	if body := <-got; body != "late" {
		t.Errorf("the request in flight got %q", body)
	}
	if err := <-drained; err != nil {
		t.Error(err)
	}
	if s := r.proxy.Stats().Servers["shop-000000"]; s.Idle != 0 || s.InFlight != 0 {
		t.Errorf("left: %+v", s)
	}
	if err := r.proxy.Drain(context.Background(), "shop-ffffff", true); err != nil {
		t.Errorf("drain of an instance that nobody knows: %v", err)
	}
}

func TestWithdrawalClosesKeptConnections(t *testing.T) {
	closed := make(chan struct{})
	u := listenRaw(t, func(_ int, c net.Conn, in *bufio.Reader) {
		if _, _, err := request(in); err == nil {
			_, _ = io.WriteString(c, ok("a"))
		}
		_, _ = in.ReadByte()
		close(closed)
	})
	r := newRig(t, nil, u.addr)
	r.get("/")
	eventually(t, "a kept connection", func() bool { return r.proxy.Stats().Servers["shop-000000"].Idle == 1 })
	r.edit(0, func(s *l7.Server) { s.Drain = true })
	select {
	case <-closed:
	case <-time.After(hang):
		t.Error("the server still has it")
	}
}

// Who asked for the end of its connection and does not end it itself holds up no
// drain: its answer is out.
func TestAClientThatKeepsAClosedConnectionHoldsUpNoDrain(t *testing.T) {
	r := newRig(t, nil, serveHTTP(t, named("a")))
	w := r.raw()
	w.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	w.answer("GET")
	eventually(t, "the request is over while its connection is open", func() bool {
		s := r.proxy.Stats()
		if s.Conns == 0 {
			t.Fatal("the connection has gone first")
		}
		return s.Servers["shop-000000"].InFlight == 0
	})
	w.ended()
	eventually(t, "it is not waited for without end", func() bool { return r.proxy.Stats().Conns == 0 })
}

// upgrade opens an upgraded connection through r.
func (r *rig) upgrade() *wire {
	r.tb.Helper()
	w := r.raw()
	w.send("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly\n")
	resp, err := http.ReadResponse(w.in, nil)
	if err != nil {
		r.tb.Fatal(err)
	}
	if resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "websocket" {
		r.tb.Fatalf("got %s %v", resp.Status, resp.Header)
	}
	w.echo("early")
	return w
}

func (w *wire) echo(word string) {
	w.tb.Helper()
	if got, err := w.in.ReadString('\n'); got != word+"\n" {
		w.tb.Fatalf("echo of %q: %q %v", word, got, err)
	}
}

// echoServer speaks a protocol of lines after an upgrade.
func echoServer(t *testing.T, name string) *upstream {
	t.Helper()
	return listenRaw(t, func(_ int, c net.Conn, in *bufio.Reader) {
		for {
			req, _, err := request(in)
			if err != nil {
				return
			}
			if req.Header.Get("Upgrade") == "" {
				_, _ = io.WriteString(c, ok(name))
				continue
			}
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			_, _ = io.Copy(c, in)
			return
		}
	})
}

func TestFiftyUpgradedConnectionsOutliveTheDrainOfRequests(t *testing.T) {
	old, fresh := echoServer(t, "old"), echoServer(t, "new")
	r := newRig(t, nil, old.addr, fresh.addr)
	r.edit(1, func(s *l7.Server) { s.Ready = false })
	var all []*wire
	for range 50 {
		all = append(all, r.upgrade())
	}
	r.snap.Pools["shop"].Servers[1].Ready = true
	r.edit(0, func(s *l7.Server) { s.Drain = true })
	if err := r.proxy.Drain(context.Background(), "shop-000000", false); err != nil {
		t.Fatal(err)
	}
	for i, w := range all { // they go on, both ways
		w.send(fmt.Sprintf("still %d\n", i))
		w.echo(fmt.Sprintf("still %d", i))
	}
	if _, body := r.get("/"); body != "new" {
		t.Errorf("a new request went to %q", body)
	}
	if long := r.proxy.Stats().Servers["shop-000000"].Long; long != 50 {
		t.Errorf("%d upgraded", long)
	}
	r.inFlight(50)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := r.proxy.Drain(ctx, "shop-000000", true); err == nil {
		t.Error("drained for good with 50 connections open")
	}
	for _, w := range all {
		w.Close()
	}
	if err := r.proxy.Drain(context.Background(), "shop-000000", true); err != nil {
		t.Error(err)
	}
	r.inFlight(0)
}

// inFlight waits for everybody to count the same.
func (r *rig) inFlight(want int) {
	r.tb.Helper()
	eventually(r.tb, fmt.Sprintf("%d in flight, whoever is asked", want), func() bool {
		s := r.proxy.Stats()
		return s.Frontends["web"].InFlight == want && s.Services["shop"].InFlight == want &&
			s.Releases["shop@1"].InFlight == want && s.Servers["shop-000000"].InFlight == want
	})
}

func TestASilentTunnelEndsAndABusyOneDoesNot(t *testing.T) {
	r := newRig(t, func(s *l7.Snapshot) {
		route(s, func(rt *l7.Route) { rt.Timeout.Idle = backstay.Duration(time.Second) })
	}, echoServer(t, "a").addr)
	w := r.upgrade()
	for i := range 30 { // longer in all than it may be silent
		w.send(fmt.Sprintf("%d\n", i))
		w.echo(fmt.Sprint(i))
		<-time.After(50 * time.Millisecond)
	}
	w.ended()
	eventually(t, "no upgraded connection is left", func() bool { return r.proxy.Stats().Servers["shop-000000"].Long == 0 })
}

// Requests on 20 kept connections while servers come, drain and go a hundred
// times: none fails, and none reaches a server after its drain was answered.
func TestSnapshotsUnderLoadLoseNothing(t *testing.T) {
	const servers, rounds = 3, 100
	var closed [servers]atomic.Bool
	var addrs []string
	var misled atomic.Int64
	for i := range servers {
		addrs = append(addrs, serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			if closed[i].Load() {
				misled.Add(1)
			}
			_, _ = io.WriteString(w, "ok")
		}))
	}
	r := newRig(t, nil, addrs...)
	ctx, cancel := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	var asked, failed atomic.Int64
	for n := range 20 {
		wait.Go(func() {
			c := r.client()
			for ctx.Err() == nil {
				asked.Add(1)
				var resp *http.Response
				var err error
				if n%2 == 0 {
					resp, err = c.Get(r.url("/"))
				} else {
					resp, err = c.Post(r.url("/"), "", strings.NewReader("x"))
				}
				if err != nil {
					failed.Add(1)
					continue
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || resp.StatusCode != 200 || string(body) != "ok" {
					failed.Add(1)
				}
			}
		})
	}
	for round := range rounds {
		i := round % servers
		r.edit(i, func(s *l7.Server) { s.Drain = true })
		if err := r.proxy.Drain(context.Background(), fmt.Sprintf("shop-%06d", i), false); err != nil {
			t.Error(err)
		}
		closed[i].Store(true)
		before := asked.Load()
		eventually(t, "more requests", func() bool { return asked.Load() > before+20 })
		closed[i].Store(false)
		r.edit(i, func(s *l7.Server) { s.Drain, s.Starts = false, s.Starts+1 })
	}
	cancel()
	wait.Wait()
	if failed.Load() > 0 || misled.Load() > 0 {
		t.Errorf("of %d requests %d failed and %d reached a drained server", asked.Load(), failed.Load(), misled.Load())
	}
}

func TestFrontendsComeAndGoWithoutTouchingOthers(t *testing.T) {
	r := newRig(t, nil, serveHTTP(t, named("a")))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.proxy.SetListener("second", l)
	stays := r.raw()
	stays.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	stays.answer("GET")

	f := r.snap.Frontends["web"]
	f.Bind = []string{"second"}
	r.snap.Frontends["also"] = f
	r.apply()
	goes, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer goes.Close()
	w := &wire{tb: t, Conn: goes, in: bufio.NewReader(goes)}
	w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	w.answer("GET")

	delete(r.snap.Frontends, "also")
	r.apply()
	w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n") // it was on its way: one more answer, and the last
	if resp, body := w.answer("GET"); body != "a" || !resp.Close {
		t.Errorf("after the frontend is gone: %q, close %v", body, resp.Close)
	}
	w.ended()
	late := &wire{tb: t, in: bufio.NewReader(nil)} // others may hold its socket still, so it is served
	if late.Conn, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	late.in.Reset(late.Conn)
	late.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if resp, body := late.answer("GET"); body != "a" || !resp.Close {
		t.Errorf("a newcomer after the frontend is gone: %q, close %v", body, resp.Close)
	}
	if status, body := r.api("POST", "/v1/unbind", `{}`); status != 200 {
		t.Errorf("unbind: %d %s", status, body)
	}
	if r.proxy.HasListener("second") {
		t.Error("its listener is kept")
	}
	if c, err := net.Dial("tcp", l.Addr().String()); err == nil {
		c.Close()
		t.Error("its address is still served")
	}
	stays.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if resp, body := stays.answer("GET"); body != "a" || resp.Close {
		t.Errorf("the other frontend: %q close %v", body, resp.Close)
	}
}

// A server that never answers and one that never hangs up must not keep a proxy
// from ending in its time.
func TestShutdownCutsWhatDoesNotFinish(t *testing.T) {
	release := make(chan struct{})
	arrived := make(chan struct{}, 2)
	u := listenRaw(t, func(_ int, c net.Conn, in *bufio.Reader) {
		req, _, err := request(in)
		if err == nil && req.Header.Get("Upgrade") != "" {
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
		}
		arrived <- struct{}{}
		<-release
	})
	t.Cleanup(func() { close(release) })
	r := newRig(t, nil, u.addr)
	stuck, tunnel := r.raw(), r.raw()
	stuck.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	tunnel.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
	tunnel.answer("GET")
	<-arrived
	<-arrived
	_ = tunnel.Conn.(*net.TCPConn).CloseWrite()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- r.proxy.Shutdown(ctx) }()
	select {
	case err := <-done:
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	case <-time.After(hang):
		t.Fatal("it does not end")
	}
}

func TestShutdownDoesNotWaitForUpgradedConnections(t *testing.T) {
	u := listenRaw(t, func(_ int, c net.Conn, in *bufio.Reader) {
		if _, _, err := request(in); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			_, _ = io.Copy(c, in)
		}
	})
	r := newRig(t, nil, u.addr)
	w := r.upgrade()
	done := make(chan error, 1)
	go func() { done <- r.proxy.Shutdown(context.Background()) }()
	if err := comes(t, "it ends", done); err != nil {
		t.Error(err)
	}
	w.ended()
}

func TestShutdownFinishesWhatIsInFlight(t *testing.T) {
	addr, arrived, open := gated(t)
	r := newRig(t, nil, addr)
	idle, active := r.raw(), r.raw()
	active.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	<-arrived
	done := make(chan error, 1)
	go func() { done <- r.proxy.Shutdown(context.Background()) }()
	eventually(t, "nothing is accepted", func() bool {
		c, err := net.Dial("tcp", r.addr)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	close(open)
	if resp, body := active.answer("GET"); body != "late" || !resp.Close {
		t.Errorf("got %q close %v", body, resp.Close)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	idle.ended()
}

// The time of requests is not that of upgraded connections: neither is waited for
// where the other is asked about. A request that may yet be upgraded is both.
func TestADrainOfUpgradedConnectionsWaitsForNoRequest(t *testing.T) {
	addr, arrived, open := gated(t)
	r := newRig(t, nil, addr)
	got := make(chan string, 1)
	go func() { _, body := r.get("/slow"); got <- body }()
	<-arrived
	if err := r.proxy.Drain(t.Context(), "shop-000000", true); err != nil {
		t.Errorf("with a plain request in flight: %v", err)
	}
	asks := r.raw()
	asks.send("GET /asks HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	<-arrived
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := r.proxy.Drain(ctx, "shop-000000", true); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with a request in flight that asks for an upgrade: %v", err)
	}
	drained := make(chan error, 1)
	go func() { drained <- r.proxy.Drain(context.WithoutCancel(t.Context()), "shop-000000", true) }()
	close(open) // it is not upgraded
	if err := <-drained; err != nil {
		t.Error(err)
	}
	if body := <-got; body != "late" {
		t.Errorf("the plain request got %q", body)
	}
}
