package keeper_test

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/backstay/backstay/internal/hosttest"
	"github.com/backstay/backstay/internal/keeperwire"
)

// TestKeeperStartedByTheAgentIsNotPartOfIt kills the agent's tree under a keeper
// that was born in its cgroup.
func TestKeeperStartedByTheAgentIsNotPartOfIt(t *testing.T) {
	t.Parallel()
	hosttest.NeedRoot(t, "to write the cgroup hierarchy")
	n := newNode(t)
	c := n.start()
	agent := n.spec(keeperwire.AgentID, "read x < "+n.logs+"/go; setsid "+binary+" run "+n.dir+" 2>>"+n.dir+"/keeper.log & sleep 1000")
	agent.Argv = []string{"/bin/sh", "-c", "cat " + n.logs + "/go; setsid " + binary + " run " + n.dir + " 2>>" + n.dir + "/keeper.log & sleep 1000"}
	if err := syscall.Mkfifo(n.logs+"/go", 0o600); err != nil {
		t.Fatal(err)
	}
	before := c.up(agent)
	n.kill()
	if err := os.WriteFile(n.logs+"/go", []byte("go\n"), 0); err != nil {
		t.Fatal(err)
	}
	c = n.dial()
	w := c.do(keeperwire.Msg{Kind: keeperwire.Hello, Version: keeperwire.Version}).Welcome
	t.Cleanup(func() { _ = syscall.Kill(int(w.PID), syscall.SIGKILL) })
	if got := c.list()[keeperwire.AgentID]; got.PID != before.PID {
		t.Fatalf("%+v", got)
	}
	c.do(keeperwire.Msg{Kind: keeperwire.Kill, ID: keeperwire.AgentID, Text: "test"})
	c.until(keeperwire.AgentID, keeperwire.Stopped)
	if left := n.processes(keeperwire.AgentID); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestCgroupRemovedByHand(t *testing.T) {
	t.Parallel()
	hosttest.NeedRoot(t, "to write the cgroup hierarchy")
	n := newNode(t)
	c := n.start()
	s := n.spec("cg", "cat /proc/self/cgroup; exit 0")
	for range 2 {
		c.start(s)
		c.until("cg", keeperwire.Completed)
		for _, tree := range n.trees() {
			_ = exec.Command("find", tree, "-depth", "-type", "d", "-exec", "rmdir", "{}", "+").Run()
		}
	}
	if got := n.log("cg"); strings.Count(got, "/t/cg\n") != 2 {
		t.Errorf("%q", got)
	}
}

// TestLostRecordsAreSwept has a process in our tree that no record knows.
func TestLostRecordsAreSwept(t *testing.T) {
	t.Parallel()
	hosttest.NeedRoot(t, "to write the cgroup hierarchy")
	n := newNode(t)
	c := n.start()
	c.up(n.spec("lost", "exec sleep 1000"))
	n.kill()
	if err := os.Remove(n.dir + "/state"); err != nil {
		t.Fatal(err)
	}
	c = n.start()
	c.put(n.spec("other", "true"))
	eventually(t, "it is killed", func() bool { return len(n.processes("lost")) == 0 })
}

func TestAsInitOfAContainer(t *testing.T) {
	t.Parallel()
	hosttest.NeedRoot(t, "to write the cgroup hierarchy")
	n := newNode(t)
	n.launchAs("/usr/bin/unshare")
	_ = n.cmd.Process.Kill()
	_ = n.cmd.Wait()
	n.cmd = exec.Command("unshare", "--pid", "--fork", "--mount-proc", binary, "run", n.dir)
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := n.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := n.dial()
	c.subscribe(0)
	c.up(n.spec("in", "trap 'echo term; exit 0' TERM; echo set; while :; do sleep 0.01; done"))
	c.start(n.spec("orphans", "for i in 1 2 3 4 5; do (setsid sleep 0.05 &); done; sleep 0.3"))
	c.until("orphans", keeperwire.Completed)
	eventually(t, "the trap is set", func() bool { return strings.Contains(n.log("in"), "set") })
	kids, _ := os.ReadFile("/proc/" + strconv.Itoa(n.cmd.Process.Pid) + "/task/" + strconv.Itoa(n.cmd.Process.Pid) + "/children")
	inside, _ := strconv.Atoi(strings.TrimSpace(string(kids)))
	if err := syscall.Kill(inside, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = n.cmd.Wait()
	if got := n.log("in"); !strings.Contains(got, "term") {
		t.Errorf("%q", got)
	}
}

func TestReadOnlyCgroupsAreDoneWithout(t *testing.T) {
	t.Parallel()
	hosttest.NeedRoot(t, "to write the cgroup hierarchy")
	n := newNode(t)
	_ = os.Mkdir(n.dir, 0o700)
	ro := `for m in $(awk '/ - cgroup2 /{print $5}' /proc/self/mountinfo); do mount -o remount,bind,ro $m; done; exec "$0" run "$1"`
	n.cmd = exec.Command("unshare", "--mount", "sh", "-c", ro, binary, n.dir)
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := n.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := n.dial()
	w := c.do(keeperwire.Msg{Kind: keeperwire.Hello, Version: keeperwire.Version}).Welcome
	if w.Cgroups || !strings.Contains(w.Why, "EROFS") {
		t.Fatalf("%+v", w)
	}
	stopTree(t, n, c, trees["wrapper"])
}

func TestKeeperOfNothingLeavesNoCgroup(t *testing.T) {
	t.Parallel()
	hosttest.NeedRoot(t, "to have cgroups")
	n := newNode(t)
	c := n.start()
	c.start(n.spec("x", "true"))
	c.until("x", keeperwire.Completed)
	if len(n.trees()) == 0 {
		hosttest.Cannot(t, "cgroup v2 hierarchy")
	}
	c.do(keeperwire.Msg{Kind: keeperwire.Leave})
	_ = n.cmd.Wait()
	if left := n.trees(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
