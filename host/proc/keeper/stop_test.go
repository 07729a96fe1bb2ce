package keeper_test

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/backstay/backstay/internal/hosttest"
	"github.com/backstay/backstay/internal/keeperwire"
	"github.com/backstay/backstay/internal/restart"
)

// trees are services whose processes try to get away.
var trees = map[string]string{
	"grandchild that double-forks and leaves the session": `(setsid sh -c 'trap "" TERM HUP; while :; do sleep 1; done' &) ; sleep 1000`,
	"fork bomb": `trap "" TERM; b() { while :; do setsid sleep 0.3 & setsid sh -c 'sleep 0.2' & sleep 0.02; done; }; b & b & b & wait; wait`,
	"wrapper":   `sleep 1000 & sleep 1000 & wait`,
}

func TestNothingOfATreeSurvivesAStop(t *testing.T) {
	t.Parallel()
	for name, script := range trees {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t)
			stopTree(t, n, n.start(), script)
		})
		t.Run(name+" without cgroups", func(t *testing.T) {
			t.Parallel()
			n := newNode(t).unprivileged()
			c := n.start()
			if w := c.do(keeperwire.Msg{Kind: keeperwire.Hello, Version: keeperwire.Version}).Welcome; w.Cgroups || w.Why == "" {
				t.Fatalf("%+v", w)
			}
			stopTree(t, n, c, script)
		})
	}
}

func stopTree(t *testing.T, n *node, c *client, script string) {
	t.Helper()
	s := n.spec("tree", script)
	s.GraceMS = 200
	c.up(s)
	bystander := n.spec("bystander", "exec sleep 1000")
	before := c.up(bystander)
	eventually(t, "the tree has grown", func() bool { return len(n.processes("tree")) > 2 })
	c.stop("tree")
	if left := n.processes("tree"); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if got := c.list()["bystander"]; got.PID != before.PID {
		t.Errorf("the bystander: %+v", got)
	}
}

// TestStoppedIsSaidOfAnEmptyTree has a main process that ends when it is told to,
// and a child that does not: until that has ended too the slot is stopping, for
// the next keeper as well, and cannot be removed.
func TestStoppedIsSaidOfAnEmptyTree(t *testing.T) {
	t.Parallel()
	for name, next := range map[string]func(n *node, c *client) *client{
		"one keeper":      func(_ *node, c *client) *client { return c },
		"the next keeper": func(n *node, _ *client) *client { n.kill(); return n.start() },
	} {
		for ending, end := range map[string]func(c *client, pid int){
			"by itself": func(_ *client, pid int) { _ = syscall.Kill(pid, syscall.SIGKILL) },
			"by kill":   func(c *client, _ int) { c.do(keeperwire.Msg{Kind: keeperwire.Kill, ID: "tree", Text: "test"}) },
		} {
			t.Run(name+", "+ending, func(t *testing.T) {
				t.Parallel()
				n := newNode(t)
				c := n.start()
				s := n.spec("tree", `setsid sh -c 'trap "" TERM; while :; do sleep 0.1; done' & trap 'exit 0' TERM; while :; do sleep 0.1; done`)
				s.GraceMS = 3600_000
				slot := c.up(s)
				eventually(t, "the tree has grown", func() bool { return len(n.processes("tree")) > 3 })
				c.do(keeperwire.Msg{Kind: keeperwire.Stop, ID: "tree", Text: "test"})
				headless := func(s keeperwire.Slot) bool {
					return s.PID == 0 && s.State == keeperwire.Stopping && s.Last.PID == slot.PID
				}
				c.when("tree", headless)
				c = next(n, c)
				c.when("tree", headless)
				c.refused("not_stopped", keeperwire.Msg{Kind: keeperwire.Remove, ID: "tree"})
				c.subscribe(0)
				for _, pid := range n.processes("tree") {
					end(c, pid)
				}
				c.event(func(e keeperwire.Event) bool {
					return e.Kind == keeperwire.EvState && e.ID == "tree" && e.State == keeperwire.Stopped
				})
				if left := n.processes("tree"); len(left) > 0 {
					t.Errorf("it is said to be stopped, and %v are left", left)
				}
				c.do(keeperwire.Msg{Kind: keeperwire.Remove, ID: "tree"})
			})
		}
	}
}

func TestCrashKillsTheRestBeforeTheNextRun(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c := n.start()
	s := n.spec("left", `setsid sh -c 'trap "" TERM; while :; do sleep 0.1; done' & sleep 0.05; exit 1`)
	s.Restart = restart.Policy{Min: 1, Max: 1, ResetAfter: 1e15, Limit: 5, Window: 1e12}
	c.start(s)
	c.until("left", keeperwire.Failed)
	if left := n.processes("left"); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestStopAndStartAgainIsNoFailure asks for a start while a stop is under way.
func TestStopAndStartAgainIsNoFailure(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c := n.start()
	before := c.up(n.spec("again", "trap 'sleep 0.2; exit 1' TERM; echo set; while :; do sleep 0.01; done"))
	eventually(t, "the trap is set", func() bool { return n.log("again") == "set\n" })
	c.do(keeperwire.Msg{Kind: keeperwire.Stop, ID: "again", Text: "test"})
	c.do(keeperwire.Msg{Kind: keeperwire.Start, ID: "again"})
	got := c.when("again", func(s keeperwire.Slot) bool { return s.State == keeperwire.Running && s.PID != before.PID })
	if got.Failures != 0 || got.Last.Code != 1 || !got.Last.Asked {
		t.Errorf("%+v", got)
	}
}

// TestUnkillableChildHoldsNobodyUp has a child in the freezer of cgroup v1, where
// SIGKILL waits as it does for a process in D state.
func TestUnkillableChildHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	hosttest.NeedRoot(t, "to freeze a child by its cgroup")
	n := newNode(t)
	frozen := freezer(t) + "/" + strings.ReplaceAll(strings.Trim(n.dir, "/"), "/", "-")
	if err := os.Mkdir(frozen, 0o755); err != nil {
		t.Fatal(err)
	}
	state := func(s string) { _ = os.WriteFile(frozen+"/freezer.state", []byte(s), 0) }
	t.Cleanup(func() { state("THAWED"); n.kill(); n.sweep(); _ = os.Remove(frozen) })
	c := n.start()
	s := n.spec("stuck", "exec sleep 1000")
	s.GraceMS = 50
	slot := c.up(s)
	if err := os.WriteFile(frozen+"/cgroup.procs", []byte(strconv.Itoa(int(slot.PID))), 0); err != nil {
		t.Fatal(err)
	}
	state("FROZEN")
	c.do(keeperwire.Msg{Kind: keeperwire.Stop, ID: "stuck", Text: "test"})
	for i := range 5 {
		id := "other" + strconv.Itoa(i)
		c.up(n.spec(id, "exec sleep 1000"))
		c.stop(id)
	}
	if got := c.list()["stuck"]; got.State != keeperwire.Stopping || got.PID != slot.PID {
		t.Errorf("%+v", got)
	}
	state("THAWED")
	if got := c.until("stuck", keeperwire.Stopped); !got.Last.Asked {
		t.Errorf("%+v", got.Last)
	}
}

// freezer returns where the freezer of cgroup v1 is mounted. A host that has only
// v2 does not mount it by itself.
func freezer(t *testing.T) (dir string) {
	t.Helper()
	const usual = "/sys/fs/cgroup/freezer"
	if _, err := os.Stat(usual + "/cgroup.procs"); err == nil {
		return usual
	}
	dir = t.TempDir()
	if err := syscall.Mount("cgroup", dir, "cgroup", 0, "freezer"); err != nil {
		hosttest.Cannot(t, "cgroup v1 freezer: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}
