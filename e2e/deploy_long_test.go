package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A deploy waits for what takes long: requests up to drain, WebSockets up to
// drain_long. Neither costs the other anything.
func TestDeployWaitsForLongRequestsAndManySockets(t *testing.T) {
	const drainLong = 6 * time.Second
	work := time.Duration(pick(20, 55)) * time.Second
	file := strings.Replace(rollingShop, "drain: 10s, drain_long: 10s", fmt.Sprintf("drain: %v, drain_long: %v", 2*work, drainLong), 1)
	n, address := rollNodeOf(t, 2, file)
	answers := make(chan error, 2) // so that one of three instances has WebSockets alone, and leaves when those may be cut
	for range cap(answers) {
		go func() { answers <- slowRequest(address, work) }()
	}
	var all []*socket
	for range pick(200, 1000) {
		all = append(all, dialSocket(t, address))
	}
	began := time.Now()
	n.must("deploy", "shop", "--version", "v2")
	for range cap(answers) {
		if err := <-answers; err != nil {
			t.Errorf("a request of %v: %v", work, err)
		}
	}
	for _, s := range all {
		if lived := s.waitEnd().Sub(began); lived < drainLong {
			t.Errorf("a WebSocket of %s was closed %v after the deploy began, drain_long is %v", s.hello, lived, drainLong)
		}
		if s.echoed == 0 {
			t.Error("a WebSocket carried nothing")
		}
	}
	n.whole("shop", 3)
}

// slowRequest asks for a page that takes so long.
func slowRequest(address string, work time.Duration) error {
	resp, err := http.Get(fmt.Sprintf("http://%s/?n=slow&work=%v", address, work))
	if err != nil {
		return fmt.Errorf("ask: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	text := make([]byte, 4096)
	n, _ := resp.Body.Read(text)
	if got := field(text[:n], "digest"); resp.StatusCode != http.StatusOK || got != digestOf("slow") {
		return fmt.Errorf("answered %s %q", resp.Status, text[:n])
	}
	return nil
}
