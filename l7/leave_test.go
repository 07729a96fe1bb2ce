package l7_test

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/l7"
)

// thinker is a server that takes requests and answers when it is told to.
type thinker struct {
	*upstream

	heard  chan string   // the path of a request, once all of it is here
	answer chan string   // what to write
	left   chan struct{} // the proxy has closed a connection
	first  string        // is written at once
}

func newThinker(t *testing.T, first string) *thinker {
	t.Helper()
	s := &thinker{heard: make(chan string, 16), answer: make(chan string, 16), left: make(chan struct{}, 16), first: first}
	s.upstream = listenRaw(t, func(_ int, c net.Conn, in *bufio.Reader) {
		gone := make(chan struct{})
		var writing sync.WaitGroup
		defer func() { close(gone); writing.Wait(); s.left <- struct{}{} }()
		for {
			req, _, err := request(in)
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, s.first)
			s.heard <- req.URL.Path
			writing.Go(func() {
				select {
				case text := <-s.answer:
					_, _ = io.WriteString(c, text)
				case <-gone:
				}
			})
		}
	})
	return s
}

// comes wants something within reason.
func comes[T any](t *testing.T, what string, from <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(hang):
		t.Fatalf("never: %s", what)
	}
	return v
}

// A client that has gone is no reason for its server to go on thinking, and
// nothing that a drain has to wait for.
func TestAClientThatLeavesWhileItsServerThinksIsNoticed(t *testing.T) {
	const get = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
	large := bigBody(256 << 10)
	for name, c := range map[string]struct{ text, first string }{
		"asked":                 {text: get},
		"sent a small body":     {text: "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"},
		"sent a large body":     {text: "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 262144\r\n\r\n" + large},
		"sent chunks":           {text: "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n40000\r\n" + large + "\r\n0\r\n\r\n"},
		"got an interim answer": {text: get, first: "HTTP/1.1 103 Early Hints\r\n\r\n"},
		"got the head":          {text: get, first: "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"},
		"asked for more":        {text: get + "GET /y HTTP/1.1\r\nHost: a\r\n\r\n"},
	} {
		for how, leave := range waysToLeave {
			t.Run(name+", "+how, func(t *testing.T) {
				s := newThinker(t, c.first)
				r := newRig(t, func(s *l7.Snapshot) {
					pool(s, func(p *l7.Pool) { p.Outlier.ConsecutiveErrors = 1 })
				}, s.addr, s.addr)
				w := r.raw()
				w.send(c.text)
				comes(t, "the request arrives", s.heard)
				leave(w.Conn)
				comes(t, "the server is told", s.left)
				eventually(t, "nothing is in flight", func() bool { return r.proxy.Stats().Services["shop"].InFlight == 0 })
				eventually(t, "the connection is gone", func() bool { return r.proxy.Stats().Conns == 0 })
				wantLeft(t, r, c.first)
			})
		}
	}
}

var waysToLeave = map[string]func(net.Conn){
	"closes":       func(c net.Conn) { _ = c.Close() },
	"resets":       func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0); _ = c.Close() },
	"closes half":  func(c net.Conn) { _ = c.(*net.TCPConn).CloseWrite() },
	"closes later": func(c net.Conn) { time.AfterFunc(3*l7.WatchAfter, func() { _ = c.Close() }) },
}

// wantLeft wants one request that its client has left, and nobody else blamed.
func wantLeft(t *testing.T, r *rig, first string) {
	t.Helper()
	s := r.proxy.Stats()
	f := s.Frontends["web"]
	class := "left"
	if strings.Contains(first, "200 OK") {
		class = "2xx" // it had begun
	}
	if f.Aborted != 1 || f.Classes[class] != 1 || f.Requests != 1 {
		t.Errorf("counted %+v", f)
	}
	if svc := s.Services["shop"]; svc.Requests != 1 || svc.Failed != 0 || svc.Retried != 0 || svc.Ejected != 0 {
		t.Errorf("the servers: %+v", svc)
	}
}

func TestAClientThatLeavesItsServerThinkingIsNoticedOverTLS(t *testing.T) {
	s := newThinker(t, "")
	r := newRig(t, secure(certificate(t, 1, "a", "a.example")), s.addr)
	w, _, err := r.dialTLS("a.example", tls.VersionTLS13)
	if err != nil {
		t.Fatal(err)
	}
	w.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
	comes(t, "the request arrives", s.heard)
	_ = w.Conn.(*tls.Conn).CloseWrite()
	comes(t, "the server is told", s.left)
	w.ended()
	eventually(t, "it is counted", func() bool { return r.proxy.Stats().Frontends["web"].Classes["left"] == 1 })
}

func TestADrainDoesNotWaitForAnAnswerThatNobodyWants(t *testing.T) {
	s := newThinker(t, "")
	r := newRig(t, nil, s.addr)
	w := r.raw()
	w.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
	comes(t, "the request arrives", s.heard)
	r.edit(0, func(s *l7.Server) { s.Drain = true })
	drained := make(chan error, 1)
	go func() { drained <- r.proxy.Drain(t.Context(), "shop-000000", false) }()
	_ = w.Close()
	if err := comes(t, "it is drained", drained); err != nil {
		t.Error(err)
	}
}

// The watch has begun at one server, and the client leaves while another thinks.
func TestAClientThatLeavesDuringARetryIsNoticed(t *testing.T) {
	first := listenRaw(t, func(_ int, c net.Conn, in *bufio.Reader) {
		if _, _, err := request(in); err == nil {
			_ = c.SetReadDeadline(time.Now().Add(3 * l7.WatchAfter))
			_, _ = in.ReadByte() // nothing comes: it thinks, and then it dies
		}
	})
	second := newThinker(t, "")
	r := newRig(t, func(s *l7.Snapshot) {
		pool(s, func(p *l7.Pool) { p.Balance = backstay.RoundRobin })
		route(s, func(r *l7.Route) { r.Retry.If = []string{"reset"} })
	}, second.addr, first.addr) // the first turn is the second's
	w := r.raw()
	w.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
	comes(t, "the retry arrives", second.heard)
	if first.count() != 1 {
		t.Fatalf("%d tries at the first", first.count())
	}
	_ = w.Close()
	comes(t, "the second is told", second.left)
	eventually(t, "it is counted", func() bool { return r.proxy.Stats().Frontends["web"].Classes["left"] == 1 })
}

// What a client sends while its server thinks belongs to its next request, or to
// the tunnel that it has asked for.
func TestWhatComesWhileAServerThinksIsNotLost(t *testing.T) {
	large := bigBody(256 << 10)
	for name, text := range map[string]string{
		"nothing":    "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n",
		"small body": "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
		"large body": "POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 262144\r\n\r\n" + large,
		"chunks":     "POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n40000\r\n" + large + "\r\n0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			s := newThinker(t, "")
			r := newRig(t, nil, s.addr)
			w := r.raw()
			w.send(text + "GET /2 HTTP/1.1\r\n") // its beginning comes with the first
			comes(t, "the first arrives", s.heard)
			time.AfterFunc(3*l7.WatchAfter, func() {
				_, _ = io.WriteString(w, "Host: a\r\nX: "+strings.Repeat("x", 20<<10)+"\r\n\r\nGET /3 HTTP/1.1\r\nHost: a\r\n\r\n")
				time.AfterFunc(3*l7.WatchAfter, func() { s.answer <- ok("one") })
			})
			if _, body := w.answer("GET"); body != "one" {
				t.Errorf("the first got %q", body)
			}
			for _, path := range []string{"/2", "/3"} {
				if got := comes(t, "the next arrives", s.heard); got != path {
					t.Errorf("%s arrived, want %s", got, path)
				}
				s.answer <- ok(path)
				if _, body := w.answer("GET"); body != path {
					t.Errorf("%s got %q", path, body)
				}
			}
		})
	}
}

func TestWhatComesBeforeAnUpgradeIsAgreedToReachesTheTunnel(t *testing.T) {
	agree := make(chan struct{})
	u := listenRaw(t, func(_ int, c net.Conn, in *bufio.Reader) {
		if _, _, err := request(in); err != nil {
			return
		}
		<-agree
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		_, _ = io.Copy(c, in)
	})
	r := newRig(t, nil, u.addr)
	w := r.raw()
	w.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nwith the head, ")
	time.AfterFunc(3*l7.WatchAfter, func() {
		_, _ = io.WriteString(w, "before the answer, ")
		time.AfterFunc(3*l7.WatchAfter, func() { close(agree) })
	})
	if resp, _ := w.answer("GET"); resp.StatusCode != 101 {
		t.Fatalf("got %s", resp.Status)
	}
	w.send("and after")
	_ = w.Conn.(*net.TCPConn).CloseWrite()
	if echo, err := io.ReadAll(w.in); err != nil || string(echo) != "with the head, before the answer, and after" {
		t.Errorf("came back %q, %v", echo, err)
	}
}

func TestTheAccessLogSaysWhoLeft(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	s := newThinker(t, "")
	r := newRig(t, func(s *l7.Snapshot) {
		web(s, func(f *l7.Frontend) { f.AccessLog = &l7.AccessLog{Path: path, Sample: 100, Errors: 100} })
	}, s.addr)
	w := r.raw()
	w.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
	comes(t, "the request arrives", s.heard)
	_ = w.Close()
	line := ""
	eventually(t, "a line", func() bool {
		b, _ := os.ReadFile(path)
		line = string(b)
		return line != ""
	})
	if !strings.Contains(line, `"status":499,"bytes":0,`) || !strings.Contains(line, `"aborted":true`) || !strings.Contains(line, `"instance":"shop-000000"`) {
		t.Errorf("logged %s", line)
	}
}
