package keeper_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/keeperwire"
	"github.com/backstay/backstay/internal/restart"
)

// binary is the real keeper, built once.
var binary string

// hang is a ceiling against tests that hang; it measures nothing.
const hang = 30 * time.Second

func TestMain(m *testing.M) {
	if role := os.Getenv("BACKSTAY_TEST_CHILD"); role != "" {
		child(role)
		return
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "backstay-keeper-")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	_ = os.Chmod(dir, 0o755)
	binary = filepath.Join(dir, "backstay-keeper")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, "../../../cmd/backstay-keeper")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		panic(string(out))
	}
	return m.Run()
}

// node is a keeper in a directory of its own.
type node struct {
	t    *testing.T
	dir  string // of the keeper
	logs string
	cmd  *exec.Cmd
	uid  uint32 // 0: root, or whoever runs the test
	env  []string
}

func needRoot(t *testing.T) {
	t.Helper()
	switch {
	case os.Getuid() == 0:
	case os.Getenv("BACKSTAY_NEED_ROOT") == "1":
		t.Fatal("BACKSTAY_NEED_ROOT=1, but this is not root")
	default:
		t.Skip("needs root")
	}
}

// newNode makes a node whose keeper does not run yet. All that it leaves is
// killed at the end.
func newNode(t *testing.T) *node {
	t.Helper()
	top, err := os.MkdirTemp("", "bk-") //nolint:usetesting // its names are too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	_ = os.Chmod(top, 0o755)
	n := &node{t: t, dir: top + "/k", logs: top + "/log"}
	if err := os.Mkdir(n.logs, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		n.kill()
		n.sweep()
		if t.Failed() {
			b, _ := os.ReadFile(n.dir + "/keeper.log")
			t.Logf("keeper says:\n%s", b)
		}
		_ = os.RemoveAll(top)
	})
	return n
}

// unprivileged has the keeper run as nobody, without cgroups.
func (n *node) unprivileged() *node {
	needRoot(n.t)
	n.uid = 65534
	_ = os.Chown(filepath.Dir(n.dir), 65534, 65534)
	_ = os.Chown(n.logs, 65534, 65534)
	return n
}

// start starts a keeper and waits until it answers.
func (n *node) start() *client {
	n.t.Helper()
	n.launch()
	return n.dial()
}

func (n *node) launch() {
	n.t.Helper()
	n.launchAs(binary)
}

func (n *node) launchAs(program string) {
	n.t.Helper()
	_ = os.Mkdir(n.dir, 0o700)
	if n.uid != 0 {
		_ = os.Chown(n.dir, int(n.uid), int(n.uid))
	}
	log, err := os.OpenFile(n.dir+"/keeper.log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		n.t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	n.cmd = exec.Command(program, "run", n.dir)
	n.cmd.Stderr, n.cmd.Stdout = log, log
	n.cmd.Env = append(os.Environ(), n.env...)
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if n.uid != 0 {
		n.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: n.uid, Gid: n.uid}
	}
	if err := n.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
}

// kill is kill -9 of the keeper alone.
func (n *node) kill() {
	if n.cmd != nil && n.cmd.ProcessState == nil {
		_ = n.cmd.Process.Kill()
		_ = n.cmd.Wait()
	}
}

// sweep kills what the keeper has left: by its cgroup, and by its mark.
func (n *node) sweep() {
	for range 100 {
		for _, tree := range n.trees() {
			_ = os.WriteFile(tree+"/cgroup.kill", []byte("1"), 0)
		}
		left := n.processes("")
		for _, pid := range left {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		if len(left) == 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	for _, tree := range n.trees() {
		for range 100 {
			_ = exec.Command("find", tree, "-depth", "-type", "d", "-exec", "rmdir", "{}", "+").Run()
			if _, err := os.Stat(tree); err != nil {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}

func (n *node) trees() (found []string) {
	name := fmt.Sprintf("backstay-%016x", keeperwire.Sum([]byte(n.dir)))
	for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		if _, err := os.Stat(root + "/" + name); err == nil {
			found = append(found, root+"/"+name)
		}
	}
	return found
}

// processes are the living ones that carry the keeper's mark and, if it is not
// empty, id's: counted here, and not asked of the keeper.
func (n *node) processes(id string) (pids []int) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		env, err := os.ReadFile(d + "/environ")
		if err != nil || !hasVar(env, "BACKSTAY_KEEPER="+n.dir) || id != "" && !hasVar(env, "BACKSTAY_INSTANCE="+id) {
			continue
		}
		if st, err := os.ReadFile(d + "/stat"); err != nil || bytes.Contains(st, []byte(") Z ")) {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(d))
		pids = append(pids, pid)
	}
	return pids
}

func hasVar(env []byte, v string) bool {
	return bytes.Contains(append([]byte{0}, env...), append(append([]byte{0}, v...), 0))
}

// spec is a service of sh -c script.
func (n *node) spec(id, script string) keeperwire.Spec {
	return keeperwire.Spec{
		ID: id, Argv: []string{"/bin/sh", "-c", script}, Env: []string{"PATH=" + os.Getenv("PATH")}, Dir: "/",
		Umask: 0o22, Cgroup: "t/" + id, LogFile: n.logs + "/" + id + ".log", LogMaxSize: 1 << 30, LogMaxFiles: 3, GraceMS: 5000,
		Restart: restart.Policy{When: restart.Never},
	}
}

// role is a service that is this test's program, as the role of child says.
func (n *node) role(id, role string, args ...string) keeperwire.Spec {
	s := n.spec(id, "")
	self, err := os.Executable()
	if err != nil {
		n.t.Fatal(err)
	}
	s.Argv = append([]string{self}, args...)
	s.Env = append(s.Env, "BACKSTAY_TEST_CHILD="+role)
	return s
}

// client is the agent's end, for tests.
type client struct {
	t      *testing.T
	c      *net.UnixConn
	n      uint32
	events []keeperwire.Event
	fds    []int
}

func (n *node) dial() *client {
	n.t.Helper()
	c, err := n.tryDial()
	if err != nil {
		n.t.Fatal(err)
	}
	return c
}

func (n *node) tryDial() (*client, error) {
	deadline := time.Now().Add(hang)
	for {
		c, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: n.dir + "/sock", Net: "unixpacket"})
		if err == nil {
			cl := &client{t: n.t, c: c}
			n.t.Cleanup(func() { _ = c.Close() })
			if _, err = cl.try(keeperwire.Msg{Kind: keeperwire.Hello, Version: keeperwire.Version}); err == nil {
				return cl, nil
			}
		}
		if time.Now().After(deadline) {
			return nil, err
		}
		time.Sleep(time.Millisecond)
	}
}

// read reads a frame; events go to the side.
func (c *client) read() (keeperwire.Msg, error) {
	buf, oob := make([]byte, keeperwire.MaxFrame), make([]byte, 128)
	_ = c.c.SetReadDeadline(time.Now().Add(hang))
	k, oobn, _, _, err := c.c.ReadMsgUnix(buf, oob)
	if err != nil {
		return keeperwire.Msg{}, err
	}
	if k == 0 {
		return keeperwire.Msg{}, errors.New("the keeper hung up")
	}
	if msgs, err := syscall.ParseSocketControlMessage(oob[:oobn]); err == nil && len(msgs) > 0 {
		c.fds, _ = syscall.ParseUnixRights(&msgs[0])
	}
	return keeperwire.Decode(buf[:k])
}

// try asks, and waits for the answer.
func (c *client) try(m keeperwire.Msg, fds ...int) (keeperwire.Msg, error) {
	c.n++
	m.N = c.n
	var oob []byte
	if len(fds) > 0 {
		oob = syscall.UnixRights(fds...)
	}
	if _, _, err := c.c.WriteMsgUnix(m.Append(nil), oob, nil); err != nil {
		return m, err
	}
	for {
		got, err := c.read()
		switch {
		case err != nil:
			return got, err
		case got.Kind == keeperwire.EventMsg:
			c.events = append(c.events, *got.Event)
		case got.Kind == keeperwire.Err:
			return got, &got
		case got.N == m.N:
			return got, nil
		}
	}
}

func (c *client) do(m keeperwire.Msg, fds ...int) keeperwire.Msg {
	c.t.Helper()
	got, err := c.try(m, fds...)
	if err != nil {
		c.t.Fatalf("kind %d %s: %v", m.Kind, m.ID, err)
	}
	return got
}

// refused asks for what must be answered by an error of code.
func (c *client) refused(code string, m keeperwire.Msg, fds ...int) {
	c.t.Helper()
	got, err := c.try(m, fds...)
	if err == nil || got.Code != code {
		c.t.Errorf("kind %d: want %s, got %v %v", m.Kind, code, got, err)
	}
}

func (c *client) put(s keeperwire.Spec) {
	c.t.Helper()
	c.do(keeperwire.Msg{Kind: keeperwire.Put, Spec: &s})
}

// start puts s and starts it.
func (c *client) start(s keeperwire.Spec) {
	c.t.Helper()
	c.put(s)
	c.do(keeperwire.Msg{Kind: keeperwire.Start, ID: s.ID})
}

// up starts s and waits until it runs.
func (c *client) up(s keeperwire.Spec) keeperwire.Slot {
	c.t.Helper()
	c.start(s)
	return c.until(s.ID, keeperwire.Running)
}

func (c *client) list() map[string]keeperwire.Slot {
	c.t.Helper()
	got, err := c.tryList()
	if err != nil {
		c.t.Fatal(err)
	}
	return got
}

func (c *client) tryList() (map[string]keeperwire.Slot, error) {
	c.n++
	m := keeperwire.Msg{Kind: keeperwire.List, N: c.n}
	if _, err := c.c.Write(m.Append(nil)); err != nil {
		return nil, err
	}
	slots := map[string]keeperwire.Slot{}
	for {
		got, err := c.read()
		switch {
		case err != nil:
			return nil, err
		case got.Kind == keeperwire.EventMsg:
			c.events = append(c.events, *got.Event)
		case got.Kind == keeperwire.SlotMsg:
			slots[got.Slot.ID] = *got.Slot
		case got.Kind == keeperwire.End:
			return slots, nil
		}
	}
}

// until waits until the slot is in state.
func (c *client) until(id string, state keeperwire.State) keeperwire.Slot {
	c.t.Helper()
	return c.when(id, func(s keeperwire.Slot) bool { return s.State == state })
}

func (c *client) when(id string, ok func(keeperwire.Slot) bool) keeperwire.Slot {
	c.t.Helper()
	deadline := time.Now().Add(hang)
	for {
		s := c.list()[id]
		if ok(s) {
			return s
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("%s stays %+v", id, s)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// subscribe asks for events after seq.
func (c *client) subscribe(seq uint64) {
	c.t.Helper()
	c.do(keeperwire.Msg{Kind: keeperwire.Subscribe, Seq: seq})
}

// event waits for the next event that ok wants; those before it are dropped.
func (c *client) event(ok func(keeperwire.Event) bool) keeperwire.Event {
	c.t.Helper()
	for {
		for len(c.events) > 0 {
			e := c.events[0]
			if c.events = c.events[1:]; ok(e) {
				return e
			}
		}
		m, err := c.read()
		if err != nil {
			c.t.Fatal(err)
		}
		if m.Kind == keeperwire.EventMsg {
			c.events = append(c.events, *m.Event)
		}
	}
}

func kind(k keeperwire.Kind, id string) func(keeperwire.Event) bool {
	return func(e keeperwire.Event) bool { return e.Kind == k && e.ID == id }
}

func (c *client) stop(id string) {
	c.t.Helper()
	c.do(keeperwire.Msg{Kind: keeperwire.Stop, ID: id, Text: "test"})
	c.until(id, keeperwire.Stopped)
}

func (n *node) log(id string) string {
	b, _ := os.ReadFile(n.logs + "/" + id + ".log")
	return string(b)
}

// eventually waits for something that has no event.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(hang)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatal("never: " + what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// child is this program as a service.
func child(role string) {
	ctx := context.Background()
	switch args := os.Args[1:]; role {
	case "lines": // N numbered lines, as fast as they can be written, and exit with CODE
		count, _ := strconv.Atoi(args[0])
		code, _ := strconv.Atoi(args[1])
		writeLines(os.Stdout, "line", count)
		for len(args) > 2 { // and not before that file is there
			if _, err := os.Stat(args[2]); err == nil {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		os.Exit(code)
	case "both": // N numbered lines to each stream at full speed
		count, _ := strconv.Atoi(args[0])
		done := make(chan bool)
		go func() { writeLines(os.Stdout, "out", count); done <- true }()
		go func() { writeLines(os.Stderr, "err", count); done <- true }()
		<-done
		<-done
	case "front": // what is above a keeper: it starts the next one, and its orphans are in no hurry
		_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, 36, 1, 0) // PR_SET_CHILD_SUBREAPER
		for {
			cmd := exec.Command(args[0], "run", args[1])
			cmd.Stderr = os.Stderr
			if cmd.Run() == nil {
				return
			}
			time.Sleep(200 * time.Millisecond)
		}
	case "trickle": // numbered lines for ever, each with the pid
		for i := 0; ; i++ {
			fmt.Println(os.Getpid(), i)
			time.Sleep(100 * time.Microsecond)
		}
	case "beats": // a sign of life every few milliseconds
		c, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: args[0], Net: "unixpacket"})
		for err == nil {
			m := keeperwire.Msg{Kind: keeperwire.Beat}
			_, err = c.Write(m.Append(nil))
			_, _ = c.Read(make([]byte, 100))
			fmt.Println("beat")
			time.Sleep(5 * time.Millisecond)
		}
	case "deaf": // ignores TERM
		signalIgnore()
		fmt.Println("deaf")
		<-ctx.Done()
		select {}
	}
}

func writeLines(f *os.File, name string, count int) {
	var b []byte
	for i := range count {
		b = fmt.Appendf(b, "%s %09d\n", name, i)
		if len(b) > 4000 {
			if _, err := f.Write(b); err != nil {
				os.Exit(98)
			}
			b = b[:0]
		}
	}
	if _, err := f.Write(b); err != nil {
		os.Exit(97)
	}
}

// numbered fails unless text is the lines 0, 1, 2 … of name, each once.
func numbered(t *testing.T, text, name string) (count int) {
	t.Helper()
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, name+" ") {
			continue
		}
		if want := fmt.Sprintf("%s %09d\n", name, count); line != want {
			t.Fatalf("line %d is %q", count, line)
		}
		count++
	}
	return count
}
