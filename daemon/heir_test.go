package daemon

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/internal/hosttest"
)

// What an agent has told to leave is seen off by the next one as by itself: it
// asks the proxy what is in flight before it ends anything.
func TestTheNextAgentWaitsForWhatIsInFlight(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(n *node, port int){
		"removed": func(n *node, port int) { must(n, n.apply(gapFile(port, "{ to: other }", "other"))) },
		"stopped": func(n *node, _ int) {
			go func() { _, _ = n.client.Do(n.Context(), "stop", backstay.NewRef("service", "shop")) }() // it waits for the end
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			port := hosttest.FreePort(t)
			n := start(t, gapFile(port, "{ path: /shop/, to: shop }, { to: other }", "shop", "other"))
			n.whole("shop", 1)
			n.whole("other", 1)
			until, err := net.Listen("tcp", "127.0.0.1:0")
			must(t, err)
			defer until.Close()
			answer := make(chan string, 1)
			go func() {
				got, err := get(fmt.Sprintf("http://127.0.0.1:%d/shop/?until=%s", port, until.Addr()))
				answer <- fmt.Sprint(got, err)
			}()
			n.until("a request in flight", func(s api.Status) bool {
				c := s.Service("shop").Traffic
				return c != nil && c.InFlight == 1
			})
			leave(n, port)
			n.until("an instance that leaves", func(s api.Status) bool {
				all := s.Service("shop").Instances
				return len(all) == 1 && all[0].State == backstay.Draining
			})
			pid := n.status().Role("agent").PID
			n.kill("agent")
			n.until("another agent", func(s api.Status) bool { return s.Role("agent").PID != pid })
			held, err := until.Accept()
			must(t, err)
			must(t, held.Close())
			if got := <-answer; !strings.HasPrefix(got, "shop ") || !strings.HasSuffix(got, "<nil>") {
				t.Errorf("the request that was in flight got %q", got)
			}
			n.until("the end of shop", func(s api.Status) bool { return len(s.Service("shop").Instances) == 0 })
		})
	}
}

// An agent holds nothing of instances that are gone.
func TestAgentHoldsNothingOfWhatIsGone(t *testing.T) {
	t.Parallel()
	n := start(t, gapFile(hosttest.FreePort(t), "{ to: shop }", "shop"))
	n.whole("shop", 1)
	for range 3 {
		old := n.status().Service("shop").Instances[0].ID
		_, err := n.client.OnDeploy(t.Context(), "restart", "shop")
		must(t, err)
		n.until("a new one alone", func(s api.Status) bool {
			all := s.Service("shop").Instances
			return len(all) == 1 && all[0].ID != old && s.Service("shop").Deploy.State == api.DeployDone
		})
	}
	held := ""
	n.until("no more than that of who runs", func(s api.Status) bool {
		all := s.Service("shop").Instances
		held = fifosOf(t, s.Role("agent").PID)
		return len(all) == 1 && strings.Count(held, "/shop-") == strings.Count(held, "/"+all[0].ID+"/")
	})
}

// fifosOf names the FIFOs of instances that process pid holds.
func fifosOf(t *testing.T, pid int) string {
	t.Helper()
	var all []string
	links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	must(t, err)
	for _, l := range links {
		if to, err := os.Readlink(l); err == nil && strings.Contains(to, "/keeper/i/") {
			all = append(all, to)
		}
	}
	return strings.Join(all, " ")
}
