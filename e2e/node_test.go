package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/api/client"
	"github.com/backstay/backstay/daemon"
)

// hang is when something is taken to hang. It judges nothing else: times are
// figures, and figures are not judged here.
const hang = 60 * time.Second

// look is the pause between two looks at something that is waited for.
const look = 20 * time.Millisecond

// long says that the long forms are wanted.
func long() bool { return os.Getenv("BACKSTAY_LONG") != "" }

// pick returns the number for the form that is wanted.
func pick(short, whole int) int {
	if long() {
		return whole
	}
	return short
}

// built returns the path of a program that `make build` has made.
func built(tb testing.TB, name string) string {
	tb.Helper()
	path, err := filepath.Abs(filepath.Join("..", "bin", name))
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		tb.Fatalf("%s is not there; run `make build`", path)
	}
	return path
}

// node is a Backstay of its own: directories, front, what it runs.
type node struct {
	t      testing.TB
	dir    string
	dirs   daemon.Dirs
	file   string
	client *client.Client
	front  *exec.Cmd
	gone   chan struct{} // closed when the front has ended
}

// newNode makes the directories. Nothing runs yet.
func newNode(tb testing.TB) *node {
	tb.Helper()
	dir, err := os.MkdirTemp("", "bs-e2e-") //nolint:usetesting // short: a socket's path has 107 bytes
	if err != nil {
		tb.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		tb.Fatal(err)
	}
	n := &node{t: tb, dir: dir, dirs: daemon.DirsIn(dir), file: filepath.Join(dir, "backstay.yaml")}
	n.client = client.New(client.Options{Socket: n.dirs.API()})
	tb.Cleanup(n.clean)
	return n
}

// write writes the file; DIR in it is the node's directory, USER a line that
// root must write.
func (n *node) write(text string) {
	n.t.Helper()
	if err := os.WriteFile(n.file, []byte(n.fill(text)), 0o644); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) fill(text string) string {
	user := "nobody"
	if os.Geteuid() != 0 {
		user = strconv.Itoa(os.Geteuid())
	}
	return strings.NewReplacer("DIR", n.dir, "USER", user).Replace(text)
}

// start starts the front.
func (n *node) start() {
	n.t.Helper()
	out, err := os.OpenFile(filepath.Join(n.dir, "front.out"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		n.t.Fatal(err)
	}
	defer out.Close()
	n.front = exec.Command(built(n.t, "backstay"), append([]string{"up", n.file}, n.flags()...)...)
	n.front.Stdout, n.front.Stderr = out, out
	n.front.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := n.front.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.gone = make(chan struct{})
	go func() { _ = n.front.Wait(); close(n.gone) }()
	n.until("a file is in force", func(s api.Status) string {
		if s.Config.Digest == "" {
			return "none"
		}
		return ""
	})
}

func (n *node) flags() []string {
	return []string{"--run-dir", n.dirs.Run, "--state-dir", n.dirs.State, "--log-dir", n.dirs.Log}
}

// cli runs a command and returns what it printed and its status.
func (n *node) cli(args ...string) (stdout, stderr string, status int) {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*hang)
	defer cancel()
	cmd := exec.CommandContext(ctx, built(n.t, "backstay"), append(args, n.flags()...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		return out.String(), errs.String(), exit.ExitCode()
	case err != nil:
		n.t.Fatalf("backstay %s: %v", strings.Join(args, " "), err)
	}
	return out.String(), errs.String(), 0
}

// must is cli that has to succeed.
func (n *node) must(args ...string) string {
	n.t.Helper()
	out, errs, status := n.cli(args...)
	if status != 0 {
		n.t.Fatalf("backstay %s ended with %d\n%s%s", strings.Join(args, " "), status, out, errs)
	}
	return out
}

// status asks the agent, and waits for one that is just coming back.
func (n *node) status() api.Status {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), hang)
	defer cancel()
	for {
		s, err := n.client.Status(ctx)
		if err == nil {
			return s
		}
		select {
		case <-n.gone:
			n.t.Fatalf("the front has ended\n%s", n.story())
		default:
		}
		if ctx.Err() != nil {
			n.t.Fatalf("no status: %v\n%s", err, n.story())
		}
		time.Sleep(look)
	}
}

// until waits until f finds nothing missing, and fails with what it misses.
func (n *node) until(what string, f func(api.Status) (missing string)) api.Status {
	n.t.Helper()
	end := time.Now().Add(hang)
	for {
		s := n.status()
		missing := f(s)
		if missing == "" {
			return s
		}
		if time.Now().After(end) {
			n.t.Fatalf("not seen: %s: %s\n%s", what, missing, n.story())
		}
		time.Sleep(look)
	}
}

// whole waits until service has so many instances, all ready, and nothing else.
func (n *node) whole(service string, replicas int) []api.Instance {
	n.t.Helper()
	s := n.until(service+" is whole", func(s api.Status) string { return unlessWhole(s, service, replicas) })
	return s.Service(service).Instances
}

func unlessWhole(s api.Status, service string, replicas int) string {
	all := s.Service(service).Instances
	for _, i := range all {
		if i.State != backstay.Running || !i.Ready || i.PID == 0 {
			return fmt.Sprintf("%s is %s, ready %v: %s", i.ID, i.State, i.Ready, i.Because)
		}
	}
	if len(all) != replicas {
		return fmt.Sprintf("%d instances, want %d", len(all), replicas)
	}
	return ""
}

// story is what a failed test shows: status, and the logs of the roles.
func (n *node) story() string {
	var b strings.Builder
	for _, f := range []string{n.dir + "/front.out", n.dirs.Keeper() + "/keeper.log", n.dirs.Log + "/backstay/agent.log", n.dirs.Log + "/backstay/proxy.log"} {
		text, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		fmt.Fprintf(&b, "--- %s\n%s\n", filepath.Base(f), text[max(0, len(text)-3000):])
	}
	return b.String()
}

// clean ends everything: asked first, then by force, and fails the test if that
// was needed.
func (n *node) clean() {
	if n.t.Failed() {
		n.t.Logf("%s", n.story())
	}
	if n.front != nil {
		_ = n.front.Process.Signal(syscall.SIGINT)
		select {
		case <-n.gone:
		case <-time.After(hang):
			n.t.Errorf("the front did not end\n%s", n.story())
			_ = n.front.Process.Kill()
		}
	}
	if left := n.processes(); len(left) > 0 {
		for _, pid := range left {
			n.t.Errorf("left running: %d, %s", pid, n.kindOf(pid))
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	_ = os.RemoveAll(n.dir)
}

// processes returns the pids of all that this node has started: those with its
// directory in their command line or environment.
func (n *node) processes() (pids []int) {
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range all {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		cmdline, _ := os.ReadFile(dir + "/cmdline")
		environ, _ := os.ReadFile(dir + "/environ")
		if pid != os.Getpid() && (bytes.Contains(cmdline, []byte(n.dir)) || bytes.Contains(environ, []byte(n.dir))) {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}

// installShop copies the shop to DIR/shop/VERSION/shop for each version, with
// the flags that make it what it is.
func (n *node) installShop(versions map[string]string) {
	n.t.Helper()
	program, err := os.ReadFile(built(n.t, "shop"))
	if err != nil {
		n.t.Fatal(err)
	}
	for version, flags := range versions {
		dir := filepath.Join(n.dir, "shop", version)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			n.t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "shop"), program, 0o755); err != nil {
			n.t.Fatal(err)
		}
		if flags == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, "shop.flags"), []byte(flags), 0o644); err != nil {
			n.t.Fatal(err)
		}
	}
}
