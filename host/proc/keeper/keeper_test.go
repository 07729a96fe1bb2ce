package keeper_test

import (
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/backstay/backstay/internal/hosttest"
	"github.com/backstay/backstay/internal/keeperwire"
	"github.com/backstay/backstay/internal/restart"
)

func signalIgnore() { signal.Ignore(syscall.SIGTERM) }

func TestRunsAndTellsHowItEnded(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c := n.start()
	c.subscribe(0)
	s := n.spec("one", "echo out; echo err >&2; exit 7")
	s.Meta = []byte("mine")
	c.start(s)
	started := c.event(kind(keeperwire.EvStarted, "one"))
	ended := c.event(kind(keeperwire.EvExited, "one"))
	if x := ended.Exit; !x.Known || x.Code != 7 || x.Signal != 0 || x.PID != started.PID || x.Asked || x.Stage != "" {
		t.Errorf("%+v", x)
	}
	slot := c.until("one", keeperwire.Completed)
	if string(slot.Meta) != "mine" || slot.Last.Code != 7 || slot.Starts != 1 || slot.PID != 0 {
		t.Errorf("%+v", slot)
	}
	if got := n.log("one"); got != "out\nerr\n" && got != "err\nout\n" {
		t.Errorf("log %q", got)
	}
}

func TestRestartsByItself(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c := n.start()
	c.subscribe(0)
	s := n.spec("crash", "exit 3")
	s.Restart = restart.Policy{Min: 1, Max: 1, ResetAfter: 1e12, Limit: 4, Window: 1e12}
	c.start(s)
	for range 4 {
		if e := c.event(kind(keeperwire.EvExited, "crash")); e.Exit.Code != 3 {
			t.Errorf("%+v", e)
		}
	}
	slot := c.until("crash", keeperwire.Failed)
	if slot.Starts != 4 || slot.Failures != 4 || slot.NextStart != 0 {
		t.Errorf("%+v", slot)
	}
}

func TestEnvironmentAndIDs(t *testing.T) {
	t.Parallel()
	hosttest.NeedRoot(t, "to change users")
	n := newNode(t)
	c := n.start()
	s := n.spec("env", "env; id -u; id -g; id -G; umask; ulimit -n; cat /proc/self/oom_score_adj; nice; pwd; echo again >/dev/stdout; echo end")
	s.SetIDs, s.UID, s.GID, s.Groups, s.Umask, s.Nice, s.OOMScoreAdj, s.Dir = true, 65534, 65533, []uint32{65533, 4}, 0o27, 5, 300, "/tmp"
	s.Rlimits = []keeperwire.Rlimit{{Resource: syscall.RLIMIT_NOFILE, Soft: 333, Hard: 444}}
	s.Env = append(s.Env, "LISTEN_PID=1", "BACKSTAY_INSTANCE=other", "A=b c")
	c.start(s)
	c.until("env", keeperwire.Completed)
	got := n.log("env")
	for _, want := range []string{
		"BACKSTAY_INSTANCE=env\n", "A=b c\n", "\n65534\n65533\n65533 4\n0027\n333\n300\n5\n/tmp\nagain\nend\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, "LISTEN_PID") || strings.Contains(got, "other") || strings.Contains(got, "GOGC") {
		t.Errorf("too much in\n%s", got)
	}
}

func TestHeldDescriptorsArriveAsListenFDs(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c := n.start()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	s := n.spec("fds", `echo "$LISTEN_FDS $LISTEN_FDNAMES $((LISTEN_PID == $$))" >&4; ls /proc/$$/fd; true`)
	s.FDs = []string{"first", "second"}
	c.start(s)
	if got := c.until("fds", keeperwire.Backoff); got.Why != "waits for descriptor first" {
		t.Errorf("%q", got.Why)
	}
	null, _ := os.Open("/dev/null")
	c.do(keeperwire.Msg{Kind: keeperwire.PutFD, Name: "first"}, int(null.Fd()))
	if got := c.until("fds", keeperwire.Backoff); got.Why != "waits for descriptor second" {
		t.Errorf("%q", got.Why)
	}
	c.do(keeperwire.Msg{Kind: keeperwire.PutFD, Name: "second"}, int(w.Fd()))
	_ = w.Close()
	c.until("fds", keeperwire.Completed)
	buf := make([]byte, 100)
	k, err := r.Read(buf)
	if got := string(buf[:k]); err != nil || got != "2 first:second 1\n" {
		t.Errorf("%q %v", got, err)
	}
	if got := n.log("fds"); got != "0\n1\n2\n3\n4\n" {
		t.Errorf("descriptors %q", got)
	}
	if got := c.do(keeperwire.Msg{Kind: keeperwire.ListFDs}); got.Text != "first\nsecond" {
		t.Errorf("%q", got.Text)
	}
	c.do(keeperwire.Msg{Kind: keeperwire.GetFD, Name: "second"})
	if len(c.fds) != 1 {
		t.Fatal("no descriptor came")
	}
	_ = syscall.Close(c.fds[0])
	c.do(keeperwire.Msg{Kind: keeperwire.DropFD, Name: "second"})
	c.refused("no_fd", keeperwire.Msg{Kind: keeperwire.GetFD, Name: "second"})
	c.refused("bad_fd", keeperwire.Msg{Kind: keeperwire.PutFD, Name: "none"})
}

func TestStopSignalsThenKillsTheTree(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c := n.start()
	c.subscribe(0)
	c.up(n.spec("good", "trap 'exit 0' TERM; echo set; while :; do sleep 0.01; done"))
	eventually(t, "the trap is set", func() bool { return n.log("good") == "set\n" })
	c.stop("good")
	if e := c.event(kind(keeperwire.EvExited, "good")); !well(e.Exit) || !e.Exit.Asked || e.Exit.Reason != "test" {
		t.Errorf("%+v", e.Exit)
	}
	deaf := n.role("deaf", "deaf")
	deaf.GraceMS = 100
	c.up(deaf)
	eventually(t, "deaf is deaf", func() bool { return strings.Contains(n.log("deaf"), "deaf") })
	c.stop("deaf")
	if e := c.event(kind(keeperwire.EvExited, "deaf")); e.Exit.Signal != 9 || !e.Exit.Asked {
		t.Errorf("%+v", e.Exit)
	}
	frozen := n.spec("frozen", "trap 'exit 4' TERM; while :; do sleep 0.01; done")
	slot := c.up(frozen)
	eventually(t, "the trap is set", func() bool { return len(n.processes("frozen")) > 1 })
	_ = syscall.Kill(int(slot.PID), syscall.SIGSTOP)
	c.stop("frozen") // CONT comes with it
	if e := c.event(kind(keeperwire.EvExited, "frozen")); e.Exit.Code != 4 {
		t.Errorf("%+v", e.Exit)
	}
	if left := n.processes(""); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestWhatCannotStartSaysWhy(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c := n.start()
	dir := n.logs + "/x"
	write := func(name, text string, mode os.FileMode) string {
		p := dir + "." + name
		if err := os.WriteFile(p, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return p
	}
	busy, err := os.OpenFile(write("busy", "#!/bin/sh\n", 0o755), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = busy.Close() }()
	for want, argv0 := range map[string]string{
		"exec /no/such: ENOENT (no such file or directory)": "/no/such",
		"EISDIR":                        "/tmp",
		"ENOEXEC":                       write("arch", "\x7fELF not for here", 0o755),
		"not executable":                write("mode", "#!/bin/sh\n", 0o644),
		"interpreter or loader is miss": write("loader", "#!/no/such/shell\n", 0o755),
		"ETXTBSY":                       busy.Name(),
	} {
		s := n.spec("bad", "")
		s.Argv = []string{argv0}
		c.start(s)
		slot := c.until("bad", keeperwire.Completed)
		if x := slot.Last; x.Code != 125 || !strings.Contains(x.Stage, want) || !strings.HasPrefix(x.Stage, "exec "+argv0) {
			t.Errorf("want %q, got %+v", want, x)
		}
		c.do(keeperwire.Msg{Kind: keeperwire.Remove, ID: "bad"})
	}
	s := n.spec("dir", "true")
	s.Dir = "/no/dir"
	c.start(s)
	if x := c.until("dir", keeperwire.Completed).Last; x.Stage != "chdir /no/dir: ENOENT (no such file or directory)" {
		t.Errorf("%+v", x)
	}
}

func TestPutIsIdempotentAndCountsFromTheNextStart(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c := n.start()
	s := n.spec("put", "echo one; sleep 100")
	before := c.up(s)
	eventually(t, "the first command runs", func() bool { return n.log("put") == "one\n" })
	c.put(s)
	s2 := n.spec("put", "echo two; sleep 100")
	s2.GraceMS = 50
	c.put(s2)
	if got := c.list()["put"]; got.PID != before.PID || got.SpecHash != s2.Hash() {
		t.Errorf("%+v", got)
	}
	c.do(keeperwire.Msg{Kind: keeperwire.SetNote, ID: "put", Note: []byte("note")})
	c.do(keeperwire.Msg{Kind: keeperwire.SetReady, ID: "put", Flag: true})
	if got := c.list()["put"]; string(got.Note) != "note" || !got.Ready {
		t.Errorf("%+v", got)
	}
	c.stop("put")
	c.do(keeperwire.Msg{Kind: keeperwire.Start, ID: "put"})
	if got := c.until("put", keeperwire.Running); got.Ready || got.Starts != 2 {
		t.Errorf("%+v", got)
	}
	eventually(t, "the new command runs", func() bool { return n.log("put") == "one\ntwo\n" })
}

func TestBadRequestsAreRefusedAndChangeNothing(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c := n.start()
	c.up(n.spec("x", "sleep 100"))
	bad := n.spec("../x", "true")
	c.refused("bad_spec", keeperwire.Msg{Kind: keeperwire.Put, Spec: &bad})
	c.refused("bad_spec", keeperwire.Msg{Kind: keeperwire.Put})
	c.refused("no_slot", keeperwire.Msg{Kind: keeperwire.Start, ID: "nobody"})
	c.refused("not_stopped", keeperwire.Msg{Kind: keeperwire.Remove, ID: "x"})
	c.refused("bad_signal", keeperwire.Msg{Kind: keeperwire.Signal, ID: "x", Signal: 65})
	c.refused("bad_note", keeperwire.Msg{Kind: keeperwire.SetNote, ID: "x", Note: make([]byte, 257)})
	c.refused("bad_request", keeperwire.Msg{Kind: 200, ID: "x"})
	c.refused("bad_probe", keeperwire.Msg{Kind: keeperwire.ProbeMsg, Probe: &keeperwire.Probe{ID: "x", Name: "..", Argv: []string{"/bin/true"}}})
	c.refused("not_running", keeperwire.Msg{Kind: keeperwire.PidFD, ID: "nobody"})
	old := n.dial()
	old.refused("version", keeperwire.Msg{Kind: keeperwire.Hello, Version: 0x0900})
	if _, err := old.c.Write([]byte("\x01garbage of all kinds")); err != nil {
		t.Fatal(err)
	}
	if _, err := old.read(); err == nil {
		t.Error("garbage was answered")
	}
	if got := c.list(); len(got) != 1 || got["x"].State != keeperwire.Running {
		t.Errorf("%+v", got)
	}
	c.stop("x")
	c.refused("not_running", keeperwire.Msg{Kind: keeperwire.Signal, ID: "x", Signal: 15})
	c.do(keeperwire.Msg{Kind: keeperwire.Remove, ID: "x"})
	if _, err := os.Stat(n.dir + "/i/x"); !os.IsNotExist(err) {
		t.Error("FIFOs are left:", err)
	}
	if len(c.list()) != 0 {
		t.Error("the slot is left")
	}
}

func TestSignalsReachTheMainProcess(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c := n.start()
	c.subscribe(0)
	c.up(n.spec("sig", "trap 'echo usr1' USR1; trap 'exit 9' USR2; echo set; while :; do sleep 0.01; done"))
	eventually(t, "the traps are set", func() bool { return strings.Contains(n.log("sig"), "set") })
	c.do(keeperwire.Msg{Kind: keeperwire.Signal, ID: "sig", Signal: int32(syscall.SIGUSR1)})
	eventually(t, "it hears", func() bool { return strings.Contains(n.log("sig"), "usr1") })
	c.do(keeperwire.Msg{Kind: keeperwire.Signal, ID: "sig", Signal: int32(syscall.SIGUSR2)})
	if e := c.event(kind(keeperwire.EvExited, "sig")); e.Exit.Code != 9 || e.Exit.Asked {
		t.Errorf("%+v", e.Exit)
	}
}

func TestKillThatIsStillWantedCountsAndRunsOn(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	c := n.start()
	c.subscribe(0)
	s := n.spec("live", "sleep 100 & sleep 100")
	s.Restart = restart.Policy{Min: 1, Max: 1, ResetAfter: 1e12}
	first := c.up(s)
	c.do(keeperwire.Msg{Kind: keeperwire.Kill, ID: "live", Text: "liveness: HTTP 503", Flag: true})
	e := c.event(kind(keeperwire.EvExited, "live"))
	if e.Exit.Reason != "liveness: HTTP 503" || e.Exit.Signal != 9 || !e.Exit.Asked {
		t.Errorf("%+v", e.Exit)
	}
	again := c.when("live", func(s keeperwire.Slot) bool { return s.State == keeperwire.Running && s.PID != first.PID })
	if again.Failures != 1 {
		t.Errorf("%+v", again)
	}
	c.do(keeperwire.Msg{Kind: keeperwire.Kill, ID: "live", Text: "enough"})
	if got := c.until("live", keeperwire.Stopped); got.Last.Reason != "enough" {
		t.Errorf("%+v", got)
	}
	if left := n.processes(""); len(left) > 0 {
		t.Error("left: " + strconv.Itoa(len(left)))
	}
}
