package daemon

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/backstay/backstay/internal/hosttest"
)

// shopFile is a service behind a port; more is more frontends.
func shopFile(port int, more string) string {
	return fmt.Sprintf(`schema: 1
services:
  shop:
    run: { exec: [SELF, serve, "127.0.0.1:${port.http}", one], user: "USER" }
    ports: { http: auto }
    replicas: 2
    probes: { readiness: { http: /, period: 200ms, timeout: 200ms } }
    deploy: { min_ready: 100ms }
frontends:
  web: { bind: ["127.0.0.1:%d"], routes: [{ to: shop }] }
%s`, port, more)
}

// A frontend that has left the file leaves its address: nobody waits in a queue
// there, and it can be bound again, by us or by another frontend.
func TestAddressOfAFrontendThatIsGoneIsFree(t *testing.T) {
	t.Parallel()
	first, second := hosttest.FreePort(t), hosttest.FreePort(t)
	n := start(t, shopFile(first, fmt.Sprintf("  more: { bind: [\"127.0.0.1:%d\", \"unix:DIR/s\"], routes: [{ to: shop }] }\n", second)))
	n.whole("shop", 2)
	both := []string{fmt.Sprintf("http://127.0.0.1:%d/", first), fmt.Sprintf("http://127.0.0.1:%d/", second)}
	for range 2 {
		for _, url := range both {
			if got, err := get(url); err != nil || !strings.HasPrefix(got, "one") {
				t.Fatalf("%s: %q, %v", url, got, err)
			}
		}
		must(t, n.apply(shopFile(first, "")))
		if _, err := get(both[1]); err == nil || !strings.Contains(err.Error(), "refused") {
			t.Fatalf("after its frontend has gone: %v, want refused", err)
		}
		if _, err := os.Stat(n.dir + "/s"); err == nil {
			t.Error("the Unix socket of a frontend that has gone is still there")
		}
		must(t, n.apply(shopFile(first, fmt.Sprintf("  other: { bind: [\"127.0.0.1:%d\", \"unix:DIR/s\"], routes: [{ to: shop }] }\n", second))))
	}
}

// The proxy stays when the last frontend goes, for it finishes what is in flight;
// its addresses do not, and the next frontend is served by it.
func TestProxyStaysWithoutAFrontend(t *testing.T) {
	t.Parallel()
	port := hosttest.FreePort(t)
	n := start(t, shopFile(port, ""))
	n.whole("shop", 2)
	with := shopFile(port, "")
	without, _, _ := strings.Cut(with, "frontends:")
	pid := n.status().Role("proxy").PID
	for range 2 {
		must(t, n.apply(without))
		if now := n.status().Role("proxy"); !now.Running || now.PID != pid {
			t.Fatalf("the proxy was pid %d and is %+v", pid, now)
		}
		if _, err := get(fmt.Sprintf("http://127.0.0.1:%d/", port)); err == nil || !strings.Contains(err.Error(), "refused") {
			t.Fatalf("without a frontend: %v, want refused", err)
		}
		n.kill("agent")
		must(t, n.apply(with))
		if got, err := get(fmt.Sprintf("http://127.0.0.1:%d/", port)); err != nil || !strings.HasPrefix(got, "one") {
			t.Fatalf("with a frontend again: %q, %v", got, err)
		}
	}
}

// A file that cannot be bound changes nothing: not even an address that it could
// have had.
func TestRefusedFileLeavesNoSocket(t *testing.T) {
	t.Parallel()
	port, free, taken := hosttest.FreePort(t), hosttest.FreePort(t), hosttest.FreePort(t)
	n := start(t, shopFile(port, ""))
	n.whole("shop", 2)
	before := n.status()
	l := occupy(t, taken)
	err := n.apply(shopFile(port, fmt.Sprintf("  more: { bind: [\"127.0.0.1:%d\", \"127.0.0.1:%d\"], routes: [{ to: shop }] }\n", free, taken)))
	if codeOf(err) != "bind_failed" {
		t.Fatalf("apply: %v", err)
	}
	after := n.status()
	if after.Config.Digest != before.Config.Digest || after.Generation != before.Generation {
		t.Errorf("in force: %+v, want %+v", after.Config, before.Config)
	}
	occupy(t, free).Close()
	l.Close()
	err = n.apply(shopFile(port, fmt.Sprintf("  more: { bind: [\":%d\"], routes: [{ to: shop }] }\n", port)))
	if codeOf(err) != "invalid_file" && !strings.Contains(fmt.Sprint(err), "backstay itself listens") {
		t.Errorf("both forms of one address: %v", err)
	}
}
