package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// load is a client that checks every answer and never sends anything twice.
type load struct {
	t       testing.TB
	address string
	gets    bool // sends no POSTs: one in flight at who dies is lost, for it may have been done
	stop    context.CancelFunc
	all     sync.WaitGroup
	sent    atomic.Int64

	mu       sync.Mutex // guards all below
	failures []string
	orders   map[string]bool // ids of all POSTs that were answered well
	versions map[string]int  // good answers by version
	unknown  map[string]bool // ids of POSTs that failed: they may or may not have been done
}

// startLoad puts load on address over conns kept connections, every other
// request a POST, each after think.
func startLoad(tb testing.TB, address string, conns int, think time.Duration) *load {
	tb.Helper()
	l := &load{t: tb, address: address}
	l.start(conns, think)
	return l
}

// startGets is startLoad without POSTs.
func startGets(tb testing.TB, address string, conns int, think time.Duration) *load {
	tb.Helper()
	l := &load{t: tb, address: address, gets: true}
	l.start(conns, think)
	return l
}

func (l *load) start(conns int, think time.Duration) {
	l.orders, l.versions, l.unknown = map[string]bool{}, map[string]int{}, map[string]bool{}
	ctx, stop := context.WithCancel(context.Background())
	l.stop = stop
	for i := range conns {
		l.all.Go(func() { l.run(ctx, i, think) })
	}
	l.t.Cleanup(l.end)
}

// end stops the load after the requests that are under way.
func (l *load) end() {
	l.stop()
	l.all.Wait()
}

func (l *load) run(ctx context.Context, worker int, think time.Duration) {
	var c net.Conn
	var in *bufio.Reader
	for n := 0; ctx.Err() == nil; n++ {
		if c == nil {
			var err error
			if c, err = net.DialTimeout("tcp", l.address, hang); err != nil {
				l.failed("connect: "+err.Error(), "")
				time.Sleep(look)
				continue
			}
			in = bufio.NewReader(c)
		}
		id := fmt.Sprintf("o%d-%d-%08x", worker, n, rand.Uint32())
		if n%2 == 0 || l.gets {
			id = ""
		}
		if !l.exchange(c, in, id) {
			_ = c.Close()
			c = nil
		}
		if think > 0 {
			time.Sleep(think)
		}
	}
	if c != nil {
		_ = c.Close()
	}
}

// orderWork is how long the shop is at an order, so that some are always in
// flight: one that is cut off must not be sent again, and fails.
const orderWork = 5 * time.Millisecond

// exchange sends one request, a POST of order id if there is one, and checks the
// answer. It returns whether the connection can be used again.
func (l *load) exchange(c net.Conn, in *bufio.Reader, id string) bool {
	l.sent.Add(1)
	nonce := fmt.Sprintf("%016x", rand.Uint64())
	head := "GET /?n=" + nonce + " HTTP/1.1\r\nHost: shop.example\r\n\r\n"
	if id != "" {
		head = fmt.Sprintf("POST /orders?n=%s&work=%v HTTP/1.1\r\nHost: shop.example\r\nContent-Length: %d\r\n\r\n%s", nonce, orderWork, len(id), id)
	}
	_ = c.SetDeadline(time.Now().Add(hang))
	if _, err := io.WriteString(c, head); err != nil {
		l.failed("send: "+err.Error(), id)
		return false
	}
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		l.failed("read answer: "+err.Error(), id)
		return false
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		l.failed("read body: "+err.Error(), id)
		return false
	}
	var a struct{ Version, Digest, Order string }
	if json.Unmarshal(body, &a) != nil || resp.StatusCode/100 != 2 || a.Digest != digestOf(nonce) || a.Order != id {
		l.failed(fmt.Sprintf("answered %s %q", resp.Status, bytes.TrimSpace(body)), id)
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.versions[a.Version]++
	if id != "" {
		l.orders[id] = true
	}
	return !resp.Close
}

func digestOf(nonce string) string {
	sum := sha256.Sum256([]byte("shop " + nonce))
	return hex.EncodeToString(sum[:16])
}

func (l *load) failed(what, id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failures = append(l.failures, time.Now().Format("15:04:05.000 ")+what)
	if id != "" {
		l.unknown[id] = true
	}
}

// nothingFailed fails the test if a request has failed.
func (l *load) nothingFailed() {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.failures); n > 0 {
		l.t.Errorf("%d of %d requests failed; the first: %s", n, l.sent.Load(), strings.Join(l.failures[:min(n, 5)], "\n\t"))
	}
}

// eachOrderOnce fails the test unless every order that was answered is in the
// shop's own book once, and none that failed is there twice.
func (l *load) eachOrderOnce(data string) {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	text, err := os.ReadFile(filepath.Join(data, "orders"))
	if err != nil {
		l.t.Fatal(err)
	}
	times := map[string]int{}
	for line := range strings.Lines(string(text)) {
		id, _, _ := strings.Cut(line, " ")
		times[id]++
	}
	for id := range l.orders {
		if times[id] != 1 {
			l.t.Errorf("order %s is in the book %d times", id, times[id])
		}
	}
	for id := range l.unknown {
		if times[id] > 1 {
			l.t.Errorf("order %s, whose answer was lost, is in the book %d times", id, times[id])
		}
	}
	if len(l.orders) == 0 {
		l.t.Error("no order was answered")
	}
}

// until waits for so many requests.
func (l *load) until(sent int64) {
	l.t.Helper()
	end := time.Now().Add(10 * hang)
	for l.sent.Load() < sent {
		if time.Now().After(end) {
			l.t.Fatalf("%d requests only", l.sent.Load())
		}
		time.Sleep(look)
	}
}
