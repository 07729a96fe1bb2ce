package l7_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/internal/nettest"
	"github.com/backstay/backstay/l7"
	"github.com/backstay/backstay/l7/h1/corpus"
)

// The corpus of l7/h1, sent over real connections through a real proxy to a
// server that records every byte.

// recorder is that server.
type recorder struct {
	l     net.Listener
	conns sync.WaitGroup

	mu     sync.Mutex // guards what follows
	heard  []byte     // all bytes of all connections, in order; tests send one request at a time
	opened int
	script []byte         // the answer to /
	ends   bool           // and the connection behind it
	then   chan *recorded // gets the connection that answered by the script
}

// recorded is one connection to the recorder.
type recorded struct {
	net.Conn

	id    int
	of    *recorder
	after int           // bytes that came after the last script
	bad   bool          // has answered by the script
	ended chan struct{} // the proxy has closed it
}

func newRecorder(t *testing.T) *recorder {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{l: l, then: make(chan *recorded, 16)}
	go r.accept()
	return r
}

func (r *recorder) accept() {
	for {
		c, err := r.l.Accept()
		if err != nil {
			return
		}
		r.mu.Lock()
		r.opened++
		rc := &recorded{Conn: c, id: r.opened, of: r, ended: make(chan struct{})}
		r.mu.Unlock()
		r.conns.Go(rc.serve)
	}
}

// Read records.
func (c *recorded) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	c.of.heard = append(c.of.heard, b[:n]...)
	if c.bad {
		c.after += n
	}
	return n, err
}

func (c *recorded) serve() {
	defer c.Close()
	defer close(c.ended)
	in := bufio.NewReader(c)
	for {
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			return
		}
		c.answer(req)
	}
}

func (c *recorded) answer(req *http.Request) {
	r := c.of
	r.mu.Lock()
	script, ends := r.script, r.ends
	if script != nil && req.URL.Path == "/" {
		c.bad, c.after, r.script = true, 0, nil
	} else {
		script = nil
	}
	r.mu.Unlock()
	if script == nil {
		closes := ""
		if req.URL.Path == "/after" { // so that connections of cases are found in the pool, not those of barriers
			closes = "Connection: close\r\n"
		}
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nX-Conn: %d\r\n%sContent-Length: %d\r\n\r\n%s", c.id, closes, len(req.URL.Path), req.URL.Path)
		return
	}
	_, _ = c.Write(script[:len(script)/2]) // in two segments, most times
	_, _ = c.Write(script[len(script)/2:])
	if ends {
		_ = c.Conn.(*net.TCPConn).CloseWrite()
	}
	r.then <- c
}

// take returns what has been heard since the last time.
func (r *recorder) take() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.heard
	r.heard = nil
	return b
}

func (r *recorder) play(script []byte, ends bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.script, r.ends = script, ends
}

// hostileRig is a proxy with two frontends: one trusts this host, one nobody.
type hostileRig struct {
	t        *testing.T
	proxy    *l7.Proxy
	rec      *recorder
	addr     map[bool]string // of the frontend, by whether it trusts
	stop     context.CancelFunc
	finished chan error
}

func newHostileRig(t *testing.T) *hostileRig {
	t.Helper()
	r := &hostileRig{t: t, rec: newRecorder(t), addr: map[bool]string{}, finished: make(chan error, 1)}
	p := l7.New(l7.Options{Log: slog.New(slog.DiscardHandler), Quiet: nettest.Quiet})
	r.proxy = p
	snap := l7.Snapshot{Backstay: "l7 snapshot", V: l7.SnapshotVersion, Gen: 1, Frontends: map[string]l7.Frontend{}, Pools: hostilePools(r.rec)}
	for trusted, bind := range map[bool]string{false: "127.0.0.1:81", true: "127.0.0.1:82"} {
		snap.Frontends[fmt.Sprintf("trusts-%v", trusted)] = hostileFrontend(bind, trusted)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		p.SetListener(bind, l)
		r.addr[trusted] = l.Addr().String()
	}
	if err := p.Apply(t.Context(), snap); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.stop = cancel
	ready := make(chan struct{})
	go func() { r.finished <- p.Run(ctx, func() { close(ready) }) }()
	<-ready
	t.Cleanup(r.end)
	return r
}

func hostilePools(rec *recorder) map[string]l7.Pool {
	var pool backstay.Pool
	pool.SetDefaults()
	pool.Outlier.ConsecutiveErrors = 1 << 20 // the only server must stay
	port := rec.l.Addr().(*net.TCPAddr).AddrPort().Port()
	server := l7.Server{ID: "shop-1", Release: "shop@1", Address: "127.0.0.1", Ports: map[string]uint16{"http": port}, Ready: true}
	return map[string]l7.Pool{"shop": {Pool: pool, Servers: []l7.Server{server}}}
}

func hostileFrontend(bind string, trusted bool) l7.Frontend {
	var f l7.Frontend
	f.SetDefaults()
	var route l7.Route
	route.SetDefaults()
	route.To = "shop"
	f.Bind, f.Routes = []string{bind}, []l7.Route{route}
	if trusted {
		f.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	}
	return f
}

// end stops the proxy, and with it every connection to the recorder.
func (r *hostileRig) end() {
	r.stop()
	select {
	case <-r.finished:
	case <-time.After(hostileHang):
		r.t.Error("the proxy does not end")
	}
	_ = r.rec.l.Close()
	r.rec.conns.Wait()
}

// hostileHang guards against hangs and measures nothing.
const hostileHang = 20 * time.Second

// client is a connection that keeps what it has read.
type rawClient struct {
	net.Conn

	in  *bufio.Reader
	got bytes.Buffer
}

func (r *hostileRig) dial(c *corpus.Case) *rawClient {
	r.t.Helper()
	nc, err := net.Dial("tcp", r.addr[c != nil && c.Has("trusted")])
	if err != nil {
		r.t.Fatal(err)
	}
	_ = nc.SetDeadline(time.Now().Add(hostileHang))
	client := &rawClient{Conn: nc}
	client.in = bufio.NewReader(io.TeeReader(nc, &client.got))
	return client
}

// send writes all in one go.
func (c *rawClient) send(b []byte) error {
	_, err := c.Write(b)
	return err
}

// answer reads one answer to a method and returns it with its raw bytes,
// those of interim answers before it among them.
func (c *rawClient) answer(method string) (*http.Response, []byte, error) {
	start := c.got.Len() - c.in.Buffered()
	for {
		resp, err := http.ReadResponse(c.in, &http.Request{Method: method})
		if err != nil {
			return nil, nil, err
		}
		_, err = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode >= 200 || resp.StatusCode == 101 || err != nil {
			return resp, bytes.Clone(c.got.Bytes()[start : c.got.Len()-c.in.Buffered()]), err
		}
	}
}

// rest reads to the end of the connection. A reset is an end too.
func (c *rawClient) rest() ([]byte, error) {
	b, err := io.ReadAll(c.in)
	var late net.Error
	if errors.As(err, &late) && late.Timeout() {
		return b, err
	}
	return b, nil
}

// barrier sends a plain request on a connection of its own and returns the
// number of the recorder's connection that it went over. Whatever the proxy had
// sent before has been heard when it returns.
func (r *hostileRig) barrier() (conn string) {
	r.t.Helper()
	c := r.dial(nil)
	defer c.Close()
	if err := c.send([]byte("GET /after HTTP/1.1\r\nHost: after.example\r\nConnection: close\r\n\r\n")); err != nil {
		r.t.Fatal(err)
	}
	resp, raw, err := c.answer("GET")
	if err != nil || resp.StatusCode != http.StatusOK || !bytes.HasSuffix(raw, []byte("\r\n\r\n/after")) {
		r.t.Fatalf("after it: %q, %v", raw, err)
	}
	return resp.Header.Get("X-Conn")
}

// barrierBytes are what the recorder hears of a barrier.
const barrierBytes = "GET /after HTTP/1.1\r\nHost: after.example\r\nX-Forwarded-For: 127.0.0.1\r\n" +
	"X-Forwarded-Proto: http\r\nX-Forwarded-Host: after.example\r\n\r\n"
