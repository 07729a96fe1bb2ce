package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/internal/hosttest"
)

const starvedShop = `schema: 1
services:
  shop:
    run: { exec: ["DIR/shop/v1/shop", --listen, "127.0.0.1:${port.http}", --version, v1], user: USER }
    ports: { http: auto }
    probes: { readiness: { http: /healthz, period: 250ms } }
    deploy: { min_ready: 100ms }
frontends:
  web: { bind: ["127.0.0.1:PORT"], timeout: { idle: 1h }, routes: [{ to: shop }] } # it may starve for minutes
`

// A proxy that gets a thousandth of a CPU, and shares that with others, answers
// nothing in time. It is not killed, and its connections live on; one that is frozen
// is killed.
func TestStarvedProxyLivesAndFrozenProxyIsKilled(t *testing.T) {
	hosttest.NeedRoot(t, "to make cgroups")
	cage := newCage(t)
	n, port := newNode(t), hosttest.FreePort(t)
	n.installShop(map[string]string{"v1": ""})
	n.write(strings.ReplaceAll(starvedShop, "PORT", strconv.Itoa(port)))
	n.start()
	n.whole("shop", 1)
	conn, in := dialIdle(t, fmt.Sprintf("127.0.0.1:%d", port))
	if a := exchangeOn(conn, in, "GET", "/", ""); a.err != nil {
		t.Fatal(a.err)
	}
	proxy := n.status().Role("proxy").PID
	cage.take(proxy)
	n.hears("it is slow", func(e backstay.Event) bool { return e.To == "slow" })
	cage.open()
	n.hears("it answers again", func(e backstay.Event) bool { return e.From == "slow" })
	if a := exchangeOn(conn, in, "GET", "/", ""); a.err != nil {
		t.Errorf("its connection: %v", a.err)
	}
	if now := n.status().Role("proxy").PID; now != proxy {
		t.Fatalf("proxy %d was killed, %d is there\n%s", proxy, now, n.story())
	}
	frozen := n.freeze("proxy")
	n.replaced("proxy", frozen)
	n.hears("it was killed", func(e backstay.Event) bool { return e.Kind == backstay.RoleKilled })
	n.until("another proxy", func(s api.Status) string {
		if r := s.Role("proxy"); !r.Running || r.PID == frozen {
			return "the next one"
		}
		return ""
	})
}

// hears waits for an event of the proxy.
func (n *node) hears(what string, f func(backstay.Event) bool) {
	n.t.Helper()
	for end := time.Now().Add(hang); time.Now().Before(end); time.Sleep(look) {
		heard := false
		err := n.client.Events(n.t.Context(), api.EventQuery{Ref: backstay.NewRef("role", "proxy")}, func(e backstay.Event) error {
			heard = heard || f(e)
			return nil
		})
		if err == nil && heard {
			return
		}
	}
	n.t.Fatalf("not heard: %s\n%s", what, n.story())
}

// cage is a cgroup with next to no CPU, and crowded.
type cage struct {
	t     *testing.T
	dir   string
	crowd []func() // ends each of it
}

func newCage(t *testing.T) *cage {
	t.Helper()
	c := &cage{t: t, dir: filepath.Join(cpuController(t), "backstay-test-"+strconv.Itoa(os.Getpid()))}
	if err := os.Mkdir(c.dir, 0o755); err != nil {
		hosttest.Cannot(t, "cgroup of its own: %v", err)
	}
	t.Cleanup(c.remove)
	c.set("cpu.cfs_period_us", 1_000_000)
	c.set("cpu.cfs_quota_us", 1_000)
	return c
}

func (c *cage) set(file string, to int) {
	c.t.Helper()
	if err := os.WriteFile(filepath.Join(c.dir, file), []byte(strconv.Itoa(to)), 0); err != nil {
		c.t.Fatal(err)
	}
}

// take puts a process into the cage, with some that never rest.
func (c *cage) take(pid int) {
	c.t.Helper()
	const crowd = 8
	for range crowd {
		cmd := exec.Command("/bin/sh", "-c", "read x; while :; do :; done")
		in, err := cmd.StdinPipe()
		if err != nil {
			c.t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			c.t.Fatal(err)
		}
		end := sync.OnceFunc(func() { _, _ = cmd.Process.Kill(), cmd.Wait() })
		c.crowd = append(c.crowd, end)
		c.t.Cleanup(end)
		c.set("cgroup.procs", cmd.Process.Pid)
		_ = in.Close() // now it may begin
	}
	c.set("cgroup.procs", pid)
}

// open sends the crowd away, and lets who is left have what it asks for.
func (c *cage) open() {
	c.t.Helper()
	for _, end := range c.crowd {
		end()
	}
	c.set("cpu.cfs_quota_us", -1)
}

// remove waits until nobody is left in it.
func (c *cage) remove() {
	for end := time.Now().Add(hang); ; time.Sleep(look) {
		if err := os.Remove(c.dir); err == nil || time.Now().After(end) {
			if err != nil {
				c.t.Error(err)
			}
			return
		}
	}
}

// cpuController returns where the first version of the CPU controller is mounted.
func cpuController(t *testing.T) (dir string) {
	t.Helper()
	const usual = "/sys/fs/cgroup/cpu"
	if _, err := os.Stat(usual + "/cgroup.procs"); err == nil {
		return usual
	}
	dir = t.TempDir()
	if err := syscall.Mount("cgroup", dir, "cgroup", 0, "cpu"); err != nil {
		hosttest.Cannot(t, "cgroup v1 controller of the CPU: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}
