package daemon

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/internal/hosttest"
)

// crowd is clients that keep their connections, and dial again when told to.
type crowd struct {
	all  sync.WaitGroup
	warm sync.WaitGroup // done when each has had an answer

	down                   atomic.Bool // services are stopped: 503 is an answer, too
	answers, last, refused atomic.Int64
	mu                     sync.Mutex // guards bad
	bad                    []string
}

const crowdSize = 20

// askOnAndOn has a crowd ask at addr until it is refused.
func askOnAndOn(addr string) *crowd {
	c := &crowd{}
	c.warm.Add(crowdSize)
	for range crowdSize {
		c.all.Go(func() { c.client(addr) })
	}
	c.warm.Wait()
	return c
}

func (c *crowd) client(addr string) {
	warm := sync.OnceFunc(c.warm.Done)
	defer warm()
	for {
		conn, err := net.Dial("tcp", addr)
		if err != nil && strings.Contains(err.Error(), "refused") {
			c.refused.Add(1)
			return
		}
		if err == nil {
			err = c.askOver(conn, warm)
			conn.Close()
		}
		if err != nil {
			c.mu.Lock()
			c.bad = append(c.bad, err.Error())
			c.mu.Unlock()
			return
		}
	}
}

// askOver asks over one connection until an answer says that it is the last.
func (c *crowd) askOver(conn net.Conn, warm func()) error {
	in := bufio.NewReader(conn)
	for n := 1; ; n++ {
		if _, err := fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: shop\r\n\r\n"); err != nil {
			return fmt.Errorf("request %d: %w", n, err)
		}
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			return fmt.Errorf("answer %d: %w", n, err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			return fmt.Errorf("body %d: %w", n, err)
		}
		c.answers.Add(1)
		warm()
		if resp.Close {
			c.last.Add(1)
			return nil
		}
		if resp.StatusCode != http.StatusOK && !c.down.Load() {
			return fmt.Errorf("answer %d: %s", n, resp.Status)
		}
	}
}

// check waits until all of them have been refused.
func (c *crowd) check(t *testing.T) {
	t.Helper()
	c.all.Wait()
	if len(c.bad) > 0 || c.refused.Load() != crowdSize {
		t.Errorf("of %d clients %d were refused after %d answers, %d of them the last; neither answered nor refused: %d, %s",
			crowdSize, c.refused.Load(), c.answers.Load(), c.last.Load(), len(c.bad), strings.Join(c.bad, "; "))
	}
}

// Whoever comes to an address that is being closed is answered or refused, and
// never accepted and then reset: when its frontend moves, when the last one goes,
// and when everything ends.
func TestAClosingAddressAnswersOrRefuses(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(n *node, c *crowd){
		"its frontend moves": func(n *node, _ *crowd) { must(n, n.apply(shopFile(hosttest.FreePort(n), ""))) },
		"the last frontend goes": func(n *node, _ *crowd) {
			without, _, _ := strings.Cut(shopFile(1, ""), "frontends:")
			must(n, n.apply(without))
		},
		"its agent is killed and it moves": func(n *node, _ *crowd) {
			n.kill("agent")
			must(n, n.apply(shopFile(hosttest.FreePort(n), "")))
		},
		"everything ends": func(n *node, c *crowd) {
			c.down.Store(true)
			must(n, n.client.Down(n.Context(), func(api.Progress) error { return nil }))
			must(n, leave(n.Context(), n.opt.Dirs))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			port := hosttest.FreePort(t)
			n := start(t, shopFile(port, ""))
			n.whole("shop", 2)
			c := askOnAndOn(fmt.Sprintf("127.0.0.1:%d", port))
			end(n, c)
			c.check(t)
		})
	}
}
