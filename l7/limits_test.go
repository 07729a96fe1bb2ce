package l7_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/l7"
)

const short = backstay.Duration(100 * time.Millisecond)

func TestAHeadThatTakesForEverIsEnded(t *testing.T) {
	r := newRig(t, func(s *l7.Snapshot) {
		web(s, func(f *l7.Frontend) { f.Timeout.Header = short })
	}, serveHTTP(t, named("a")))
	w := r.raw()
	w.send("GET / HTTP/1.1\r\n")
	stop := make(chan struct{})
	defer close(stop)
	go func() { // a byte now and then does not help
		for {
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
				if _, err := io.WriteString(w.Conn, "X: y\r\n"); err != nil {
					return
				}
			}
		}
	}()
	resp, err := http.ReadResponse(w.in, nil)
	if err != nil && !isReset(err) {
		t.Fatal(err)
	}
	if err == nil && resp.StatusCode != 408 {
		t.Errorf("got %s", resp.Status)
	}
}

func TestAnIdleConnectionIsClosedWithoutAWord(t *testing.T) {
	r := newRig(t, func(s *l7.Snapshot) {
		web(s, func(f *l7.Frontend) { f.Timeout.Idle = short })
	}, serveHTTP(t, named("a")))
	w := r.raw()
	w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	w.answer("GET")
	w.ended()
	r.raw().ended() // and one that never asked
}

func TestABodyThatStallsIs408AndItsServerIsFree(t *testing.T) {
	r := newRig(t, func(s *l7.Snapshot) {
		web(s, func(f *l7.Frontend) { f.Timeout.BodyStall = short })
	}, serveHTTP(t, named("a")))
	for name, head := range map[string]string{
		"small":   "Content-Length: 100\r\n\r\nsome",
		"large":   "Content-Length: 1000000\r\n\r\nsome",
		"chunked": "Transfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n",
	} {
		w := r.raw()
		w.send("POST / HTTP/1.1\r\nHost: a\r\n" + head)
		if resp, _ := w.answer("POST"); resp.StatusCode != 408 {
			t.Errorf("%s: %s", name, resp.Status)
		}
		w.ended()
	}
	eventually(t, "nothing is in flight", func() bool { return r.proxy.Stats().Servers["shop-000000"].InFlight == 0 })
	if s := r.proxy.Stats().Servers["shop-000000"]; s.Failed > 0 {
		t.Errorf("the server is blamed for a client: %+v", s)
	}
}

func TestAClientThatDoesNotReadIsLeft(t *testing.T) {
	addr := serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) {
		piece := make([]byte, 1<<20)
		for range 64 {
			if _, err := w.Write(piece); err != nil {
				return
			}
		}
	})
	r := newRig(t, func(s *l7.Snapshot) {
		web(s, func(f *l7.Frontend) { f.Timeout.BodyStall = short })
	}, addr)
	w := r.raw()
	w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	eventually(t, "it is given up", func() bool {
		s := r.proxy.Stats()
		return s.Frontends["web"].Aborted == 1 && s.Servers["shop-000000"].InFlight == 0
	})
}

func TestLimitsAreNamedByStatus(t *testing.T) {
	r := newRig(t, func(s *l7.Snapshot) {
		web(s, func(f *l7.Frontend) {
			f.Limits.Header, f.Limits.Fields, f.Limits.Body = 8<<10, 20, 1000
		})
	}, serveHTTP(t, named("a")))
	for name, c := range map[string]struct {
		text   string
		status int
	}{
		"head":              {"GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("a", 9<<10) + "\r\n\r\n", 431},
		"fields":            {"GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: y\r\n", 20) + "\r\n", 431},
		"line":              {"GET /" + strings.Repeat("a", 9<<10) + " HTTP/1.1\r\nHost: a\r\n\r\n", 414},
		"body":              {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n", 413},
		"chunked":           {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n" + strings.Repeat("a", 1001), 413},
		"chunked, kept":     {"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n" + strings.Repeat("a", 1001), 413},
		"body of the limit": {"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1000\r\n\r\n" + strings.Repeat("a", 1000), 200},
		"chunks of the limit": {
			"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n" + strings.Repeat("a", 1000) + "\r\n0\r\n\r\n", 200,
		},
		"fields of the limit": {"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + strings.Repeat("X: y\r\n", 18) + "\r\n", 200},
		"just right":          {"GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("a", 7<<10) + "\r\nConnection: close\r\n\r\n", 200},
	} {
		w := r.raw()
		go func() { _, _ = io.WriteString(w.Conn, c.text) }()
		if resp, _ := w.answer("GET"); resp.StatusCode != c.status {
			t.Errorf("%s: %s, want %d", name, resp.Status, c.status)
		}
		w.ended()
	}
}

// Whoever sends more than it may reads why, and not a reset.
func TestARefusalArrivesBehindABodyThatNobodyReads(t *testing.T) {
	r := newRig(t, func(s *l7.Snapshot) {
		web(s, func(f *l7.Frontend) { f.Limits.Body = 1000 })
	}, serveHTTP(t, named("a")))
	for range 20 {
		w := r.raw()
		w.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n")
		for range 20 {
			w.send(bigBody(10_000))
		}
		if resp, body := w.answer("POST"); resp.StatusCode != 413 || body != "413 Request Entity Too Large\n" {
			t.Fatalf("got %s %q", resp.Status, body)
		}
		w.ended()
	}
}

func TestAFullHouseClosesTheOldestIdleOrSays503(t *testing.T) {
	addr, arrived, open := gated(t)
	r := newRig(t, func(s *l7.Snapshot) {
		web(s, func(f *l7.Frontend) { f.Limits.Conns = 2 })
	}, addr)
	first := r.raw()
	eventually(t, "the first is in", func() bool { return r.proxy.Stats().Conns == 1 })
	second := r.raw()
	second.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	<-arrived
	third := r.raw() // takes the place of the first, which is idle
	third.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	<-arrived
	first.ended()
	eventually(t, "two are in", func() bool { return r.proxy.Stats().Conns == 2 })
	fourth := r.raw()
	if resp, _ := fourth.answer("GET"); resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("got %s", resp.Status)
	}
	fourth.ended()
	close(open)
	second.answer("GET")
	third.answer("GET")
}

func TestOneClientHasItsShareOfConnections(t *testing.T) {
	r := newRig(t, func(s *l7.Snapshot) {
		web(s, func(f *l7.Frontend) { f.Limits.ConnsPerClient = 2 })
	}, serveHTTP(t, named("a")))
	a, b := r.raw(), r.raw()
	eventually(t, "two are in", func() bool { return r.proxy.Stats().Conns == 2 })
	if resp, _ := r.raw().answer("GET"); resp.StatusCode != 429 {
		t.Errorf("got %s", resp.Status)
	}
	a.Close()
	eventually(t, "one has left", func() bool { return r.proxy.Stats().Conns == 1 })
	c := r.raw()
	c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	c.answer("GET")
	_ = b
}

func TestWhoMayNotIsSaidSo(t *testing.T) {
	for name, change := range map[string]func(*l7.Frontend){
		"denied":      func(f *l7.Frontend) { f.Deny = prefixes("127.0.0.0/8") },
		"not allowed": func(f *l7.Frontend) { f.Allow = prefixes("10.0.0.0/8") },
		"both":        func(f *l7.Frontend) { f.Allow, f.Deny = prefixes("127.0.0.0/8"), prefixes("127.0.0.1/32") },
	} {
		r := newRig(t, func(s *l7.Snapshot) { web(s, change) }, serveHTTP(t, named("a")))
		if status, _ := r.get("/"); status != 403 {
			t.Errorf("%s: %d", name, status)
		}
	}
}

// A thousand clients that send a byte now and then must neither keep others out
// nor stay.
func TestAThousandSlowClientsAreBoundedAndInNobodysWay(t *testing.T) {
	if testing.Short() {
		t.Skip("opens a thousand connections; left out by -short")
	}
	r := newRig(t, func(s *l7.Snapshot) {
		web(s, func(f *l7.Frontend) {
			f.Limits.Conns, f.Timeout.Header = 1100, backstay.Duration(500*time.Millisecond)
		})
	}, serveHTTP(t, named("a")))
	conns := make([]net.Conn, 0, 1000)
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	for range 1000 {
		c, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
		_, _ = io.WriteString(c, "G")
	}
	if status, body := r.get("/"); status != 200 || body != "a" {
		t.Errorf("somebody else got %d %q", status, body)
	}
	for _, c := range conns {
		_ = c.SetDeadline(time.Now().Add(hang))
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != 408 {
			t.Fatalf("got %s", resp.Status)
		}
		c.Close()
	}
	eventually(t, "all have gone", func() bool { return r.proxy.Stats().Frontends["web"].Conns <= 1 })
}
