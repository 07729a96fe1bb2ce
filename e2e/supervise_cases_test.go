package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/internal/hosttest"
)

// What may go wrong with services and their supervision, each case with a file
// of its own on one node. The bystander must never notice.
func TestSuperviseCases(t *testing.T) {
	n := newNode(t)
	for _, dir := range []string{"x", "empty"} {
		if err := os.Mkdir(filepath.Join(n.dir, dir), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(n.dir, dir), 0o777); err != nil { // nobody writes there
			t.Fatal(err)
		}
	}
	n.write(header)
	n.start()
	before := n.whole("bystander", 1)[0]
	alone := func() {}
	for _, c := range []struct {
		name string
		run  func(*node)
	}{
		{"dependencies hold back who needs them", (*node).dependencies},
		{"a dependency that fails for ever is named", (*node).failedDependency},
		{"a second of each is begun", func(n *node) { alone = n.secondOfEach() }}, // it gives up while the others go on
		{"what cannot be started is named", (*node).cannotStart},
		{"crash loops of fifty cost little", (*node).crashLoops},
		{"nothing of a tree survives its stop", (*node).treesStop},
		{"who will not end is ended", (*node).willNotEnd},
		{"a full disk of logs hurts nobody", (*node).fullDisk},
		{"a line of 100 MB", (*node).endlessLine},
		{"probes that hang, fork and fill their output", (*node).oddProbes},
		{"a user that is deleted", (*node).deletedUser},
	} {
		t.Run(c.name, func(t *testing.T) {
			was := n.t
			n.t = t
			defer func() { n.t = was }()
			c.run(n)
		})
	}
	alone()
	if now := n.whole("bystander", 1)[0]; now.PID != before.PID || now.Starts != before.Starts {
		t.Errorf("the bystander is pid %d after %d starts, was pid %d", now.PID, now.Starts, before.PID)
	}
}

const header = `schema: 1
services:
  bystander:
    run: { exec: [/bin/sleep, "100000"], user: USER }
    deploy: { min_ready: 0s }
`

// serve applies a file with these services and the bystander.
func (n *node) serve(services string) {
	n.t.Helper()
	n.write(header + services)
	n.must("apply", n.file, "--detach")
}

// one waits until what is said of the only instance of service.
func (n *node) one(service, what string, f func(api.Instance) bool) api.Instance {
	n.t.Helper()
	s := n.until(service+" "+what, func(s api.Status) string {
		all := s.Service(service).Instances
		if len(all) != 1 {
			return fmt.Sprintf("%d instances", len(all))
		}
		if i := all[0]; !f(i) {
			return fmt.Sprintf("%s is %s: %s", i.ID, i.State, i.Because)
		}
		return ""
	})
	return s.Service(service).Instances[0]
}

func is(state backstay.InstanceState) func(api.Instance) bool {
	return func(i api.Instance) bool { return i.State == state }
}

func isReady(i api.Instance) bool { return i.State == backstay.Running && i.Ready }

func (n *node) dependencies() {
	n.serve(`
  prepare:
    run: { exec: [/bin/sh, -c, "sleep 0.5"], user: USER }
    restart: { policy: on_failure }
  db:
    run: { exec: [/bin/sh, -c, "sleep 0.7; echo > DIR/x/open; exec sleep 100000"], user: USER }
    probes: { readiness: { exec: [/usr/bin/test, -e, DIR/x/open], period: 250ms, timeout: 250ms } }
    depends_on: { prepare: completed }
  side:
    run: { exec: [/bin/sleep, "100000"], user: USER }
    depends_on: { db: started }
  web:
    run: { exec: [/bin/sleep, "100000"], user: USER }
    depends_on: { db: ready, side: started }
`)
	web := n.one("web", "runs", isReady)
	prepare, db, side := n.one("prepare", "is done", is(backstay.Completed)), n.one("db", "is ready", isReady), n.one("side", "runs", isReady)
	for _, order := range []struct {
		first, second string
		a, b          time.Time
	}{
		{"the end of prepare", "the start of db", prepare.Last.At, db.Started},
		{"the start of db", "the start of side", db.Started, side.Started},
		{"db is ready", "the start of web", db.ReadySince, web.Started},
		{"the start of side", "the start of web", side.Started, web.Started},
	} {
		if order.b.Before(order.a) {
			n.t.Errorf("%s at %v comes before %s at %v", order.second, order.b, order.first, order.a)
		}
	}
	if !side.Started.Before(db.ReadySince) {
		n.t.Error("side waited for db to be ready, started was enough")
	}
}

func (n *node) failedDependency() {
	broken := `
  base:
    run: { exec: [/bin/sh, -c, "echo no disk; exit 7"], user: USER }
    restart: { backoff: 20ms..50ms, limit: 3/1m }
  above:
    run: { exec: [/bin/sleep, "100000"], user: USER }
    depends_on: { base: ready }
`
	n.serve(broken)
	base := n.one("base", "has failed, and its log is read", func(i api.Instance) bool { return i.State == backstay.Failed && len(i.LastLog) > 0 })
	if !strings.Contains(base.Because, "exited 7") || !strings.Contains(base.Because, "no disk") || base.NextStart.IsZero() {
		n.t.Errorf("base: %q, next start %v", base.Because, base.NextStart)
	}
	above := n.one("above", "waits", is(backstay.Waiting))
	if !slices.Contains(above.WaitsFor, "base") || above.PID != 0 {
		n.t.Errorf("above waits for %v with pid %d", above.WaitsFor, above.PID)
	}
	for ref, want := range map[string][]string{
		"service/base": {"exited 7", "no disk"}, "instance/" + base.ID: {"exited 7", "no disk"}, "instance/" + above.ID: {"base"},
	} {
		why := n.must("why", ref)
		for _, w := range want {
			if !strings.Contains(why, w) {
				n.t.Errorf("why %s lacks %q: %s", ref, w, why)
			}
		}
	}
	if _, _, status := n.cli("status"); status != int(backstay.ExitDegraded) {
		n.t.Errorf("status ended with %d though a service has failed", status)
	}
	_, _, _ = n.cli("restart", "instance/"+above.ID) // whatever it says, it is no start
	if again := n.one("above", "still waits", is(backstay.Waiting)); again.PID != 0 || again.ID != above.ID {
		n.t.Errorf("a restart while waiting has led to %+v", again.Instance)
	}
	if err := syscall.Kill(n.status().Role("agent").PID, syscall.SIGKILL); err != nil {
		n.t.Fatal(err)
	}
	n.until("the agent is back", rolesOf("agent"))
	n.one("above", "waits with the next agent", is(backstay.Waiting))
	n.serve(strings.Replace(broken, "echo no disk; exit 7", "exec sleep 100000", 1))
	n.one("above", "runs", isReady)
	n.write(header + strings.Replace(broken, "USER }\n    restart", "USER }\n    depends_on: { above: ready }\n    restart", 1))
	_, errs, status := n.cli("apply", n.file)
	if status != int(backstay.ExitUsage) || !strings.Contains(errs, "base") || !strings.Contains(errs, "above") {
		n.t.Errorf("a cycle ended with %d: %s", status, errs)
	}
	n.one("above", "runs as before", isReady)
	n.serve("")
}

func (n *node) cannotStart() {
	for name, c := range map[string]struct{ run, want string }{
		"missing program":    {`exec: [DIR/x/missing], user: USER`, "DIR/x/missing"},
		"directory":          {`exec: [DIR/x], user: USER`, "DIR/x"},
		"missing user":       {`exec: [/bin/sleep, "1"], user: nosuchuser`, "nosuchuser"},
		"missing directory":  {`exec: [/bin/sleep, "1"], user: USER, dir: DIR/x/nowhere`, "DIR/x/nowhere"},
		"not executable":     {`exec: [DIR/backstay.yaml], user: USER`, "DIR/backstay.yaml"},
		"missing env file":   {`exec: [/bin/sleep, "1"], user: USER, env_file: [DIR/x/env]`, "DIR/x/env"},
		"relative directory": {`exec: [/bin/sleep, "1"], user: USER, dir: x`, "dir"},
	} {
		if name == "missing user" && os.Geteuid() != 0 {
			continue // without root nobody changes users
		}
		n.write(header + "  odd:\n    run: { " + c.run + " }\n    restart: { backoff: 10ms..20ms, limit: 2/1m }\n")
		out, errs, status := n.cli("apply", n.file, "--detach")
		if status == 0 { // then it shows at the start
			i := n.one("odd", "fails", func(i api.Instance) bool { return i.Last != nil && i.Last.Stage != "" })
			errs = i.Because + i.Last.String()
		}
		if want := n.fill(c.want); !strings.Contains(errs, want) {
			n.t.Errorf("%s: %q is not named: %s%s", name, want, out, errs)
		}
	}
	n.serve("")
}

func (n *node) fullDisk() {
	hosttest.NeedRoot(n.t, "to mount a small disk")
	logs := filepath.Join(n.dirs.Log, "noisy")
	if err := os.MkdirAll(logs, 0o755); err != nil {
		n.t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", logs, "tmpfs", 0, "size=1m"); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = syscall.Unmount(logs, syscall.MNT_DETACH) })
	n.serve(`
  noisy:
    run: { exec: [/bin/sh, -c, "yes 'a line of the log' | head -c 20000000; echo > DIR/x/through; exec sleep 100000"], user: USER }
`)
	n.one("noisy", "got through", func(i api.Instance) bool {
		_, err := os.Stat(filepath.Join(n.dir, "x", "through"))
		return err == nil && isReady(i) && i.Starts == 1
	})
	if events := n.must("events"); !strings.Contains(events, string(backstay.LogDropped)) {
		n.t.Errorf("that bytes were dropped is not told: %s", events)
	}
	n.serve("")
}

func (n *node) endlessLine() {
	const size = 100_000_000
	n.serve(`
  endless:
    run: { exec: [/bin/sh, -c, "head -c 100000000 /dev/zero | tr '\\0' x; echo; echo the end; exec sleep 100000"], user: USER }
    logs: { max_size: 200MiB }
`)
	i := n.one("endless", "runs", isReady)
	n.until("all is written", func(api.Status) string {
		info, err := os.Stat(i.LogFile)
		if err != nil || info.Size() < size+9 {
			return fmt.Sprintf("%v, %v", info, err)
		}
		return ""
	})
	if info, err := os.Stat(i.LogFile); err != nil || info.Size() != size+9 {
		n.t.Errorf("%d bytes are in the file, want %d, %v", info.Size(), size+9, err)
	}
	lines := strings.Split(strings.TrimSpace(n.must("logs", "endless", "-n", "2")), "\n")
	if len(lines) != 2 || !strings.HasSuffix(lines[1], "the end") || len(lines[0]) > 1<<17 {
		n.t.Errorf("logs prints %d lines, the first of %d bytes, the last %q", len(lines), len(lines[0]), lines[len(lines)-1])
	}
	n.serve("")
}

func (n *node) oddProbes() {
	n.serve(`
  hangs:
    run: { exec: [/bin/sleep, "100000"], user: USER }
    probes: { readiness: { exec: [/bin/sh, -c, "trap '' TERM; setsid sleep 54321 & sleep 54321"], period: 500ms, timeout: 300ms } }
  fills:
    run: { exec: [/bin/sleep, "100000"], user: USER }
    probes: { readiness: { exec: [/bin/sh, -c, "head -c 10000000 /dev/zero; exit 0"], period: 500ms, timeout: 500ms } }
`)
	n.one("fills", "is ready", isReady)
	asked := func(times int) func(api.Instance) bool {
		return func(i api.Instance) bool { return len(i.Probes) > 0 && i.Probes[0].Streak >= times }
	}
	i := n.one("hangs", "was asked and did not answer", asked(6))
	if i.Ready || i.Starts != 1 || !strings.Contains(i.Probes[0].Output, "no answer in") {
		n.t.Errorf("hangs is ready %v after %d starts: %q", i.Ready, i.Starts, i.Probes[0].Output)
	}
	if got := len(n.of("hangs")); got > 1+3 { // itself, and one probe that is being asked
		n.t.Errorf("%d processes of hangs", got)
	}
	n.serve("")
	n.until("nothing of the probes is left", func(api.Status) string {
		if left := n.of("hangs"); len(left) > 0 {
			return fmt.Sprint(left)
		}
		return ""
	})
}

// secondOfEach starts another front, another agent and another keeper on the
// same directories. alone checks that they have ended and changed nothing.
func (n *node) secondOfEach() (alone func()) {
	n.t.Helper()
	before := n.status()
	if out, errs, status := n.cli("up", n.file); status != int(backstay.ExitRefused) {
		n.t.Errorf("a second up ended with %d: %s%s", status, out, errs)
	}
	agent, keeper := n.again("agent"), n.again("keeper")
	return func() {
		n.t.Helper()
		for kind, second := range map[string]*exec.Cmd{"agent": agent, "keeper": keeper} {
			hung := time.AfterFunc(hang, func() { _ = second.Process.Kill() })
			err := second.Wait()
			if !hung.Stop() {
				n.t.Errorf("a second %s ran beside the first", kind)
			}
			n.t.Logf("a second %s ended: %v", kind, err)
		}
		after := n.status()
		for _, kind := range []string{"agent", "keeper"} {
			a, b := before.Role(kind), after.Role(kind)
			if got := n.pidsOf(kind); a.PID != b.PID || !b.Running || len(got) != 1 {
				n.t.Errorf("%s was pid %d, is pid %d of %v", kind, a.PID, b.PID, got)
			}
		}
	}
}

// again starts a role as it runs already.
func (n *node) again(kind string) *exec.Cmd {
	n.t.Helper()
	pid := n.pidsOf(kind)[0]
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		n.t.Fatal(err)
	}
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		n.t.Fatal(err)
	}
	args := strings.Split(strings.TrimSuffix(string(cmdline), "\x00"), "\x00")
	second := exec.Command(exe, args[1:]...)
	if err := second.Start(); err != nil {
		n.t.Fatal(err)
	}
	return second
}

// deletedUser removes the user that a service runs as: what runs goes on and
// comes back, and what would start anew names the user.
func (n *node) deletedUser() {
	hosttest.NeedRoot(n.t, "to delete a user")
	name := fmt.Sprintf("bs%d", os.Getpid())
	command(n.t, "useradd", "--no-create-home", "--system", name)
	deleted := false
	n.t.Cleanup(func() {
		if !deleted {
			command(n.t, "userdel", name)
		}
	})
	file := "\n  owned:\n    run: { exec: [/bin/sleep, \"100000\"], user: " + name + " }\n    deploy: { min_ready: 0s }\n"
	n.serve(file)
	was := n.one("owned", "runs", isReady)
	command(n.t, "userdel", "--force", name)
	deleted = true
	if err := syscall.Kill(was.PID, syscall.SIGKILL); err != nil {
		n.t.Fatal(err)
	}
	n.one("owned", "runs again", func(i api.Instance) bool { return isReady(i) && i.PID != was.PID })
	out, errs, status := n.cli("restart", "owned")
	if status == 0 || !strings.Contains(out+errs, name) {
		n.t.Errorf("a restart ended with %d and does not name the user: %s%s", status, out, errs)
	}
	n.one("owned", "still runs", isReady)
	n.write(header + strings.Replace(file, "100000", "100001", 1))
	if out, errs, status = n.cli("apply", n.file); status == 0 || !strings.Contains(out+errs, name) {
		n.t.Errorf("apply ended with %d and does not name the user: %s%s", status, out, errs)
	}
	n.serve("")
}

func command(tb testing.TB, argv ...string) {
	tb.Helper()
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		tb.Fatalf("%s: %v: %s", strings.Join(argv, " "), err, out)
	}
}
