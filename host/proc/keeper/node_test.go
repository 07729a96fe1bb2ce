package keeper_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/hosttest"
	"github.com/backstay/backstay/internal/keeperwire"
	"github.com/backstay/backstay/internal/restart"
)

// node is a keeper in a directory of its own.
type node struct {
	t    *testing.T
	dir  string // of the keeper
	logs string
	cmd  *exec.Cmd
	uid  uint32 // 0: root, or whoever runs the test
	env  []string
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
	hosttest.NeedRoot(n.t, "to run a keeper as somebody else")
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

func (n *node) log(id string) string {
	b, _ := os.ReadFile(n.logs + "/" + id + ".log")
	return string(b)
}
