package keeper_test

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/backstay/backstay/internal/keeperwire"
)

func TestWithoutDescriptorsStartsWaitAndNothingIsLost(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.env = []string{"GOGC=off"}
	c := n.start()
	before := c.up(n.spec("old", "while :; do echo tick; sleep 0.01; done"))
	limit := func(soft uint64) {
		t.Helper()
		out, err := exec.Command("prlimit", "--pid", strconv.Itoa(n.cmd.Process.Pid), "--nofile="+strconv.FormatUint(soft, 10)+":").CombinedOutput()
		if err != nil {
			t.Fatal(string(out))
		}
	}
	limit(18)
	c.start(n.spec("new", "echo here; sleep 1000"))
	if got := c.until("new", keeperwire.Backoff); !strings.Contains(got.Why, "EMFILE") || got.NextStart == 0 {
		t.Errorf("%+v", got)
	}
	last := len(n.log("old"))
	eventually(t, "the old one goes on", func() bool { return len(n.log("old")) > last })
	limit(1000)
	c.until("new", keeperwire.Running)
	if got := c.list()["old"]; got.PID != before.PID {
		t.Errorf("%+v", got)
	}
}

func TestWithoutProcessesStartsWait(t *testing.T) {
	t.Parallel()
	n := newNode(t).unprivileged()
	c := n.start()
	limit := func(v string) {
		cmd := exec.Command("prlimit", "--pid", strconv.Itoa(n.cmd.Process.Pid), "--nproc="+v+":")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: n.uid, Gid: n.uid}}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatal(string(out))
		}
	}
	limit("1")
	c.start(n.spec("new", "sleep 1000"))
	if got := c.until("new", keeperwire.Backoff); !strings.Contains(got.Why, "clone: EAGAIN") {
		t.Errorf("%+v", got)
	}
	limit("5000")
	if got := c.until("new", keeperwire.Running); got.Failures != 0 {
		t.Errorf("it was not its fault: %+v", got)
	}
}

// TestManyStartsAtOnce is a node that comes up: all get their turn.
func TestManyStartsAtOnce(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c := n.start()
	const many = 60
	for i := range many {
		c.start(n.spec("m"+strconv.Itoa(i), "exec sleep 1000"))
	}
	for i := range many {
		c.until("m"+strconv.Itoa(i), keeperwire.Running)
	}
	n.kill()
	c = n.start()
	for id, s := range c.list() {
		if s.State != keeperwire.Running || s.Starts != 1 {
			t.Errorf("%s %+v", id, s)
		}
	}
}
