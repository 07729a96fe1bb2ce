package keeper_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/hosttest"
	"github.com/backstay/backstay/internal/keeperwire"
	"github.com/backstay/backstay/internal/restart"
)

func TestNextKeeperAdoptsWhatRuns(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c := n.start()
	c.subscribe(0)
	s := n.spec("stays", "echo a; read x < "+n.logs+"/go; echo b; exit 11")
	if err := syscall.Mkfifo(n.logs+"/go", 0o644); err != nil {
		t.Fatal(err)
	}
	s.Meta, s.GraceMS = []byte("meta"), 50
	before := c.up(s)
	c.do(keeperwire.Msg{Kind: keeperwire.SetReady, ID: "stays", Flag: true})
	c.do(keeperwire.Msg{Kind: keeperwire.SetNote, ID: "stays", Note: []byte("note")})
	done := n.spec("done", "exit 5")
	c.start(done)
	c.until("done", keeperwire.Completed)
	eventually(t, "it has begun", func() bool { return n.log("stays") == "a\n" })
	n.kill()
	c = n.start()
	got := c.list()["stays"]
	if got.PID != before.PID || got.Ticks != before.Ticks || got.State != keeperwire.Running || string(got.Meta) != "meta" ||
		string(got.Note) != "note" || !got.Ready || got.Starts != 1 || got.StartedAt != before.StartedAt {
		t.Errorf("before %+v\n now %+v", before, got)
	}
	if got := c.list()["done"]; got.State != keeperwire.Completed || got.Last.Code != 5 {
		t.Errorf("%+v", got)
	}
	c.subscribe(0)
	if err := os.WriteFile(n.logs+"/go", []byte("\n"), 0); err != nil {
		t.Fatal(err)
	}
	e := c.event(kind(keeperwire.EvExited, "stays"))
	if !e.Exit.Known || e.Exit.Code != 11 {
		t.Errorf("the code of an adopted process: %+v", e.Exit)
	}
	c.until("stays", keeperwire.Completed)
	if got := n.log("stays"); got != "a\nb\n" {
		t.Errorf("log %q", got)
	}
}

// TestExitIsKnownOfWhatWasAdoptedAndTakenAway freezes the keeper until nothing is
// left of a process that is not its child but what its descriptor knows.
func TestExitIsKnownOfWhatWasAdoptedAndTakenAway(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	if err := syscall.Mkfifo(n.logs+"/go", 0o644); err != nil {
		t.Fatal(err)
	}
	before := n.start().up(n.spec("x", "read x < "+n.logs+"/go; exit 11"))
	n.kill()
	c := n.start()
	c.subscribe(0)
	_ = n.cmd.Process.Signal(syscall.SIGSTOP)
	if err := os.WriteFile(n.logs+"/go", []byte("\n"), 0); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is taken away", func() bool { return syscall.Kill(int(before.PID), 0) != nil })
	_ = n.cmd.Process.Signal(syscall.SIGCONT)
	e := c.event(kind(keeperwire.EvExited, "x"))
	if tells := kernelTells(t); e.Exit.Known != tells || tells && e.Exit.Code != 11 {
		t.Errorf("the kernel tells %v: %+v", tells, e.Exit)
	}
}

// kernelTells reports whether the kernel knows how a process has ended that has
// been taken away: Linux 6.15.
func kernelTells(t *testing.T) bool {
	t.Helper()
	text, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		t.Fatal(err)
	}
	var major, minor int
	if _, err := fmt.Sscanf(string(text), "%d.%d", &major, &minor); err != nil {
		t.Fatal(err)
	}
	return major > 6 || major == 6 && minor >= 15
}

// TestExitsWhileTheAgentIsDeadAreKept kills the keeper in between as well: codes
// and order must outlive both.
func TestExitsWhileTheAgentIsDeadAreKept(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c := n.start()
	c.subscribe(0)
	for i := range 5 {
		id := "x" + strconv.Itoa(i)
		c.start(n.spec(id, "exit "+strconv.Itoa(10+i)))
		c.until(id, keeperwire.Completed)
		if i == 2 {
			_ = c.c.Close()
			n.kill()
			c = n.start() // nobody subscribes
		}
	}
	n.kill()
	c = n.start()
	c.subscribe(0)
	last := uint64(0)
	for i := range 5 {
		e := c.event(kind(keeperwire.EvExited, "x"+strconv.Itoa(i)))
		if e.Exit.Code != int32(10+i) || e.Seq <= last {
			t.Errorf("%d: %+v", i, e)
		}
		last = e.Seq
	}
	c.tell(keeperwire.Msg{Kind: keeperwire.Ack, Seq: last})
	n.kill()
	c = n.start()
	c.subscribe(0)
	c.start(n.spec("y", "exit 1"))
	if e := c.event(func(e keeperwire.Event) bool { return e.Kind == keeperwire.EvExited }); e.ID != "y" || e.Seq <= last {
		t.Errorf("acked events came again: %+v", e)
	}
}

// TestKilledBetweenCloneAndRecord stops the keeper at random moments of many
// starts: whatever the next one finds, each instance runs exactly once.
func TestKilledBetweenCloneAndRecord(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c := n.start()
	dice := rand.New(rand.NewPCG(1, 2))
	const instances = 6
	for i := range instances {
		s := n.spec(fmt.Sprintf("s%d", i), "exec sleep 1000")
		s.Restart = restart.Policy{Min: 1, Max: 1}
		c.start(s)
	}
	for range 12 {
		for _, pid := range n.processes("") {
			_ = syscall.Kill(pid, syscall.SIGKILL) // all start again now
		}
		time.Sleep(time.Duration(dice.IntN(12000)) * time.Microsecond)
		n.kill()
		c = n.start()
	}
	for i := range instances {
		id := fmt.Sprintf("s%d", i)
		slot := c.until(id, keeperwire.Running)
		eventually(t, id+" runs once", func() bool {
			pids := n.processes(id)
			return len(pids) == 1 && pids[0] == int(slot.PID)
		})
	}
}

// TestNoLineIsLostWhenTheKeeperIsKilled kills the keeper again and again while a
// service prints as fast as it can, over rotations too.
func TestNoLineIsLostWhenTheKeeperIsKilled(t *testing.T) {
	t.Parallel()
	kills, lines := 30, 3_000_000
	if os.Getenv("BACKSTAY_LONG") == "1" {
		kills, lines = 300, 30_000_000
	}
	n := newNode(t)
	c := n.start()
	c.subscribe(0)
	// It ends while a keeper lives: what nobody has open any more is gone.
	s := n.role("w", "lines", strconv.Itoa(lines), "5", n.dir+"/end")
	s.LogMaxSize, s.LogMaxFiles = 3<<20, 1000
	c.up(s)
	dice := rand.New(rand.NewPCG(3, 4))
	done := 0
	for ; done < kills && !strings.HasSuffix(tail(s.LogFile), fmt.Sprintf("line %09d\n", lines-1)); done++ {
		time.Sleep(time.Duration(dice.IntN(20)) * time.Millisecond)
		n.kill()
		c = n.start()
	}
	c.subscribe(0)
	if err := os.WriteFile(n.dir+"/end", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if e := c.event(kind(keeperwire.EvExited, "w")); e.Exit.Code != 5 || !e.Exit.Known {
		t.Errorf("%+v", e.Exit)
	}
	c.until("w", keeperwire.Completed)
	got, files := 0, 0
	for i := 1000; i >= 0; i-- {
		b, err := os.ReadFile(keeperwire.Rotated(s.LogFile, i))
		if err != nil {
			continue
		}
		files++
		for line := range strings.Lines(string(b)) {
			if want := fmt.Sprintf("line %09d\n", got); line != want {
				t.Fatalf("after %d kills, file %d: line %d is %q", done, i, got, line)
			}
			got++
		}
		checkIndex(t, keeperwire.Rotated(s.LogFile, i), len(b))
	}
	if got != lines || done < kills/2 || files < 3 {
		t.Errorf("%d of %d lines in %d files after %d kills", got, lines, files, done)
	}
}

// tail is the end of a file.
func tail(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return ""
	}
	b := make([]byte, min(info.Size(), 40))
	_, _ = f.ReadAt(b, info.Size()-int64(len(b)))
	return string(b)
}

// checkIndex fails unless the marks of a log begin at its front, never go back and
// are nowhere further apart than they may be.
func checkIndex(t *testing.T, log string, size int) {
	t.Helper()
	b, err := os.ReadFile(keeperwire.Index(log))
	if err != nil || len(b)%keeperwire.MarkSize != 0 || size > 0 && len(b) == 0 {
		t.Fatalf("%s: %d bytes, %v", filepath.Base(log), len(b), err)
	}
	last := uint64(0)
	for i := 0; i < len(b); i += keeperwire.MarkSize {
		m, err := keeperwire.DecodeMark(b[i:])
		if err != nil || i == 0 && m.Offset != 0 || m.Offset < last {
			t.Fatalf("%s: mark %d is %+v after %d, %v", filepath.Base(log), i/keeperwire.MarkSize, m, last, err)
		}
		last = m.Offset
	}
}

func TestStaleRecordsOfAnotherBoot(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c := n.start()
	s := n.spec("boot", "exec sleep 1000")
	s.Restart = restart.Policy{Min: 1, Max: 1}
	before := c.up(s)
	c.start(n.spec("off", "true"))
	c.until("off", keeperwire.Completed)
	n.kill()
	_ = syscall.Kill(int(before.PID), syscall.SIGKILL)
	forgeBoot(t, n.dir+"/state")
	c = n.start()
	c.subscribe(0)
	if e := c.event(kind(keeperwire.EvExited, "boot")); e.Exit.Known || e.Exit.PID != before.PID {
		t.Errorf("%+v", e.Exit)
	}
	if got := c.until("boot", keeperwire.Running); got.PID == before.PID {
		t.Errorf("%+v", got)
	}
	if got := c.list()["off"]; got.State != keeperwire.Completed {
		t.Errorf("%+v", got)
	}
}

// TestForeignProcessWithOurPIDIsLeftAlone gives a record the pid of a stranger, as
// after a wrap of pids: one that began at another time, which is all that can be
// known without cgroups; and one that began in the same tick, in no cgroup of ours.
func TestForeignProcessWithOurPIDIsLeftAlone(t *testing.T) {
	t.Parallel()
	hosttest.NeedRoot(t, "to have cgroups")
	for name, sameTick := range map[string]bool{"began at another time, without cgroups": false, "began in the same tick": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t)
			if !sameTick {
				n = n.unprivileged()
			}
			leavesForeignAlone(t, n, sameTick)
		})
	}
}

func leavesForeignAlone(t *testing.T, n *node, sameTick bool) {
	t.Helper()
	c := n.start()
	c.up(n.spec("mine", "exec sleep 1000"))
	slot := c.list()["mine"]
	n.kill()
	_ = syscall.Kill(int(slot.PID), syscall.SIGKILL)
	stranger := startStranger(t)
	forgePID(t, n.dir+"/state", "mine", stranger, sameTick)
	c = n.start()
	got := c.until("mine", keeperwire.Completed)
	if got.PID == int32(stranger) || got.Last.Known {
		t.Errorf("%+v", got)
	}
	if syscall.Kill(stranger, 0) != nil {
		t.Error("the stranger was killed")
	}
}

func TestTwoKeepers(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c := n.start()
	first := n.cmd
	before := c.up(n.spec("one", "exec sleep 1000"))
	n.launch() // the same program: it sees that nothing is to be done
	if err := ends(t, n.cmd); err != nil {
		t.Errorf("the second one: %v", err)
	}
	if got := c.list()["one"]; got.PID != before.PID {
		t.Errorf("%+v", got)
	}
	other := binary // another program of the same kind: it takes over
	copied := filepath.Join(filepath.Dir(n.dir), "other")
	b, err := os.ReadFile(other)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(copied, append(b, 0), 0o755); err != nil {
		t.Fatal(err)
	}
	n.launchAs(copied)
	if err := ends(t, first); err != nil {
		t.Errorf("the first one was to leave by itself: %v", err)
	}
	c = n.dial()
	if got := c.list()["one"]; got.PID != before.PID || got.State != keeperwire.Running {
		t.Errorf("%+v", got)
	}
}

// ends waits until a keeper has ended, and kills one that does not.
func ends(t *testing.T, cmd *exec.Cmd) error {
	t.Helper()
	late := time.AfterFunc(hang, func() { _ = cmd.Process.Kill() })
	err := cmd.Wait()
	if !late.Stop() {
		t.Errorf("keeper %d ran on beside another", cmd.Process.Pid)
	}
	return err
}

func TestTermLeavesTheChildren(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c := n.start()
	before := c.up(n.spec("one", "exec sleep 1000"))
	_ = n.cmd.Process.Signal(syscall.SIGTERM)
	if err := n.cmd.Wait(); err != nil {
		t.Error(err)
	}
	if syscall.Kill(int(before.PID), 0) != nil {
		t.Fatal("the child died")
	}
	if len(n.processes("one")) != 1 {
		t.Fatal("the child is not the one it was")
	}
	c = n.start()
	if got := c.list()["one"]; got.PID != before.PID {
		t.Errorf("%+v", got)
	}
}

func TestBootFileStartsTheAgent(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	agent := n.spec(keeperwire.AgentID, "trap 'echo hup' HUP; echo set; while :; do sleep 0.01; done")
	if err := os.Mkdir(n.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(n.dir+"/boot", keeperwire.AppendBoot(nil, &agent), 0o600); err != nil {
		t.Fatal(err)
	}
	c := n.start()
	before := c.until(keeperwire.AgentID, keeperwire.Running)
	eventually(t, "the trap is set", func() bool { return strings.Contains(n.log(keeperwire.AgentID), "set") })
	_ = n.cmd.Process.Signal(syscall.SIGHUP)
	eventually(t, "HUP is passed on", func() bool { return strings.Contains(n.log(keeperwire.AgentID), "hup") })
	n.kill()
	c = n.start()
	if got := c.list()[keeperwire.AgentID]; got.PID != before.PID {
		t.Errorf("%+v", got)
	}
}

// TestExitWhileNoKeeperLived needs somebody above the keeper whose orphans stay
// zombies for a moment, as the front's and the agent's do: then their codes are
// there for the next keeper.
func TestExitWhileNoKeeperLived(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	_ = os.Mkdir(n.dir, 0o700)
	front := exec.Command(self, binary, n.dir)
	front.Env = append(os.Environ(), "BACKSTAY_TEST_CHILD=front")
	if err := front.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = front.Process.Kill(); _ = front.Wait() })
	c := n.dial()
	welcome := c.do(keeperwire.Msg{Kind: keeperwire.Hello, Version: keeperwire.Version}).Welcome
	if err := syscall.Mkfifo(n.logs+"/go", 0o644); err != nil {
		t.Fatal(err)
	}
	before := c.up(n.spec("x", "cat "+n.logs+"/go; exit 33"))
	again := n.spec("again", "exec sleep 1000")
	again.Restart = restart.Policy{When: restart.Always, ResetAfter: 1}
	first := c.up(again)
	_ = syscall.Kill(int(welcome.PID), syscall.SIGKILL)
	if err := os.WriteFile(n.logs+"/go", []byte("go\n"), 0); err != nil {
		t.Fatal(err)
	}
	c = n.dial()
	c.subscribe(0)
	if e := c.event(kind(keeperwire.EvExited, "x")); !e.Exit.Known || e.Exit.Code != 33 || e.Exit.PID != before.PID {
		t.Errorf("%+v", e.Exit)
	}
	_ = syscall.Kill(int(first.PID), syscall.SIGKILL) // whom nobody reaps: it is waited for, and not for ever
	c.when("again", func(s keeperwire.Slot) bool { return s.State == keeperwire.Running && s.PID != first.PID })
	if err := syscall.Kill(int(first.PID), 0); err != nil {
		t.Errorf("its zombie: %v", err)
	}
	c.do(keeperwire.Msg{Kind: keeperwire.Leave})
}

// TestWhoCannotBeFoundStartsNothing has a directory whose socket would have too
// long a name.
func TestWhoCannotBeFoundStartsNothing(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.dir += strings.Repeat("x", 120)
	if err := os.Mkdir(n.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	agent := n.spec("agent", "exec sleep 1000")
	if err := os.WriteFile(n.dir+"/boot", keeperwire.AppendBoot(nil, &agent), 0o600); err != nil {
		t.Fatal(err)
	}
	n.launch()
	if err := n.cmd.Wait(); err == nil {
		t.Error("it ended well")
	}
	if left := n.processes(""); len(left) > 0 || n.log("agent") != "" {
		t.Errorf("it has started %v", left)
	}
	b, _ := os.ReadFile(n.dir + "/keeper.log")
	if !strings.Contains(string(b), "listen on "+n.dir+"/sock") {
		t.Errorf("it says %q", b)
	}
}

// TestRemovedRunDirectoryStopsNoStart removes all that a running keeper has there.
func TestRemovedRunDirectoryStopsNoStart(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c := n.start()
	s := n.spec("kept", "echo begun; exec sleep 1000")
	s.Restart = restart.Policy{When: restart.Always, ResetAfter: 1}
	before := c.up(s)
	eventually(t, "the first run's line is in the log", func() bool { return n.log("kept") == "begun\n" })
	if err := os.RemoveAll(n.dir); err != nil {
		t.Fatal(err)
	}
	c.do(keeperwire.Msg{Kind: keeperwire.Kill, ID: "kept", Text: "test", Flag: true})
	c.when("kept", func(got keeperwire.Slot) bool { return got.State == keeperwire.Running && got.PID != before.PID })
	eventually(t, "the second run's line is in the log", func() bool { return n.log("kept") == "begun\nbegun\n" })
}
