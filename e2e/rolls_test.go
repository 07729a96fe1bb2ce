package e2e

import (
	"bufio"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/internal/hosttest"
)

// rollingShop is three shops that leave at once when told, with a book of orders.
const rollingShop = `schema: 1
services:
  shop:
    version: v1
    run:
      exec: ["DIR/shop/${version}/shop", --listen, "127.0.0.1:${port.http}", --version, "${version}", --data, DIR/data]
      user: USER
    ports: { http: auto }
    replicas: 3
    probes:
      readiness: { http: /healthz, period: 250ms, timeout: 250ms }
    stop: { drain: 10s, drain_long: 10s, grace: 5s }
    deploy: { min_ready: 500ms }
frontends:
  web: { bind: ["127.0.0.1:PORT"], routes: [{ to: shop }] }
`

// rollNode starts rollingShop with so many versions at hand.
func rollNode(t *testing.T, versions int) (n *node, address string) {
	t.Helper()
	return rollNodeOf(t, versions, rollingShop)
}

func rollNodeOf(t *testing.T, versions int, file string) (n *node, address string) {
	t.Helper()
	n = newNode(t)
	all := map[string]string{}
	for v := range versions {
		all[fmt.Sprintf("v%d", v+1)] = ""
	}
	n.installShop(all)
	data := filepath.Join(n.dir, "data")
	if err := os.MkdirAll(data, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(data, 0o777); err != nil { // nobody writes there
		t.Fatal(err)
	}
	port := hosttest.FreePort(t)
	n.write(strings.ReplaceAll(file, "PORT", strconv.Itoa(port)))
	n.start()
	n.whole("shop", 3)
	n.settled("shop")
	return n, fmt.Sprintf("127.0.0.1:%d", port)
}

// settled waits until no deploy of service is under way.
func (n *node) settled(service string) api.Deploy {
	n.t.Helper()
	s := n.until("the deploy of "+service+" has ended", func(s api.Status) string {
		d := s.Service(service).Deploy
		switch {
		case d == nil:
			return "there is none"
		case !d.State.Ended():
			return string(d.State) + ": " + d.Step
		}
		return ""
	})
	return *s.Service(service).Deploy
}

// Deploys in a row under load lose nothing, and every order is in the book once.
func TestRollsLoseNothing(t *testing.T) {
	rolls := pick(10, 100)
	n, address := rollNode(t, rolls+1)
	l := startLoad(t, address, 16, time.Millisecond)
	wrk := startWrk(t, address)
	for i := range rolls {
		version := fmt.Sprintf("v%d", i+2)
		n.must("deploy", "shop", "--version", version)
		if s := n.status().Service("shop"); s.Version != version || len(s.Instances) != 3 {
			t.Errorf("after the deploy of %s: version %s, %d instances", version, s.Version, len(s.Instances))
			break // what requests say of it is told below
		}
	}
	if !t.Failed() {
		l.until(int64(pick(100_000, 1_000_000)))
	}
	l.end()
	wrk.wellEnded(t)
	l.nothingFailed()
	l.eachOrderOnce(filepath.Join(n.dir, "data"))
	t.Logf("%d deploys, %d checked requests, %d by wrk", rolls, l.sent.Load(), wrk.requests)
}

// wrk is a client that is not ours.
type wrk struct {
	cmd      *exec.Cmd
	out      strings.Builder
	requests int
}

func startWrk(t *testing.T, address string) *wrk {
	t.Helper()
	w := &wrk{}
	w.cmd = exec.Command("wrk", "-t1", "-c8", "-d24h", "http://"+address+"/?n=wrk&work=2ms")
	w.cmd.Stdout, w.cmd.Stderr = &w.out, &w.out
	if err := w.cmd.Start(); err != nil {
		t.Fatalf("%v; run .ci/peers", err)
	}
	t.Cleanup(func() { _ = w.cmd.Process.Kill(); _ = w.cmd.Wait() })
	return w
}

var total = regexp.MustCompile(`(\d+) requests in`)

// wellEnded stops wrk and fails the test if it saw anything but good answers.
func (w *wrk) wellEnded(t *testing.T) {
	t.Helper()
	_ = w.cmd.Process.Signal(os.Interrupt)
	_ = w.cmd.Wait()
	m := total.FindStringSubmatch(w.out.String())
	if m == nil {
		t.Fatalf("wrk said %s", w.out.String())
	}
	w.requests, _ = strconv.Atoi(m[1])
	if strings.Contains(w.out.String(), "Non-2xx") || strings.Contains(w.out.String(), "Socket errors") || w.requests == 0 {
		t.Errorf("wrk saw failures: %s", w.out.String())
	}
}

// WebSockets that are in use live on through a deploy until their instance's
// drain_long is over; new ones go to the new release only.
func TestWebSocketsLiveOutTheirDrain(t *testing.T) {
	n, address := rollNode(t, 2)
	var all []*socket
	for range 50 {
		all = append(all, dialSocket(t, address))
	}
	began := time.Now()
	done := make(chan int, 1)
	go func() {
		_, _, status := n.cli("deploy", "shop", "--version", "v2")
		done <- status
	}()
	n.until("all traffic is on v2", func(s api.Status) string {
		d := s.Service("shop").Deploy
		if d.To != "shop@2" || d.State == api.DeployRolling {
			return string(d.State)
		}
		return ""
	})
	for range 10 {
		s := dialSocket(t, address)
		if !strings.Contains(s.hello, "v2") {
			t.Errorf("a new WebSocket reached %s", s.hello)
		}
		s.close()
	}
	if status := <-done; status != 0 {
		t.Errorf("deploy ended with %d", status)
	}
	for _, s := range all {
		ended := s.waitEnd()
		// each instance's drain_long of 10 s begins with its own withdrawal, after began
		if lived := ended.Sub(began); lived < 10*time.Second {
			t.Errorf("a WebSocket of %s was closed %v after the deploy began, drain_long is 10s", s.hello, lived)
		}
		if s.echoed == 0 {
			t.Error("a WebSocket carried nothing")
		}
	}
}

// socket is a WebSocket with traffic both ways.
type socket struct {
	c      net.Conn
	in     *bufio.Reader
	hello  string
	echoed int
	ended  chan struct{}
	at     time.Time
	once   sync.Once
}

func dialSocket(t *testing.T, address string) *socket {
	t.Helper()
	c, err := net.DialTimeout("tcp", address, hang)
	if err != nil {
		t.Fatal(err)
	}
	var key [16]byte
	_, _ = rand.Read(key[:])
	fmt.Fprintf(c, "GET /ws HTTP/1.1\r\nHost: shop.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n\r\n",
		base64.StdEncoding.EncodeToString(key[:]))
	s := &socket{c: c, in: bufio.NewReader(c), ended: make(chan struct{})}
	for {
		line, err := s.in.ReadString('\n')
		if err != nil {
			t.Fatalf("handshake: %v", err)
		}
		if strings.HasPrefix(line, "HTTP/1.1") && !strings.Contains(line, "101") {
			t.Fatalf("handshake: %s", line)
		}
		if line == "\r\n" {
			break
		}
	}
	hello, err := s.read()
	if err != nil {
		t.Fatalf("first message: %v", err)
	}
	s.hello = string(hello)
	go s.talk()
	t.Cleanup(s.close)
	return s
}

// talk sends and gets back until the connection ends.
func (s *socket) talk() {
	defer close(s.ended)
	defer func() { s.at = time.Now() }()
	for i := 0; ; i++ {
		want := fmt.Sprintf("message %d", i)
		if err := s.write([]byte(want)); err != nil {
			return
		}
		got, err := s.read()
		if err != nil || string(got) != want {
			return
		}
		s.echoed++
		time.Sleep(100 * time.Millisecond)
	}
}

func (s *socket) close() { s.once.Do(func() { _ = s.c.Close() }) }

func (s *socket) waitEnd() time.Time { <-s.ended; return s.at }

func (s *socket) write(payload []byte) error {
	mask := [4]byte{1, 2, 3, 4}
	frame := append([]byte{0x81, 0x80 | byte(len(payload))}, mask[:]...)
	for i, b := range payload {
		frame = append(frame, b^mask[i%4])
	}
	_, err := s.c.Write(frame)
	return err
}

func (s *socket) read() ([]byte, error) {
	var head [2]byte
	if _, err := io.ReadFull(s.in, head[:]); err != nil {
		return nil, err
	}
	size := int(head[1] & 0x7f)
	if size == 126 {
		var wide [2]byte
		if _, err := io.ReadFull(s.in, wide[:]); err != nil {
			return nil, err
		}
		size = int(binary.BigEndian.Uint16(wide[:]))
	}
	if head[0]&0xf == 8 {
		return nil, io.EOF
	}
	payload := make([]byte, size)
	_, err := io.ReadFull(s.in, payload)
	return payload, err
}
