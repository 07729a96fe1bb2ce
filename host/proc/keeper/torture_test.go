package keeper_test

import (
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/keeperwire"
	"github.com/backstay/backstay/internal/restart"
)

// TestRandomKills kills and freezes the keeper and its children in random order
// and in pairs. In the end each instance runs once, nothing else does, and each
// process that was not itself killed has each of its lines in the log, in order.
func TestRandomKills(t *testing.T) {
	t.Parallel()
	rounds := 60
	if os.Getenv("BACKSTAY_LONG") == "1" {
		rounds = 1000
	}
	n, dice := newNode(t), seeded(t)
	c := n.start()
	ids := []string{"r0", "r1", "r2", "r3", "r4"}
	for _, id := range ids {
		s := n.role(id, "trickle")
		s.Restart = restart.Policy{Min: 10 * time.Millisecond, Max: 50 * time.Millisecond, ResetAfter: time.Second}
		c.up(s)
	}
	for range rounds {
		time.Sleep(time.Duration(dice.IntN(20)) * time.Millisecond)
		n.killRandomly(dice)
		if dice.IntN(4) == 0 {
			n.thaw()
		}
	}
	n.kill() // so that all are adopted, whatever the dice said, and then all die
	c = n.start()
	n.thaw()
	for _, pid := range n.processes("") {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	for _, id := range ids {
		n.runsOnceAndTold(c, id)
	}
	if left := n.processes(""); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// seeded returns dice whose throws can be had again.
func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if v := os.Getenv("BACKSTAY_SEED"); v != "" {
		seed, _ = strconv.ParseUint(v, 10, 64)
	}
	t.Logf("again with BACKSTAY_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// killRandomly kills or freezes the keeper, a child, or both.
func (n *node) killRandomly(dice *rand.Rand) {
	n.t.Helper()
	victims := n.processes("")
	strike := func() {
		if len(victims) == 0 {
			return
		}
		pid := victims[dice.IntN(len(victims))]
		_ = syscall.Kill(pid, []syscall.Signal{syscall.SIGKILL, syscall.SIGKILL, syscall.SIGSTOP}[dice.IntN(3)])
	}
	switch dice.IntN(5) {
	case 0:
		n.kill()
		n.launch()
	case 1: // a pair: the keeper first
		n.kill()
		strike()
		n.launch()
	case 2: // a pair: the child first
		strike()
		n.kill()
		n.launch()
	case 3:
		_ = n.cmd.Process.Signal(syscall.SIGSTOP)
		strike()
		_ = n.cmd.Process.Signal(syscall.SIGCONT)
	default:
		strike()
	}
}

// thaw has every process that was frozen go on.
func (n *node) thaw() {
	for _, pid := range n.processes("") {
		_ = syscall.Kill(pid, syscall.SIGCONT)
	}
}

// runsOnceAndTold fails unless id is one process, the keeper's, and the log has
// each line of each of its runs.
func (n *node) runsOnceAndTold(c *client, id string) {
	n.t.Helper()
	eventually(n.t, id+" runs once", func() bool {
		slot, pids := c.list()[id], n.processes(id)
		return slot.State == keeperwire.Running && len(pids) == 1 && pids[0] == int(slot.PID)
	})
	last := strconv.Itoa(int(c.list()[id].PID))
	eventually(n.t, id+" prints", func() bool { return strings.Contains(n.log(id), last+" 9\n") })
	c.stop(id)
	trickled(n.t, n.log(id), last)
}

// trickled fails unless the lines "PID NUMBER" of each process begin at 0 and go
// up by one, and those of pid last are there.
func trickled(t *testing.T, log, last string) {
	t.Helper()
	next := map[string]int{}
	for line := range strings.Lines(log) {
		pid, number, _ := strings.Cut(strings.TrimSpace(line), " ")
		if number != strconv.Itoa(next[pid]) {
			t.Fatalf("process %s: line %q, want number %d", pid, line, next[pid])
		}
		next[pid]++
	}
	if next[last] == 0 {
		t.Errorf("no line of %s", last)
	}
}
