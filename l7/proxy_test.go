package l7_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/internal/nettest"
	"github.com/backstay/backstay/l7"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// hang is how long a test waits for what should come at once. It guards against
// hangs and measures nothing.
const hang = 20 * time.Second

// rig is a proxy on a real socket, with one frontend and one service.
type rig struct {
	tb     testing.TB
	proxy  *l7.Proxy
	addr   string
	snap   l7.Snapshot
	events *events
	gen    uint64
}

// events are what a proxy has told.
type events struct {
	mu  sync.Mutex
	all []backstay.Event
}

func (e *events) Record(ev backstay.Event) { e.mu.Lock(); e.all = append(e.all, ev); e.mu.Unlock() }

func (e *events) kinds() (out []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, ev := range e.all {
		out = append(out, string(ev.Kind)+" "+ev.Ref.Name())
	}
	return out
}

const bind = "127.0.0.1:0"

func newSnapshot() l7.Snapshot {
	var f l7.Frontend
	f.SetDefaults()
	f.Bind = []string{bind}
	var r l7.Route
	r.SetDefaults()
	r.To = "shop"
	f.Routes = []l7.Route{r}
	var p backstay.Pool
	p.SetDefaults()
	return l7.Snapshot{
		Backstay: "l7 snapshot", V: l7.SnapshotVersion, Gen: 1,
		Frontends: map[string]l7.Frontend{"web": f}, Pools: map[string]l7.Pool{"shop": {Pool: p}},
	}
}

// newRig runs a proxy to servers, as change has it.
func newRig(tb testing.TB, change func(*l7.Snapshot), servers ...string) *rig {
	tb.Helper()
	r := &rig{tb: tb, snap: newSnapshot(), events: &events{}}
	pool := r.snap.Pools["shop"]
	for i, addr := range servers {
		pool.Servers = append(pool.Servers, server(tb, i, addr))
	}
	r.snap.Pools["shop"] = pool
	if change != nil {
		change(&r.snap)
	}
	r.proxy = l7.New(l7.Options{Log: slog.New(slog.DiscardHandler), Events: r.events, Quiet: nettest.Quiet})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	r.addr = l.Addr().String()
	r.proxy.SetListener(bind, l)
	r.apply()
	ctx, cancel := context.WithCancel(context.Background())
	done, ready := make(chan error, 1), make(chan struct{})
	go func() { done <- r.proxy.Run(ctx, func() { close(ready) }) }()
	<-ready
	tb.Cleanup(func() {
		cancel()
		select {
		case <-done:
		case <-time.After(hang):
			tb.Error("the proxy does not end")
		}
	})
	return r
}

func server(tb testing.TB, i int, addr string) l7.Server {
	tb.Helper()
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		tb.Fatal(err)
	}
	return l7.Server{
		ID: fmt.Sprintf("shop-%06d", i), Release: "shop@1", Address: ap.Addr().String(),
		Ports: map[string]uint16{"http": ap.Port()}, Ready: true, Starts: 1,
	}
}

// apply puts r.snap in force with the next generation.
func (r *rig) apply() {
	r.tb.Helper()
	r.gen++
	r.snap.Gen = r.gen
	if err := r.proxy.Apply(context.Background(), r.clone()); err != nil {
		r.tb.Fatal(err)
	}
}

// clone is a snapshot that later changes to r.snap leave alone.
func (r *rig) clone() l7.Snapshot {
	s := r.snap
	s.Pools = map[string]l7.Pool{}
	for name, p := range r.snap.Pools {
		p.Servers = append([]l7.Server(nil), p.Servers...)
		s.Pools[name] = p
	}
	s.Frontends = map[string]l7.Frontend{}
	for name, f := range r.snap.Frontends {
		f.Routes = append([]l7.Route(nil), f.Routes...)
		s.Frontends[name] = f
	}
	return s
}

// edit changes the server with index i and applies.
func (r *rig) edit(i int, change func(*l7.Server)) {
	r.tb.Helper()
	change(&r.snap.Pools["shop"].Servers[i])
	r.apply()
}

func web(s *l7.Snapshot, change func(*l7.Frontend)) {
	f := s.Frontends["web"]
	change(&f)
	s.Frontends["web"] = f
}

func route(s *l7.Snapshot, change func(*l7.Route)) {
	web(s, func(f *l7.Frontend) { change(&f.Routes[0]) })
}

func pool(s *l7.Snapshot, change func(*l7.Pool)) {
	p := s.Pools["shop"]
	change(&p)
	s.Pools["shop"] = p
}

// client is an HTTP client that never retries: its first look at a connection
// is its last.
func (r *rig) client() *http.Client {
	t := &http.Transport{MaxIdleConnsPerHost: 100, DisableCompression: true}
	r.tb.Cleanup(t.CloseIdleConnections)
	return &http.Client{Transport: t, Timeout: hang, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func (r *rig) url(path string) string { return "http://" + r.addr + path }

// get asks once and returns the status and the body.
func (r *rig) get(path string) (int, string) {
	r.tb.Helper()
	c := r.client()
	resp, err := c.Get(r.url(path))
	if err != nil {
		r.tb.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		r.tb.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// raw opens a connection that is spoken to by hand.
func (r *rig) raw() *wire {
	r.tb.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.tb.Fatal(err)
	}
	r.tb.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(hang))
	return &wire{tb: r.tb, Conn: c, in: bufio.NewReader(c)}
}

type wire struct {
	net.Conn

	tb testing.TB
	in *bufio.Reader
}

func (w *wire) send(text string) {
	w.tb.Helper()
	if _, err := io.WriteString(w, text); err != nil {
		w.tb.Fatal(err)
	}
}

// answer reads one whole answer to a request of method.
func (w *wire) answer(method string) (*http.Response, string) {
	w.tb.Helper()
	resp, err := http.ReadResponse(w.in, &http.Request{Method: method})
	if err != nil {
		w.tb.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.tb.Fatal(err)
	}
	return resp, string(body)
}

// ended wants the connection to be at its end.
func (w *wire) ended() {
	w.tb.Helper()
	rest, err := io.ReadAll(w.in)
	if len(rest) > 0 {
		w.tb.Errorf("more came before the end: %q", rest)
	}
	if err != nil && !isReset(err) {
		w.tb.Error(err)
	}
}

func isReset(err error) bool { return strings.Contains(err.Error(), "reset") }

// upstream is a raw server: each connection is played by a script.
type upstream struct {
	addr string
	l    net.Listener

	mu    sync.Mutex
	conns int
	wait  sync.WaitGroup
}

// listenRaw plays script on each connection, counted from 0.
func listenRaw(tb testing.TB, script func(n int, c net.Conn, in *bufio.Reader)) *upstream {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	u := &upstream{addr: l.Addr().String(), l: l}
	u.wait.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			u.mu.Lock()
			n := u.conns
			u.conns++
			u.mu.Unlock()
			u.wait.Go(func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(hang))
				script(n, c, bufio.NewReader(c))
			})
		}
	})
	tb.Cleanup(func() { l.Close() })
	return u
}

func (u *upstream) count() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.conns
}

// request reads one request off in, with its body.
func request(in *bufio.Reader) (*http.Request, string, error) {
	req, err := http.ReadRequest(in)
	if err != nil {
		return nil, "", err
	}
	body, err := io.ReadAll(req.Body)
	return req, string(body), err
}

func ok(body string) string {
	return "HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body
}

// serveHTTP is an ordinary server.
func serveHTTP(tb testing.TB, h http.HandlerFunc) string {
	tb.Helper()
	s := httptest.NewServer(h)
	tb.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// named answers with a name.
func named(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, name)
	}
}

// deadAddr is an address that nobody listens at.
func deadAddr(tb testing.TB) string {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// eventually waits for cond.
func eventually(tb testing.TB, what string, cond func() bool) {
	tb.Helper()
	deadline := time.After(hang)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			tb.Fatalf("never: %s", what)
		}
	}
}

func TestARequestReachesAServerAndItsAnswerTheClient(t *testing.T) {
	addr := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s %q %s", r.Method, r.URL, r.Host, body, r.Header.Get("X-Forwarded-For"))
	})
	r := newRig(t, nil, addr)
	resp, err := r.client().Post(r.url("/a?b=c"), "text/plain", strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	if want := `POST /a?b=c ` + r.addr + ` "hello" 127.0.0.1`; string(body) != want {
		t.Errorf("got %s, want %s", body, want)
	}
	eventually(t, "the request is counted once everywhere", func() bool {
		s := r.proxy.Stats()
		return s.Servers["shop-000000"].Requests == 1 && s.Frontends["web"].Classes["2xx"] == 1 &&
			s.Releases["shop@1"].Sent == 1 && s.Services["shop"].InFlight == 0
	})
}

func prefixes(list ...string) (out []netip.Prefix) {
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}
