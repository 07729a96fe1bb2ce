package keeper_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

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
	before := c.up(n.spec("p", "exec sleep 1000"))
	ask := func(name, script string, ms int64) {
		t.Helper()
		c.do(keeperwire.Msg{Kind: keeperwire.ProbeMsg, Probe: &keeperwire.Probe{
			ID: "p", Name: name, N: uint64(ms), Argv: []string{"/bin/sh", "-c", script}, Env: []string{"PATH=" + os.Getenv("PATH")}, TimeoutMS: ms,
		}})
	}
	answer := func() keeperwire.Event { return c.event(kind(keeperwire.EvProbed, "p")) }
	ask("good", "echo fine", 9999)
	if e := answer(); e.Exit.Code != 0 || string(e.Text) != "fine\n" || e.N != 9999 {
		t.Errorf("%+v", e)
	}
	ask("bad", "echo no >&2; exit 3", 9998)
	if e := answer(); e.Exit.Code != 3 || string(e.Text) != "no\n" {
		t.Errorf("%+v", e)
	}
	ask("flood", "head -c 300000 /dev/zero; echo", 9997)
	if e := answer(); e.Exit.Code != 0 || len(e.Text) != 4<<10 {
		t.Errorf("%d bytes %+v", len(e.Text), e.Exit)
	}
	ask("hang", `echo begun; trap "" TERM; setsid sleep 1000 & sleep 1000`, 150)
	c.refused("busy", keeperwire.Msg{Kind: keeperwire.ProbeMsg, Probe: &keeperwire.Probe{ID: "p", Name: "hang", Argv: []string{"/bin/true"}}})
	ask("other", "exit 0", 9996)
	if e := answer(); e.N != 9996 || e.Exit.Code != 0 {
		t.Errorf("%+v", e)
	}
	if e := answer(); e.Exit.Signal != 9 || e.Exit.Reason != "timeout" || string(e.Text) != "begun\n" {
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

func TestLogsSurviveWhatHappensToTheirFiles(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c := n.start()
	c.subscribe(0)
	tick := "i=0; while :; do echo tick $i; i=$((i+1)); sleep 0.01; done"
	before := c.up(n.spec("log", tick))
	file := n.logs + "/log.log"
	grows := func(what string) {
		t.Helper()
		last := len(n.log("log"))
		eventually(t, "the log grows after "+what, func() bool { return len(n.log("log")) > last && strings.HasSuffix(n.log("log"), "\n") })
	}
	grows("start")
	_ = os.Remove(file)
	grows("the file was removed")
	_ = os.Rename(file, file+".old")
	grows("somebody renamed it")
	_ = os.Truncate(file, 0)
	eventually(t, "it goes on at the front", func() bool { s := n.log("log"); return len(s) > 0 && s[0] == 't' })
	_ = os.RemoveAll(n.logs)
	grows("the directory was removed")
	_ = os.RemoveAll(n.logs)
	_ = os.WriteFile(n.logs, nil, 0o600) // now it cannot be made
	e := c.event(kind(keeperwire.EvLogDropped, "log"))
	if e.N == 0 {
		t.Errorf("%+v", e)
	}
	_ = os.Remove(n.logs)
	eventually(t, "it is said what was dropped", func() bool { return strings.Contains(n.log("log"), "backstay: dropped ") })
	grows("all that")
	if got := c.list()["log"]; got.PID != before.PID || got.Dropped < e.N {
		t.Errorf("%+v", got)
	}
}

func TestFullDiskNeverStopsAService(t *testing.T) {
	t.Parallel()
	needRoot(t)
	n := newNode(t)
	mount(t, n.logs, "size=256k")
	c := n.start()
	c.subscribe(0)
	s := n.role("full", "lines", "1000000", "0") // 16 MB into 256 kB
	c.start(s)
	if e := c.event(kind(keeperwire.EvLogDropped, "full")); e.N == 0 {
		t.Errorf("%+v", e)
	}
	if e := c.event(kind(keeperwire.EvExited, "full")); e.Exit.Code != 0 {
		t.Errorf("%+v", e.Exit)
	}
	dropped := c.until("full", keeperwire.Completed).Dropped
	if dropped < 10_000_000 {
		t.Errorf("dropped %d", dropped)
	}
	if err := os.Truncate(s.LogFile, 0); err != nil {
		t.Fatal(err)
	}
	c.start(n.spec("full", "sleep 2; echo back"))
	c.until("full", keeperwire.Completed)
	if got := n.log("full"); !strings.Contains(got, "back\n") || !strings.Contains(got, "backstay: dropped ") {
		t.Errorf("%q", got)
	}
}

func mount(t *testing.T, dir, options string) {
	t.Helper()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
}

func TestReadOnlyDiskDropsAndRecovers(t *testing.T) {
	t.Parallel()
	needRoot(t)
	n := newNode(t)
	mount(t, n.logs, "size=1m")
	if err := syscall.Mount("", n.logs, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	c := n.start()
	c.subscribe(0)
	before := c.up(n.spec("ro", "while :; do echo tick; sleep 0.01; done"))
	c.event(kind(keeperwire.EvLogDropped, "ro"))
	if err := syscall.Mount("", n.logs, "", syscall.MS_REMOUNT, ""); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is written, and what was not is said", func() bool {
		return strings.HasPrefix(n.log("ro"), "backstay: dropped ") && strings.HasSuffix(n.log("ro"), "tick\n")
	})
	if got := c.list()["ro"]; got.PID != before.PID {
		t.Errorf("%+v", got)
	}
}

func TestBothStreamsStayWholeLines(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c := n.start()
	const lines = 150_000
	s := n.role("both", "both", strconv.Itoa(lines))
	c.start(s)
	c.until("both", keeperwire.Completed)
	b := n.log("both")
	if out, errs := numbered(t, b, "out"), numbered(t, b, "err"); out != lines || errs != lines {
		t.Errorf("%d %d of %d", out, errs, lines)
	}
	checkStreams(t, s.LogFile, b)
}

// checkStreams fails unless the marks know which bytes came from where.
func checkStreams(t *testing.T, log, text string) {
	t.Helper()
	idx, err := os.ReadFile(keeperwire.Index(log))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(idx); i += keeperwire.MarkSize {
		m, _ := keeperwire.DecodeMark(idx[i:])
		end := uint64(len(text))
		if i+keeperwire.MarkSize < len(idx) {
			next, _ := keeperwire.DecodeMark(idx[i+keeperwire.MarkSize:])
			end = next.Offset
		}
		part := text[m.Offset:end]
		wrong := "err "
		if m.Stream == keeperwire.Stderr {
			wrong = "out "
		}
		if strings.Contains(part, wrong) {
			t.Fatalf("mark %+v: %q has the other stream's", m, part[:min(len(part), 60)])
		}
	}
}

func TestOddOutput(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c := n.start()
	for name, one := range map[string]struct {
		script string
		want   func(b []byte) bool
	}{
		"line of 20 MB":        {"head -c 20000000 /dev/zero | tr '\\0' x", func(b []byte) bool { return len(b) == 20_000_000 && b[0] == 'x' }},
		"zero bytes":           {"head -c 1000 /dev/zero", func(b []byte) bool { return bytes.Equal(b, make([]byte, 1000)) }},
		"one byte at a time":   {"for i in 1 2 3 4 5 6 7 8 9; do printf x; done", func(b []byte) bool { return string(b) == "xxxxxxxxx" }},
		"closed stdout":        {"exec >&-; echo no; echo yes >&2", func(b []byte) bool { return bytes.HasSuffix(b, []byte("yes\n")) }},
		"half lines of both":   {"printf 'a'; sleep 0.3; printf 'b' >&2; sleep 0.3; printf 'c\\n'", func(b []byte) bool { return string(b) == "abc\n" }},
		"nothing":              {"true", func(b []byte) bool { return len(b) == 0 }},
		"a grandchild prints":  {"(sleep 0.2; echo late) & exec echo early", func(b []byte) bool { return bytes.HasPrefix(b, []byte("early\n")) }},
		"stdin is empty":       {"cat; echo end", func(b []byte) bool { return string(b) == "end\n" }},
		"opens /dev/stderr":    {"echo x > /dev/stderr", func(b []byte) bool { return string(b) == "x\n" }},
		"a line over rotation": {"yes | head -c 3000000", func(b []byte) bool { return len(b)%2 == 0 }},
	} {
		s := n.spec("odd", one.script)
		s.LogFile = n.logs + "/" + strings.ReplaceAll(strings.ReplaceAll(name, " ", "_"), "/", "_")
		if name == "a line over rotation" {
			s.LogMaxSize = 1 << 20
		}
		c.start(s)
		c.until("odd", keeperwire.Completed)
		b, err := os.ReadFile(s.LogFile)
		if err != nil || !one.want(b) {
			t.Errorf("%s: %d bytes, %.40q, %v", name, len(b), b, err)
		}
	}
}

func TestRotationKeepsAsManyFilesAsAsked(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c := n.start()
	s := n.role("rot", "lines", "600000", "0") // 9 MB
	s.LogMaxSize, s.LogMaxFiles = 1<<20, 3
	c.start(s)
	c.until("rot", keeperwire.Completed)
	all := ""
	for i := 2; i >= 0; i-- {
		b, err := os.ReadFile(keeperwire.Rotated(s.LogFile, i))
		if err != nil || i > 0 && (len(b) < 1<<20 || len(b) > 2<<20) || len(b) > 0 && b[len(b)-1] != '\n' {
			t.Fatalf("file %d: %d bytes, %v", i, len(b), err)
		}
		all += string(b)
	}
	if _, err := os.Stat(keeperwire.Rotated(s.LogFile, 3)); !os.IsNotExist(err) {
		t.Error("a fourth file")
	}
	if !strings.HasSuffix(all, "line 000599999\n") || strings.Count(all, "\n") != strings.Count(all, "line ") {
		t.Error("torn lines, or not to the end")
	}
}

// TestKeeperFrozenForAWhile is the writer that finds a full FIFO and nobody who
// reads: it waits, and loses nothing.
func TestKeeperFrozenForAWhile(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c := n.start()
	_ = n.cmd.Process.Signal(syscall.SIGSTOP)
	_ = n.cmd.Process.Signal(syscall.SIGCONT)
	s := n.role("w", "lines", "300000", "0")
	c.up(s)
	_ = n.cmd.Process.Signal(syscall.SIGSTOP)
	time.Sleep(300 * time.Millisecond)
	_ = n.cmd.Process.Signal(syscall.SIGCONT)
	c.until("w", keeperwire.Completed)
	if got := numbered(t, n.log("w"), "line"); got != 300000 {
		t.Errorf("%d lines", got)
	}
}

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

func TestSilentAgentIsKilledAndSpeakingOneIsNot(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c := n.start()
	c.subscribe(0)
	s := n.spec("mute", "exec sleep 1000")
	s.SilentMS, s.Restart = 100, restart.Policy{Min: 1, Max: 1, ResetAfter: 1e15, Limit: 2, Window: 1e12}
	c.start(s)
	for range 2 {
		if e := c.event(kind(keeperwire.EvExited, "mute")); e.Exit.Signal != 9 || e.Exit.Reason != "silent for 100ms" {
			t.Errorf("%+v", e.Exit)
		}
	}
	c.until("mute", keeperwire.Failed)
	talks := n.role("talks", "beats", n.dir+"/sock")
	talks.SilentMS = 1000
	before := c.up(talks)
	eventually(t, "it has said 200 beats", func() bool { return strings.Count(n.log("talks"), "beat") > 200 })
	if got := c.list()["talks"]; got.PID != before.PID {
		t.Errorf("%+v", got)
	}
}

// TestKeeperStartedByTheAgentIsNotPartOfIt kills the agent's tree under a keeper
// that was born in its cgroup.
func TestKeeperStartedByTheAgentIsNotPartOfIt(t *testing.T) {
	t.Parallel()
	needRoot(t)
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
	needRoot(t)
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

// TestStrangerInOurTreeIsSwept is what a lost record leaves.
func TestLostRecordsAreSwept(t *testing.T) {
	t.Parallel()
	needRoot(t)
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

func TestDamagedRecordIsLeftOutAndTheOthersGoOn(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c := n.start()
	c.up(n.spec("a", "exec sleep 1000"))
	before := c.up(n.spec("b", "exec sleep 1000"))
	n.kill()
	f, err := os.OpenFile(n.dir+"/state", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = f.WriteAt([]byte("damage"), page+20)
	_ = f.Close()
	c = n.start()
	got := c.list()
	if len(got) != 1 || got["b"].PID != before.PID {
		t.Errorf("%+v", got)
	}
}

func TestAsInitOfAContainer(t *testing.T) {
	t.Parallel()
	needRoot(t)
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
	needRoot(t)
	n := newNode(t)
	frozen := "/sys/fs/cgroup/freezer/" + strings.ReplaceAll(strings.Trim(n.dir, "/"), "/", "-")
	if err := os.Mkdir(frozen, 0o755); err != nil {
		t.Skip("no cgroup v1 freezer on this host: ", err)
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

func TestReadOnlyCgroupsAreDoneWithout(t *testing.T) {
	t.Parallel()
	needRoot(t)
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

// TestMutatedFramesDoNotHurtTheKeeper sends it what a broken or hostile client
// of the right user may.
func TestMutatedFramesDoNotHurtTheKeeper(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c := n.start()
	pid := c.do(keeperwire.Msg{Kind: keeperwire.Hello, Version: keeperwire.Version}).Welcome.PID
	s := n.spec("mut", "exec sleep 1000")
	c.up(s)
	dice := rand.New(rand.NewPCG(5, 6))
	for range 2000 {
		m := keeperwire.Msg{Kind: keeperwire.MsgKind(1 + dice.IntN(30)), ID: "mut", Name: "x", Signal: 18, Seq: dice.Uint64(), Note: []byte("n")}
		if m.Kind == keeperwire.Leave || m.Kind == keeperwire.Subscribe {
			continue
		}
		if dice.IntN(2) == 0 {
			m.Spec = &s
		}
		frame := m.Append(nil)
		for range dice.IntN(4) {
			frame[1+dice.IntN(len(frame)-1)] = byte(dice.Uint32())
		}
		if dice.IntN(8) == 0 {
			frame = frame[:dice.IntN(len(frame))]
		}
		if _, err := c.c.Write(frame); err != nil || dice.IntN(50) == 0 {
			_ = c.c.Close()
			c = n.dial()
		}
	}
	c = n.dial()
	if got := c.do(keeperwire.Msg{Kind: keeperwire.Hello, Version: keeperwire.Version}).Welcome.PID; got != pid {
		t.Errorf("keeper %d died, this is %d", pid, got)
	}
	for id := range c.list() {
		c.do(keeperwire.Msg{Kind: keeperwire.Kill, ID: id})
	}
}

// TestHungDiskHoldsNoRestartUp freezes the file system of the logs: who writes
// waits, and nothing else does.
func TestHungDiskHoldsNoRestartUp(t *testing.T) {
	t.Parallel()
	needRoot(t)
	n := newNode(t)
	freeze := freezable(t, n.logs)
	c := n.start()
	c.subscribe(0)
	noisy := n.role("noisy", "trickle")
	c.up(noisy)
	quiet := n.spec("quiet", "exec sleep 1000")
	quiet.LogFile, quiet.Restart = "", restart.Policy{Min: 1, Max: 1, ResetAfter: 1e15}
	before := c.up(quiet)
	eventually(t, "it prints", func() bool { return len(n.log("noisy")) > 0 })
	freeze("-f")
	for range 3 {
		_ = syscall.Kill(int(before.PID), syscall.SIGKILL)
		before = c.when("quiet", func(s keeperwire.Slot) bool { return s.State == keeperwire.Running && s.PID != before.PID })
	}
	c.do(keeperwire.Msg{Kind: keeperwire.Kill, ID: "noisy", Text: "test"})
	c.until("noisy", keeperwire.Stopped)
	freeze("-u")
	c.stop("quiet")
	eventually(t, "the last words are written", func() bool { return strings.HasSuffix(n.log("noisy"), "\n") })
	trickled(t, n.log("noisy"), strconv.Itoa(int(c.list()["noisy"].Last.PID)))
}

// freezable mounts a file system that can be frozen on dir.
func freezable(t *testing.T, dir string) (freeze func(how string)) {
	t.Helper()
	img := dir + ".img"
	if err := os.WriteFile(img, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, argv := range [][]string{{"truncate", "-s", "16M", img}, {"mkfs.ext4", "-q", img}, {"mount", "-o", "loop", img, dir}} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Skipf("no loop device on this host: %v: %s", argv, out)
		}
	}
	freeze = func(how string) {
		if out, err := exec.Command("fsfreeze", how, dir).CombinedOutput(); err != nil && how == "-f" {
			t.Skipf("fsfreeze: %s", out)
		}
	}
	t.Cleanup(func() {
		_ = exec.Command("fsfreeze", "-u", dir).Run()
		n := syscall.MNT_DETACH
		_ = syscall.Unmount(dir, n)
	})
	return freeze
}

// TestBothStreamsGoOnOverRotation has streams that wait for each other while the
// file changes under them.
func TestBothStreamsGoOnOverRotation(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c := n.start()
	const lines = 100_000
	s := n.role("both", "both", strconv.Itoa(lines))
	s.LogMaxSize, s.LogMaxFiles = 64<<10, 1000
	c.start(s)
	c.until("both", keeperwire.Completed)
	all := ""
	for i := 1000; i >= 0; i-- {
		b, err := os.ReadFile(keeperwire.Rotated(s.LogFile, i))
		if err != nil {
			continue
		}
		all += string(b)
		checkStreams(t, keeperwire.Rotated(s.LogFile, i), string(b))
	}
	if out, errs := numbered(t, all, "out"), numbered(t, all, "err"); out != lines || errs != lines {
		t.Errorf("%d %d of %d", out, errs, lines)
	}
}

// TestStreamThatWaitsIsNotForgotten takes the log away while stderr waits for the
// end of a line of stdout.
func TestStreamThatWaitsIsNotForgotten(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c := n.start()
	c.up(n.spec("wait", `while :; do printf half; head -c 100000 /dev/zero >&2; printf ' line\n'; sleep 0.02; done`))
	last := int64(0)
	for range 4 {
		eventually(t, "the log grows by a megabyte", func() bool {
			info, err := os.Stat(n.logs + "/wait.log")
			return err == nil && info.Size() > last+1<<20
		})
		_ = os.Remove(n.logs + "/wait.log")
		_ = os.Mkdir(n.logs+"/wait.log", 0o755) // it cannot be written now
		time.Sleep(1200 * time.Millisecond)
		_ = os.Remove(n.logs + "/wait.log")
	}
}
