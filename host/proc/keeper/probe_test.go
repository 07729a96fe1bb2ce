package keeper_test

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/backstay/backstay/internal/keeperwire"
)

func TestProbes(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"cgroups", "unprivileged"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			n := newNode(t)
			if mode == "unprivileged" {
				n = n.unprivileged()
			}
			probes(t, n)
		})
	}
}

func probes(t *testing.T, n *node) {
	t.Helper()
	c := n.start()
	c.subscribe(0)
	spec := n.spec("p", "exec sleep 1000")
	spec.Rlimits = []keeperwire.Rlimit{
		{Resource: syscall.RLIMIT_CORE, Soft: 7 << 10, Hard: 7 << 10}, {Resource: syscall.RLIMIT_NOFILE, Soft: 333, Hard: 3333},
	}
	before := c.up(spec)
	ask := func(name, script string, ms int64) {
		t.Helper()
		c.do(keeperwire.Msg{Kind: keeperwire.ProbeMsg, Probe: &keeperwire.Probe{
			ID: "p", Name: name, N: uint64(ms), Argv: []string{"/bin/sh", "-c", script}, Env: []string{"PATH=" + os.Getenv("PATH")}, TimeoutMS: ms,
		}})
	}
	answer := func() keeperwire.Event { return c.event(kind(keeperwire.EvProbed, "p")) }
	ask("good", "echo fine", 9999)
	if e := answer(); !well(e.Exit) || string(e.Text) != "fine\n" || e.N != 9999 {
		t.Errorf("%+v", e)
	}
	ask("bad", "echo no >&2; exit 3", 9998)
	if e := answer(); e.Exit.Code != 3 || string(e.Text) != "no\n" {
		t.Errorf("%+v", e)
	}
	ask("flood", "head -c 300000 /dev/zero; echo", 9997)
	if e := answer(); !well(e.Exit) || len(e.Text) != 4<<10 {
		t.Errorf("%d bytes %+v", len(e.Text), e.Exit)
	}
	ask("limits", "ulimit -n; ulimit -Hn; ulimit -c", 9994)
	if e := answer(); string(e.Text) != "333\n1024\n14\n" {
		t.Errorf("limits of a probe: %q", e.Text)
	}
	const hangs = 3000 // time enough to begin and to be asked once more, on a loaded machine too
	ask("hang", `echo begun; trap "" TERM; setsid sleep 1000 & sleep 1000`, hangs)
	c.refused("busy", keeperwire.Msg{Kind: keeperwire.ProbeMsg, Probe: &keeperwire.Probe{ID: "p", Name: "hang", Argv: []string{"/bin/true"}}})
	ask("other", "exit 0", 9996)
	both := map[uint64]keeperwire.Event{} // in either order
	for range 2 {
		e := answer()
		both[e.N] = e
	}
	if e := both[9996]; !well(e.Exit) {
		t.Errorf("%+v", e)
	}
	if e := both[hangs]; e.Exit.Signal != 9 || e.Exit.Reason != "timeout" || string(e.Text) != "begun\n" {
		t.Errorf("%+v", e)
	}
	ask("gone", "exec /no/such/program", 9995)
	answer()
	c.do(keeperwire.Msg{Kind: keeperwire.ProbeMsg, Probe: &keeperwire.Probe{ID: "p", Name: "missing", Argv: []string{"/no/such"}}})
	if e := answer(); !strings.Contains(e.Exit.Stage, "exec /no/such: ENOENT") {
		t.Errorf("%+v", e)
	}
	for range 20 {
		ask("many", "exit 0", 9000)
		answer()
	}
	if pids := n.processes(""); len(pids) != 1 || pids[0] != int(before.PID) {
		t.Errorf("left: %v", pids)
	}
}
