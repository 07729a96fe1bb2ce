package l7_test

import (
	"bufio"
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

// A server closes a kept connection just as the next request is on its way. The
// client must not notice.
func TestAKeptConnectionThatItsServerClosedCostsNothing(t *testing.T) {
	served := make(chan struct{}, 8)
	u := listenRaw(t, func(_ int, c net.Conn, in *bufio.Reader) {
		if _, _, err := request(in); err != nil {
			return
		}
		_, _ = io.WriteString(c, ok("one"))
		_, _ = in.Peek(1) // the next request has come: close instead of answering
		served <- struct{}{}
	})
	r := newRig(t, nil, u.addr)
	for range 3 {
		if status, body := r.get("/"); status != 200 || body != "one" {
			t.Fatalf("got %d %q", status, body)
		}
	}
	if n := u.count(); n != 3 {
		t.Errorf("%d connections, want 3: one afresh for each that was closed", n)
	}
	if s := r.proxy.Stats().Servers["shop-000000"]; s.Failed != 0 {
		t.Errorf("the server is blamed: %+v", s)
	}
}

func TestAPostIsNeverSentTwice(t *testing.T) {
	var posts atomic.Int64
	script := func(_ int, c net.Conn, in *bufio.Reader) {
		for {
			req, _, err := request(in)
			if err != nil {
				return
			}
			if req.Method == http.MethodPost {
				posts.Add(1)
				return // and no answer
			}
			_, _ = io.WriteString(c, ok("fine"))
		}
	}
	a, b := listenRaw(t, script), listenRaw(t, script)
	r := newRig(t, func(s *l7.Snapshot) {
		route(s, func(rt *l7.Route) {
			rt.Retry.If, rt.Retry.Attempts = []string{"connect", "reset", "timeout", "502"}, 5
		})
	}, a.addr, b.addr)
	for range 4 {
		r.get("/") // connections to be reused
	}
	for i := range 10 {
		w := r.raw()
		w.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
		if resp, _ := w.answer("POST"); resp.StatusCode != 502 {
			t.Errorf("post %d: %s", i, resp.Status)
		}
	}
	if n := posts.Load(); n != 10 {
		t.Errorf("10 posts were sent %d times", n)
	}
}

// From the first byte of an answer on there is one answer, and be it the promise
// of one.
func TestNobodyElseIsAskedOnceAnInterimAnswerIsOut(t *testing.T) {
	var asked atomic.Int64
	script := func(_ int, c net.Conn, in *bufio.Reader) {
		if _, _, err := request(in); err == nil {
			asked.Add(1)
			_, _ = io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n")
		}
	}
	a, b := listenRaw(t, script), listenRaw(t, script)
	r := newRig(t, nil, a.addr, b.addr)
	w := r.raw()
	w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	for _, want := range []int{103, 502} {
		if resp, _ := w.answer("GET"); resp.StatusCode != want {
			t.Errorf("got %s, want %d", resp.Status, want)
		}
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("%d servers were asked", n)
	}
	w.Close()
	w = r.raw() // who does not know of interim answers has not seen one
	w.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n")
	if resp, _ := w.answer("GET"); resp.StatusCode != 502 || asked.Load() != 3 {
		t.Errorf("got %s, %d were asked", resp.Status, asked.Load())
	}
}

// Half a head is an answer that nobody can read, and not the end of a
// connection before an answer: nobody else is asked.
func TestHalfAHeadIsAskedOfNobodyElse(t *testing.T) {
	var asked atomic.Int64
	script := func(_ int, c net.Conn, in *bufio.Reader) {
		if _, _, err := request(in); err == nil {
			asked.Add(1)
			_, _ = io.WriteString(c, "HTTP/1.1 2")
		}
	}
	a, b := listenRaw(t, script), listenRaw(t, script)
	r := newRig(t, func(s *l7.Snapshot) {
		route(s, func(rt *l7.Route) { rt.Retry.If, rt.Retry.Attempts = []string{"connect", "reset"}, 5 })
	}, a.addr, b.addr)
	if status, _ := r.get("/"); status != 502 || asked.Load() != 1 {
		t.Errorf("got %d, %d were asked", status, asked.Load())
	}
}

func TestAPostOnAConnectionThatWasClosedBeforeGoesToAnother(t *testing.T) {
	var posts atomic.Int64
	closed := make(chan struct{})
	u := listenRaw(t, func(_ int, c net.Conn, in *bufio.Reader) {
		if _, _, err := request(in); err != nil {
			return
		}
		posts.Add(1)
		_, _ = io.WriteString(c, ok("fine")) // and not a word of closing
		c.Close()
		closed <- struct{}{}
	})
	r := newRig(t, nil, u.addr)
	for range 20 {
		resp, err := r.client().Post(r.url("/"), "", strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Fatalf("got %s", resp.Status)
		}
		<-closed
	}
	if posts.Load() != 20 {
		t.Errorf("%d posts arrived", posts.Load())
	}
}

func TestAServerThatRefusesConnectionsIsPassedOver(t *testing.T) {
	r := newRig(t, func(s *l7.Snapshot) {
		pool(s, func(p *l7.Pool) { p.Outlier = nil })
	}, deadAddr(t), serveHTTP(t, named("alive")))
	for _, method := range []string{"GET", "POST", "PATCH"} { // nothing was written, so any method may go on
		for range 10 {
			req, _ := http.NewRequest(method, r.url("/"), strings.NewReader("body"))
			resp, err := r.client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if string(body) != "alive" {
				t.Fatalf("%s: %s %q", method, resp.Status, body)
			}
		}
	}
	if s := r.proxy.Stats(); s.Servers["shop-000000"].Failed == 0 || s.Services["shop"].Retried == 0 {
		t.Errorf("nothing was retried: %+v", s.Services)
	}
}

func TestWhoDiesInTheMiddleOfAnAnswerIsSeenToHaveDied(t *testing.T) {
	for name, answer := range map[string]string{
		"length":  "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
		"chunked": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			dies := listenRaw(t, func(_ int, c net.Conn, in *bufio.Reader) {
				if _, _, err := request(in); err == nil {
					_, _ = io.WriteString(c, answer)
				}
			})
			r := newRig(t, func(s *l7.Snapshot) {
				route(s, func(rt *l7.Route) { rt.Retry.Attempts = 5 })
			}, dies.addr, dies.addr)
			w := r.raw()
			w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			resp, err := http.ReadResponse(w.in, nil)
			if err != nil {
				if isReset(err) {
					return
				}
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			if err == nil {
				t.Errorf("a whole answer: %q", body)
			}
			if dies.count() != 1 {
				t.Errorf("%d tries", dies.count())
			}
			eventually(t, "counted as cut", func() bool { return r.proxy.Stats().Frontends["web"].Classes["cut"] == 1 })
		})
	}
}

func TestAFrozenServerIsLeftForAnother(t *testing.T) {
	release := make(chan struct{})
	frozen := listenRaw(t, func(_ int, _ net.Conn, _ *bufio.Reader) { <-release })
	t.Cleanup(func() { close(release) })
	r := newRig(t, func(s *l7.Snapshot) {
		route(s, func(rt *l7.Route) {
			rt.Retry.If, rt.Retry.PerTryTimeout = []string{"connect", "reset", "timeout"}, backstay.Duration(500*time.Millisecond)
		})
	}, frozen.addr, serveHTTP(t, named("alive")))
	for range 8 {
		if status, body := r.get("/"); status != 200 || body != "alive" {
			t.Fatalf("got %d %q", status, body)
		}
	}
	eventually(t, "the frozen one is ejected or was not asked five times", func() bool {
		s := r.proxy.Stats().Servers["shop-000000"]
		return s.Failed < 5 || s.Ejected != nil
	})
}

// Nobody is cut short for the sake of a retry that cannot be.
func TestPerTryTimeoutOnlyEndsATryThatAnotherMayFollow(t *testing.T) {
	slow := func() string {
		return serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-time.After(300 * time.Millisecond)
			_, _ = io.WriteString(w, "late")
		})
	}
	limit := func(s *l7.Snapshot) {
		route(s, func(rt *l7.Route) {
			rt.Retry.If, rt.Retry.PerTryTimeout = []string{"timeout"}, backstay.Duration(50*time.Millisecond)
		})
	}
	two := newRig(t, limit, slow(), slow())
	for _, method := range []string{"POST", "GET"} {
		req, _ := http.NewRequest(method, two.url("/"), nil)
		resp, err := two.client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Errorf("%s: %s", method, resp.Status)
		}
	}
	if n := two.proxy.Stats().Services["shop"].Retried; n != 1 {
		t.Errorf("%d retries, want that of the GET", n)
	}
	if status, _ := newRig(t, limit, slow()).get("/"); status != 200 {
		t.Errorf("with nobody else: %d", status)
	}
}

func TestAServerThatIsTooLateIs504(t *testing.T) {
	release := make(chan struct{})
	frozen := listenRaw(t, func(_ int, _ net.Conn, _ *bufio.Reader) { <-release })
	t.Cleanup(func() { close(release) })
	r := newRig(t, func(s *l7.Snapshot) {
		route(s, func(rt *l7.Route) { rt.Timeout.Response = backstay.Duration(50 * time.Millisecond) })
	}, frozen.addr)
	if status, body := r.get("/"); status != 504 || strings.Contains(body, "127.0.0.1") {
		t.Errorf("got %d %q", status, body)
	}
}

func TestAStatusIsRetriedIfTheRouteSaysSo(t *testing.T) {
	var asked atomic.Int64
	busy := serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		http.Error(w, "busy", http.StatusServiceUnavailable)
	})
	r := newRig(t, func(s *l7.Snapshot) {
		pool(s, func(p *l7.Pool) { p.Outlier = nil })
		route(s, func(rt *l7.Route) { rt.Retry.If = []string{"503"} })
	}, busy, serveHTTP(t, named("alive")))
	for range 10 {
		if status, body := r.get("/"); status != 200 || body != "alive" {
			t.Fatalf("got %d %q", status, body)
		}
	}
	if asked.Load() == 0 {
		t.Error("the busy one was never asked")
	}
	// With nobody else, the client gets the answer that came.
	r.edit(1, func(s *l7.Server) { s.Ready = false })
	if status, body := r.get("/"); status != 503 || body != "busy\n" {
		t.Errorf("got %d %q", status, body)
	}
}

func TestRetriesEndWhenTheBudgetIsSpent(t *testing.T) {
	r := newRig(t, func(s *l7.Snapshot) {
		pool(s, func(p *l7.Pool) { p.Outlier = nil })
		route(s, func(rt *l7.Route) { rt.Retry.Budget = 0 })
	}, deadAddr(t), deadAddr(t))
	var wait sync.WaitGroup
	for range 10 {
		wait.Go(func() {
			c := r.client()
			for range 15 {
				if resp, err := c.Get(r.url("/")); err == nil {
					_, _ = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
			}
		})
	}
	wait.Wait()
	s := r.proxy.Stats().Services["shop"]
	if s.Retried != 100 || s.Exhausted != 50 {
		t.Errorf("150 requests: retried %d, not paid %d; want 100 and 50", s.Retried, s.Exhausted)
	}
}

func TestABadAnswerIs502AndItsConnectionIsNotUsedAgain(t *testing.T) {
	for name, answer := range map[string]string{
		"no http":        "SSH-2.0-OpenSSH_9.2\r\n\r\n",
		"two lengths":    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
		"both frames":    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"unasked switch": "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
		"endless head":   "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("a", 100<<10) + "\r\n\r\n",
		"cut in head":    "HTTP/1.1 200 OK\r\nX: ",
	} {
		t.Run(name, func(t *testing.T) {
			u := listenRaw(t, func(_ int, c net.Conn, in *bufio.Reader) {
				for {
					if _, _, err := request(in); err != nil {
						return
					}
					_, _ = io.WriteString(c, answer)
					if name == "cut in head" {
						return
					}
				}
			})
			r := newRig(t, nil, u.addr)
			for range 2 {
				if status, _ := r.get("/"); status != 502 {
					t.Errorf("got %d", status)
				}
			}
			if u.count() != 2 {
				t.Errorf("%d connections for two requests", u.count())
			}
		})
	}
}

// What a server sends after the end of an answer must not become the next one.
func TestWhatFollowsAnAnswerIsNotTakenForAnother(t *testing.T) {
	u := listenRaw(t, func(_ int, c net.Conn, in *bufio.Reader) {
		for {
			if _, _, err := request(in); err != nil {
				return
			}
			_, _ = io.WriteString(c, ok("good")+ok("poison"))
		}
	})
	r := newRig(t, nil, u.addr)
	for range 3 {
		if _, body := r.get("/"); body != "good" {
			t.Errorf("got %q", body)
		}
	}
}
