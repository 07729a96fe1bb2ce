package demo

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// What the load is made of.
const (
	keptConns   = 64                    // connections that stay
	newPerSec   = 50                    // requests a second on a connection of their own
	thinkTime   = 50 * time.Millisecond // between two requests on a kept connection
	answerTime  = 10 * time.Second      // a request without an answer for so long has failed
	redialPause = 20 * time.Millisecond // after a connection that was refused
	maxFailures = 2000                  // told one by one in a tally
	workOfOne   = "3ms"                 // that each request asks for
)

// Failure is one request that did not get the right answer.
type Failure struct {
	At      int64  `json:"at"`     // wall clock, Unix ns
	Opened  int64  `json:"opened"` // its connection; 0: there was none
	What    string `json:"what"`
	Refused bool   `json:"refused,omitempty"` // nobody listened
}

// Tally is what the load saw since the one before.
type Tally struct {
	Sent     int              `json:"sent"`
	Failed   int              `json:"failed"`
	Refused  int              `json:"refused"`
	Open     int              `json:"open"`     // connections, now
	Gap      time.Duration    `json:"gap"`      // longest time without a good answer
	Slowest  time.Duration    `json:"slowest"`  // good answer
	P50      time.Duration    `json:"p50"`      // of good answers
	P99      time.Duration    `json:"p99"`      //
	Releases map[string]int   `json:"releases"` // good answers by version
	LastBy   map[string]int64 `json:"last_by"`  // wall clock of the last good answer, by version, Unix ns
	Failures []Failure        `json:"failures,omitempty"`
	Opens    []int64          `json:"opens,omitempty"`  // when connections were opened, wall clock, Unix ns
	Closes   []int64          `json:"closes,omitempty"` // when they were closed
}

// Load puts load on the addresses until in ends, and answers every line of it
// with a [Tally] as JSON: "look" is the one that goes on, any other begins a new
// one. It is the main of a process of its own.
func Load(ctx context.Context, addresses []string, in io.Reader, out io.Writer) error {
	if len(addresses) == 0 {
		return errors.New("start load: no address to send to")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	m := newMeter()
	var all sync.WaitGroup
	for i := range keptConns {
		all.Go(func() { keptConn(ctx, m, addresses[i%len(addresses)], i) })
	}
	all.Go(func() { newConns(ctx, m, addresses, &all) })
	lines := bufio.NewScanner(in)
	answers := json.NewEncoder(out)
	for lines.Scan() {
		next := m.take
		if lines.Text() == "look" {
			next = m.look
		}
		if err := answers.Encode(next()); err != nil {
			break // nobody reads any longer
		}
	}
	cancel()
	all.Wait()
	return nil
}

// keptConn sends one request after the other on one connection, and opens
// another when that one ends.
func keptConn(ctx context.Context, m *meter, address string, i int) {
	wait(ctx, time.Duration(i)*thinkTime/keptConns) // not all at once
	var c *conn
	tick := time.NewTicker(thinkTime)
	defer tick.Stop()
	for ctx.Err() == nil {
		if c == nil {
			c = m.dial(ctx, address)
		}
		if c != nil && !m.ask(c, true) {
			m.close(c)
			c = nil
		}
		if c == nil {
			wait(ctx, redialPause)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	m.close(c)
}

// newConns sends requests on connections of their own, at a steady rate.
func newConns(ctx context.Context, m *meter, addresses []string, all *sync.WaitGroup) {
	tick := time.NewTicker(time.Second / newPerSec)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		all.Go(func() {
			c := m.dial(ctx, addresses[i%len(addresses)])
			if c != nil {
				m.ask(c, false)
			}
			m.close(c)
		})
	}
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// conn is one connection of the load.
type conn struct {
	net.Conn

	in     *bufio.Reader
	opened int64
}

// meter counts.
type meter struct {
	open atomic.Int64

	mu       sync.Mutex // guards all below
	tally    Tally
	took     []time.Duration
	lastGood time.Time
}

func newMeter() *meter {
	m := &meter{}
	m.reset(time.Now())
	return m
}

func (m *meter) reset(now time.Time) {
	m.tally = Tally{Releases: map[string]int{}, LastBy: map[string]int64{}}
	m.took, m.lastGood = m.took[:0], now
}

// take returns the tally and begins another.
func (m *meter) take() Tally {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	t := m.sum(now)
	m.reset(now)
	return t
}

// look returns the tally so far.
func (m *meter) look() Tally {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sum(time.Now())
}

// sum returns the tally at a moment. mu is held.
func (m *meter) sum(now time.Time) Tally {
	t := m.tally
	t.Gap = max(t.Gap, now.Sub(m.lastGood))
	t.Open = int(m.open.Load())
	slices.Sort(m.took)
	if n := len(m.took); n > 0 {
		t.P50, t.P99, t.Slowest = m.took[n/2], m.took[n*99/100], m.took[n-1]
	}
	return t
}

func (m *meter) dial(ctx context.Context, address string) *conn {
	c, err := (&net.Dialer{Timeout: answerTime}).DialContext(ctx, "tcp", address)
	if err != nil {
		if ctx.Err() == nil {
			m.failed(Failure{What: "connect: " + err.Error(), Refused: errors.Is(err, syscall.ECONNREFUSED)})
		}
		return nil
	}
	now := time.Now().UnixNano()
	m.note(&m.tally.Opens, 1, now)
	return &conn{Conn: c, in: bufio.NewReader(c), opened: now}
}

func (m *meter) close(c *conn) {
	if c != nil {
		_ = c.Close()
		m.note(&m.tally.Closes, -1, time.Now().UnixNano())
	}
}

// note counts a connection that came or went, and remembers when, as long as
// there is room.
func (m *meter) note(all *[]int64, change, at int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.open.Add(change)
	if len(*all) < maxFailures {
		*all = append(*all, at)
	}
}

// ask sends one request and checks its answer. It returns false when c cannot be
// used again.
func (m *meter) ask(c *conn, keep bool) bool {
	nonce := fmt.Sprintf("%016x", rand.Uint64())
	began := time.Now()
	version, kept, err := exchange(c, nonce, keep)
	if err != nil {
		m.failed(Failure{Opened: c.opened, What: err.Error()})
		return false
	}
	m.good(version, began)
	return kept
}

func (m *meter) good(version string, began time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	m.tally.Sent++
	m.tally.Releases[version]++
	m.tally.LastBy[version] = now.UnixNano()
	m.tally.Gap = max(m.tally.Gap, now.Sub(m.lastGood))
	m.lastGood = now
	m.took = append(m.took, now.Sub(began))
}

func (m *meter) failed(f Failure) {
	f.At = time.Now().UnixNano()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tally.Sent++
	m.tally.Failed++
	if f.Refused {
		m.tally.Refused++
	}
	if len(m.tally.Failures) < maxFailures {
		m.tally.Failures = append(m.tally.Failures, f)
	}
}

// exchange is one request and its answer, checked against the nonce. Nothing is
// sent twice: what fails here has failed.
func exchange(c *conn, nonce string, keep bool) (version string, kept bool, err error) {
	_ = c.SetDeadline(time.Now().Add(answerTime))
	head := "GET /?n=" + nonce + "&work=" + workOfOne + " HTTP/1.1\r\nHost: shop.example\r\n"
	if !keep {
		head += "Connection: close\r\n"
	}
	if _, err := io.WriteString(c, head+"\r\n"); err != nil {
		return "", false, fmt.Errorf("send: %w", err)
	}
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return "", false, fmt.Errorf("read answer: %w", err)
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil {
		return "", false, fmt.Errorf("read body: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return "", false, fmt.Errorf("answered %s: %s", resp.Status, bytes.TrimSpace(body))
	}
	var a struct{ Version, Digest string }
	if err := json.Unmarshal(body, &a); err != nil || a.Digest != digest(nonce) {
		return "", false, fmt.Errorf("wrong answer: %s", bytes.TrimSpace(body))
	}
	return a.Version, !resp.Close && !strings.EqualFold(resp.Header.Get("Connection"), "close"), nil
}

// digest is what the shop makes of a nonce.
func digest(nonce string) string {
	sum := sha256.Sum256([]byte("shop " + nonce))
	return hex.EncodeToString(sum[:16])
}
