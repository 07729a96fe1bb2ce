package l7_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/backstay/backstay/l7"
)

// seen is a listener whose connections say when somebody waits to read more of
// what has come.
type seen struct {
	net.Listener

	waits chan struct{}
}

func (l seen) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return &seenConn{Conn: c, waits: l.waits}, err
}

type seenConn struct {
	net.Conn

	waits chan struct{}
	some  bool // something has been read
}

func (c *seenConn) Read(b []byte) (int, error) {
	if c.some {
		c.waits <- struct{}{}
	}
	n, err := c.Conn.Read(b)
	c.some = n > 0
	return n, err
}

// watched has r listen where waits says that a request, which is not whole yet,
// has been read as far as it has come.
func (r *rig) watched() (waits chan struct{}) {
	r.tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.tb.Fatal(err)
	}
	waits = make(chan struct{}, 100)
	r.proxy.SetListener(bind, seen{l, waits})
	r.addr = l.Addr().String()
	return waits
}

// rename gives the only frontend another name.
func rename(s *l7.Snapshot, to string) {
	for name, f := range s.Frontends {
		delete(s.Frontends, name)
		s.Frontends[to] = f
		return
	}
}

// replace has the only route lead to a new service at addr, and the one before
// leave.
func (r *rig) replace(addr string) {
	r.tb.Helper()
	next := server(r.tb, 9, addr)
	next.ID, next.Release = "next-000000", "next@1"
	r.snap.Pools = map[string]l7.Pool{"next": {Pool: r.snap.Pools["shop"].Pool, Servers: []l7.Server{next}}}
	route(&r.snap, func(rt *l7.Route) { rt.To = "next" })
}

// A request whose body is still arriving is at no server yet: it goes where the
// table leads that is in force when all of it is here, and has the limits and the
// answers of that one.
func TestARequestThatIsStillArrivingGoesByTheTableInForceWhenItIsHere(t *testing.T) {
	next := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, _ = io.WriteString(w, "next "+string(body))
	})
	for name, c := range map[string]struct {
		change func(*rig)
		status int
		body   string
	}{
		"another service": {func(r *rig) { r.replace(next) }, 200, "next hello"},
		"another service and name": {func(r *rig) {
			r.replace(next)
			rename(&r.snap, "site")
		}, 200, "next hello"},
		"redirect": {func(r *rig) {
			route(&r.snap, func(rt *l7.Route) { rt.To, rt.Redirect = "", &l7.Redirect{URL: "/there", Status: 307} })
		}, 307, ""},
		"respond": {func(r *rig) {
			route(&r.snap, func(rt *l7.Route) { rt.To, rt.Respond = "", &l7.Respond{Status: 410, Body: "gone"} })
		}, 410, "gone"},
		"no route":    {func(r *rig) { route(&r.snap, func(rt *l7.Route) { rt.Path = "/other" }) }, 404, "404 Not Found\n"},
		"too large":   {func(r *rig) { web(&r.snap, func(f *l7.Frontend) { f.Limits.Body = 4 }) }, 413, "413 Request Entity Too Large\n"},
		"not allowed": {func(r *rig) { web(&r.snap, func(f *l7.Frontend) { f.Deny = prefixes("127.0.0.0/8") }) }, 403, "403 Forbidden\n"},
		"nobody": {func(r *rig) {
			pool(&r.snap, func(p *l7.Pool) { p.Servers = nil })
		}, 503, "503 Service Unavailable\n"},
	} {
		t.Run(name, func(t *testing.T) {
			old := serveHTTP(t, named("old"))
			r := newRig(t, nil, old)
			waits := r.watched()
			w := r.raw()
			w.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel")
			comes(t, "the beginning has been read", waits)
			c.change(r)
			r.apply()
			if err := r.proxy.Drain(context.Background(), "shop-000000", false); err != nil {
				t.Fatal(err)
			}
			w.send("lo")
			if resp, body := w.answer("POST"); resp.StatusCode != c.status || body != c.body {
				t.Errorf("%s %q, want %d %q", resp.Status, body, c.status, c.body)
			}
		})
	}
}

// What a client may say about itself is judged by the same table that chooses the
// server.
func TestARequestThatIsRoutedAgainIsSeenAnew(t *testing.T) {
	next := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("X-Forwarded-For"))
	})
	r := newRig(t, func(s *l7.Snapshot) {
		web(s, func(f *l7.Frontend) { f.TrustedProxies = prefixes("127.0.0.0/8") })
	}, deadAddr(t))
	waits := r.watched()
	w := r.raw()
	w.send("POST / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 10.9.8.7\r\nContent-Length: 5\r\n\r\nhel")
	comes(t, "the beginning has been read", waits)
	r.replace(next)
	web(&r.snap, func(f *l7.Frontend) { f.TrustedProxies = nil })
	r.apply()
	w.send("lo")
	if _, body := w.answer("POST"); body != "127.0.0.1" {
		t.Errorf("the server is told %q", body)
	}
}

// A retry is a request that is at no server again.
func TestARetryGoesByTheTableInForce(t *testing.T) {
	for name, c := range map[string]struct {
		change func(r *rig, next string)
		want   string
	}{
		"another service": {func(r *rig, next string) { r.replace(next) }, "next"},
		"respond": {func(r *rig, _ string) {
			route(&r.snap, func(rt *l7.Route) { rt.To, rt.Respond = "", &l7.Respond{Status: 200, Body: "ours"} })
		}, "ours"},
		"nobody": {func(r *rig, _ string) { pool(&r.snap, func(p *l7.Pool) { p.Servers = nil }) }, "502 Bad Gateway\n"},
	} {
		t.Run(name, func(t *testing.T) {
			here, die := make(chan struct{}), make(chan struct{})
			old := listenRaw(t, func(_ int, _ net.Conn, in *bufio.Reader) {
				if _, _, err := request(in); err == nil {
					close(here)
					<-die
				}
			})
			r := newRig(t, nil, old.addr)
			w := r.raw()
			w.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
			comes(t, "the request is at the old server", here)
			c.change(r, serveHTTP(t, named("next")))
			r.apply()
			close(die)
			if resp, body := w.answer("PUT"); body != c.want || resp.Close {
				t.Errorf("%s %q, close %v", resp.Status, body, resp.Close)
			}
			w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			w.answer("GET")
		})
	}
}

// A frontend that gets another name is the same address to its clients: their
// connections go on, and are counted under the new name.
func TestConnectionsOutliveTheNameOfTheirFrontend(t *testing.T) {
	r := newRig(t, func(s *l7.Snapshot) { web(s, func(f *l7.Frontend) { f.Limits.Conns = 2 }) }, serveHTTP(t, named("a")))
	idle, late := r.raw(), r.raw()
	for _, w := range []*wire{idle, late} {
		w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		w.answer("GET")
	}
	for _, name := range []string{"site", "shop", "web"} {
		rename(&r.snap, name)
		r.apply()
		if s := r.proxy.Stats(); s.Conns != 2 || s.Frontends[name].Conns != 2 {
			t.Fatalf("as %s: %d connections, of them %d counted there", name, s.Conns, s.Frontends[name].Conns)
		}
		idle.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if resp, body := idle.answer("GET"); body != "a" || resp.Close {
			t.Errorf("as %s: %q, close %v", name, body, resp.Close)
		}
	}
	eventually(t, "other names are forgotten", func() bool { return len(r.proxy.Stats().Frontends) == 1 })
	eventually(t, "both are idle", func() bool { return r.proxy.Stats().Frontends["web"].InFlight == 0 })
	third := r.raw() // there is room for two: one that came under another name makes way
	third.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if _, body := third.answer("GET"); body != "a" {
		t.Errorf("a third: %q", body)
	}
	late.ended()
	for _, w := range []*wire{idle, third} {
		w.Close()
	}
	eventually(t, "nobody is counted", func() bool { return r.proxy.Stats().Conns == 0 })
}

// Another protocol at the same address is no rename: who is there may ask once more.
func TestAConnectionEndsWhenItsAddressSpeaksTLS(t *testing.T) {
	r := newRig(t, nil, serveHTTP(t, named("a")))
	w := r.raw()
	w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	w.answer("GET")
	secure(certificate(t, 1, "a", "a.example"))(&r.snap)
	rename(&r.snap, "site")
	r.apply()
	w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if resp, body := w.answer("GET"); body != "a" || !resp.Close {
		t.Errorf("%q, close %v", body, resp.Close)
	}
	w.ended()
}

// The last answer of a frontend that has gone comes from a server that is there.
func TestTheLastAnswerOfAFrontendComesFromWhoIsThere(t *testing.T) {
	r := newRig(t, nil, serveHTTP(t, named("old")))
	waits := r.watched()
	w := r.raw()
	w.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel")
	comes(t, "the beginning has been read", waits)
	r.snap.Frontends = map[string]l7.Frontend{}
	r.apply()
	r.proxy.Unbind(false)
	r.snap.Pools["shop"].Servers[0] = server(t, 1, serveHTTP(t, named("new")))
	r.apply()
	w.send("lo")
	if resp, body := w.answer("POST"); body != "new" || !resp.Close {
		t.Errorf("%s %q, close %v", resp.Status, body, resp.Close)
	}
}

// A request may last longer than the log that its frontend had when it came: its
// line goes to the one there is.
func TestALineGoesToTheLogThatThereIs(t *testing.T) {
	dir := t.TempDir()
	logTo := func(s *l7.Snapshot, file string) {
		web(s, func(f *l7.Frontend) {
			f.AccessLog = &l7.AccessLog{Path: filepath.Join(dir, file), Sample: 100, Errors: 100}
		})
	}
	addr, arrived, open := gated(t)
	r := newRig(t, func(s *l7.Snapshot) { logTo(s, "old") }, addr)
	w := r.raw()
	w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	comes(t, "the request arrives", arrived)
	logTo(&r.snap, "new")
	r.apply()
	close(open)
	w.answer("GET")
	eventually(t, "a line", func() bool {
		b, _ := os.ReadFile(filepath.Join(dir, "new"))
		return strings.Contains(string(b), `"status":200`)
	})
}

// The last answers of a frontend that has gone are logged where all its others are.
func TestTheLastAnswerOfAFrontendIsLogged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	addr, arrived, open := gated(t)
	r := newRig(t, func(s *l7.Snapshot) {
		web(s, func(f *l7.Frontend) { f.AccessLog = &l7.AccessLog{Path: path, Sample: 100, Errors: 100} })
	}, addr)
	w := r.raw()
	w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	comes(t, "the request arrives", arrived)
	r.snap.Frontends = map[string]l7.Frontend{}
	r.apply()
	close(open)
	w.answer("GET")
	eventually(t, "a line", func() bool {
		b, _ := os.ReadFile(path)
		return strings.Contains(string(b), `"status":200`)
	})
}
