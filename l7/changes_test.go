package l7_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/backstay/backstay/l7"
)

// pulse is told of each change; who waits for one wakes at the next.
type pulse struct {
	mu   sync.Mutex
	next chan struct{}
}

func (p *pulse) wait() {
	p.mu.Lock()
	next := p.next
	p.mu.Unlock()
	<-next
}

func (p *pulse) beat() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.next)
	p.next = make(chan struct{})
}

// changing is a proxy whose one service and frontend are others after each round.
type changing struct {
	*rig

	pulse  pulse
	served atomic.Int64
	over   atomic.Bool
	leave  sync.WaitGroup // servers that drain
	last   *httptest.Server
}

// ServeHTTP says how much has come. What it answers to /down lasts for two changes.
func (c *changing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		return // the proxy broke it off, which its client notices
	}
	if r.URL.Path == "/down" {
		w.Header().Set("Content-Length", "300000")
		for range 3 {
			_, _ = w.Write(make([]byte, 100_000))
			_ = http.NewResponseController(w).Flush()
			c.pulse.wait()
		}
		return
	}
	_, _ = io.WriteString(w, strconv.FormatInt(n, 10))
}

// round puts a new service behind a frontend with a new name, under routes of
// another form, and ends the old one's server once it is drained.
func (c *changing) round(n int) {
	s, old, was := httptest.NewServer(c), c.last, fmt.Sprintf("app-%06d", n-1)
	c.last = s
	name := fmt.Sprintf("app%d", n)
	next := server(c.tb, n, s.Listener.Addr().String())
	next.ID, next.Release = fmt.Sprintf("app-%06d", n), name+"@1"
	c.snap.Pools = map[string]l7.Pool{name: {Pool: newSnapshot().Pools["shop"].Pool, Servers: []l7.Server{next}}}
	c.snap.Frontends = newSnapshot().Frontends
	route(&c.snap, func(r *l7.Route) {
		r.To, r.Path = name, []string{"/", ""}[n%2]
		r.Retry.Attempts = n % 3
	})
	rename(&c.snap, "front"+strconv.Itoa(n/2))
	c.apply()
	c.pulse.beat()
	if old == nil {
		return
	}
	c.leave.Go(func() {
		if err := c.proxy.Drain(context.Background(), was, false); err != nil {
			c.tb.Error(err)
		}
		old.Close()
	})
}

// ask sends requests over one kept connection until the changes are over. A body
// is sent in pieces of that size, with a change between each two.
func (c *changing) ask(method, path string, piece, pieces int) {
	conn, err := net.Dial("tcp", c.addr)
	if err != nil {
		c.tb.Error(err)
		return
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(5 * hang))
	in := bufio.NewReader(conn)
	for n := 0; !c.over.Load(); n++ {
		fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", method, path, piece*pieces)
		for range pieces {
			_, _ = io.WriteString(conn, strings.Repeat("x", piece)) // its answer says what became of it
			c.pulse.wait()
		}
		if what := c.wrong(in, method, path, piece*pieces); what != "" {
			c.tb.Errorf("%s %s with %d×%d bytes, the %d. on its connection: %s", method, path, pieces, piece, n+1, what)
			return
		}
		c.served.Add(1)
	}
}

// wrong reads an answer and returns what is wrong with it.
func (c *changing) wrong(in *bufio.Reader, method, path string, sent int) string {
	resp, err := http.ReadResponse(in, &http.Request{Method: method})
	if err != nil {
		return err.Error()
	}
	body, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err.Error()
	case resp.StatusCode != http.StatusOK || resp.Close:
		return fmt.Sprintf("%s, close %v", resp.Status, resp.Close)
	case path == "/down" && len(body) != 300_000, path != "/down" && string(body) != strconv.Itoa(sent):
		return fmt.Sprintf("%d bytes: %.20q", len(body), body)
	}
	return ""
}

// A hundred changes, each of the service, its servers, the routes and often the
// name of the frontend, while requests are longer than a change: uploads that are
// kept and such that are streamed, downloads, and short ones on kept connections.
// None is lost, and no connection ends.
func TestNothingIsLostByAHundredChangesOfEverything(t *testing.T) {
	c := &changing{rig: newRig(t, nil), pulse: pulse{next: make(chan struct{})}}
	c.round(0)
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() { c.ask("POST", "/", 5, 3) })
		clients.Go(func() { c.ask("POST", "/", 20_000, 3) })
		clients.Go(func() { c.ask("PUT", "/", 50_000, 4) })
		clients.Go(func() { c.ask("GET", "/down", 0, 0) })
		clients.Go(func() { c.ask("GET", "/", 0, 0) })
		clients.Go(func() { c.ask("POST", "/", 100, 1) })
	}
	for n := range 100 {
		before := c.served.Load()
		c.round(n + 1)
		eventually(t, "requests between two changes", func() bool { return c.served.Load() > before+10 || t.Failed() })
	}
	c.over.Store(true)
	ended := make(chan struct{})
	go func() { clients.Wait(); c.leave.Wait(); close(ended) }()
	eventually(t, "all have ended", func() bool {
		c.pulse.beat() // who waits for a change has had it
		select {
		case <-ended:
			return true
		default:
			return false
		}
	})
	c.last.Close()
	t.Logf("%d requests", c.served.Load())
}
