package daemon

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/host/proc"
	"github.com/backstay/backstay/internal/hosttest"
	"github.com/backstay/backstay/internal/keeperwire"
)

// up starts the front as a process of its own, and returns it with what it says.
func (n *node) up() *os.Process { return n.begin("up") }

// begin starts a command for the directories of n beside what runs there.
func (n *node) begin(verb ...string) *os.Process { n.Helper(); return n.beginIn(os.Environ(), verb...) }

// beginIn is begin with an environment of its own.
func (n *node) beginIn(env []string, verb ...string) *os.Process {
	n.Helper()
	out, err := os.OpenFile(n.dir+"/front.out", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	must(n, err)
	defer out.Close()
	d := n.opt.Dirs
	p, err := os.StartProcess(self, slices.Concat([]string{self}, verb, []string{"--run-dir", d.Run, "--state-dir", d.State, "--log-dir", d.Log, "--config", n.opt.File}),
		&os.ProcAttr{Files: []*os.File{nil, out, out}, Env: env})
	must(n, err)
	n.Cleanup(func() { _ = p.Kill(); _, _ = p.Wait() })
	return p
}

func (n *node) said() string {
	text, err := os.ReadFile(n.dir + "/front.out")
	must(n, err)
	return string(text)
}

// ends waits for the end of p, and returns whether it was a good one.
func (n *node) ends(p *os.Process) bool {
	n.Helper()
	end := make(chan *os.ProcessState, 1)
	go func() {
		s, err := p.Wait()
		if err == nil {
			end <- s
		}
	}()
	select {
	case s := <-end:
		return s.Success()
	case <-time.After(hang):
		n.Fatalf("it does not end\n%s", n.story())
		return false
	}
}

// frontKilled is a node whose front was killed, and its only instance.
func frontKilled(t *testing.T) (n *node, id string) {
	t.Helper()
	n = newNode(t)
	n.write(versionFile)
	front := n.up()
	id = n.whole("shop", 1).Instances[0].ID
	must(t, front.Kill())
	n.ends(front)
	return n, id
}

// keeperKilledForGood is [frontKilled] whose keeper is killed too, and cannot come
// back while the directory boot is in its way.
func keeperKilledForGood(t *testing.T) (n *node, id, boot string) {
	t.Helper()
	n, id = frontKilled(t)
	boot = bootFile(n.opt.Dirs)
	must(t, os.Remove(boot))
	must(t, os.MkdirAll(filepath.Join(boot, "in the way"), 0o700))
	k := n.keeper()
	must(t, k.KillKeeper())
	must(t, k.Close())
	return n, id, boot
}

// A front that is killed costs nothing. The next one takes over what runs, with
// its own file, and ends it; a third one beside it is refused.
func TestNextFrontTakesOver(t *testing.T) {
	t.Parallel()
	n, id := frontKilled(t)
	if got := n.whole("shop", 1).Instances[0].ID; got != id {
		t.Fatalf("after the front's death: %s, had %s", got, id)
	}
	n.write(strings.ReplaceAll(versionFile, "version: v1", "version: v2"))
	second := n.up()
	n.until("the second front's file", func(s api.Status) bool { return s.Services[0].Version == "v2" })
	if !strings.Contains(n.said(), "taking it over") {
		t.Errorf("it does not say that it takes over:\n%s", n.said())
	}
	third := n.up()
	if n.ends(third) || !strings.Contains(n.said(), "another up looks after it") {
		t.Errorf("a third front was not refused:\n%s", n.said())
	}
	n.whole("shop", 1)
	must(t, second.Signal(os.Interrupt))
	if !n.ends(second) {
		t.Errorf("the second front ended badly:\n%s", n.said())
	}
	if k := n.keeper(); k != nil {
		_ = k.Close()
		t.Error("the keeper is still there")
	}
}

// A front whose end was cut short left everything stopped, and perhaps no agent:
// the next one starts it all again.
func TestNextFrontEndsDown(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.write(versionFile)
	first := n.up()
	n.whole("shop", 1)
	must(t, n.client.Down(t.Context(), func(api.Progress) error { return nil }))
	must(t, first.Kill())
	n.ends(first)
	k := n.keeper()
	must(t, endOne(t.Context(), k, agentID))
	must(t, k.Close())
	n.up()
	n.whole("shop", 1)
}

// What a unit has started is not a front's to take over, and a file that cannot
// be applied leaves what it found as it was.
func TestFrontTakesNothingThatIsNotItsOwn(t *testing.T) {
	t.Parallel()
	n := start(t, versionFile)
	n.whole("shop", 1)
	if n.ends(n.up()) || !strings.Contains(n.said(), "already_running") && !strings.Contains(n.said(), "runs here already") {
		t.Errorf("a front took over what it did not start:\n%s", n.said())
	}
	must(t, os.WriteFile(frontLock(n.opt.Dirs), nil, 0o600)) // as if it were a front's
	taken := occupy(t, hosttest.FreePort(t))
	n.write(versionFile + "frontends: { web: { bind: [\"" + taken.Addr().String() + "\"], routes: [{ to: shop }] } }\n")
	if n.ends(n.up()) || !strings.Contains(n.said(), "goes on as it was") {
		t.Errorf("a front whose file is refused:\n%s", n.said())
	}
	if s := n.status(); s.Down != nil || len(n.whole("shop", 1).Instances) != 1 {
		t.Errorf("what ran was touched: %+v", s)
	}
}

// muteKeeper is a node whose keeper takes every connection and says nothing, and a
// context that is soon done.
func muteKeeper(t *testing.T) (*node, context.Context) {
	t.Helper()
	n := newNode(t)
	must(t, n.opt.Dirs.make())
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: filepath.Join(n.opt.Dirs.Keeper(), "sock"), Net: "unixpacket"})
	must(t, err)
	t.Cleanup(func() { _ = l.Close() }) // nobody accepts; the kernel does
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	t.Cleanup(cancel)
	return n, ctx
}

// A keeper that says nothing for a while is there all the same: nothing is taken
// from it, and nothing is started beside it.
func TestKeeperThatIsSlowIsNotNone(t *testing.T) {
	t.Parallel()
	n, ctx := muteKeeper(t)
	if lock, err := claim(ctx, &UpOptions{Options: n.opt, Out: io.Discard}); err == nil {
		_ = lock.Close()
		t.Error("a front took what another has started")
	}
	if vacant(ctx, n.opt.Dirs) == nil {
		t.Error("an agent would be started beside it")
	}
	if exists(frontLock(n.opt.Dirs)) {
		t.Error("it is a front's now")
	}
}

// A front that ends before a slow keeper has answered starts none, and its own end
// is no failure to start one: that would hide why it ends.
func TestFrontThatEndsStartsNoKeeper(t *testing.T) {
	t.Parallel()
	n, ctx := muteKeeper(t)
	if err := keepKeeper(ctx, n.opt, newLastBeat()); err != nil {
		t.Errorf("it ends with %v", err)
	}
	if exists(filepath.Join(n.opt.Dirs.Keeper(), "boot")) {
		t.Error("it has begun to start one")
	}
}

// Between two keepers there is still the agent that a unit has started.
func TestAgentWithoutAKeeperIsNoFronts(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	must(t, n.opt.Dirs.make())
	agent, err := proc.Lock(t.Context(), filepath.Join(n.opt.Dirs.Run, "agent.lock"))
	must(t, err)
	o := &UpOptions{Options: n.opt, Out: io.Discard}
	if _, err := claim(t.Context(), o); codeOf(err) != "already_running" || exists(frontLock(n.opt.Dirs)) {
		t.Errorf("a front: %v", err)
	}
	must(t, agent.Close())
	lock, err := claim(t.Context(), o)
	must(t, err)
	must(t, lock.Close())
}

// What does not end by itself in time is killed with all it has left behind: no
// process is left that no keeper knows.
func TestNothingIsLeftToNobody(t *testing.T) {
	t.Parallel()
	n := start(t, versionFile)
	n.whole("shop", 1)
	ctx := t.Context()
	k := n.keeper()
	defer func() { _ = k.Close() }()
	pidFile := n.dir + "/child.pid"
	must(t, k.Put(ctx, keeperwire.Spec{
		ID: "left-000001", Dir: "/", LogFile: n.dir + "/left.log", LogMaxSize: 1 << 20, LogMaxFiles: 1, Signal: sigTERM, GraceMS: time.Hour.Milliseconds(),
		Argv: []string{"/bin/sh", "-c", "setsid sh -c 'trap \"\" TERM; echo $$ > " + pidFile + "; while :; do sleep 1; done' & exec sleep 100000"},
		Env:  os.Environ(),
	}))
	must(t, k.Start(ctx, "left-000001"))
	var child int
	for end := time.Now().Add(hang); child == 0; time.Sleep(dialEvery) {
		text, _ := os.ReadFile(pidFile)
		child, _ = strconv.Atoi(strings.TrimSpace(string(text)))
		if time.Now().After(end) {
			t.Fatalf("it has no child\n%s", n.story())
		}
	}
	brief, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	must(t, endOne(brief, k, "left-000001"))
	for end := time.Now().Add(hang); ; time.Sleep(dialEvery) { // by itself it would never end
		st, err := proc.Stat(child)
		if err != nil || st.State == 'Z' {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("its child is still there: %+v", st)
		}
	}
	slots, err := k.List(ctx)
	must(t, err)
	if slices.ContainsFunc(slots, func(s keeperwire.Slot) bool { return s.ID == "left-000001" }) {
		t.Errorf("the keeper still has it: %+v", slots)
	}
}

// A front without anybody to read it goes on.
func TestFrontWithoutReaderGoesOn(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.write(versionFile)
	r, w, err := os.Pipe()
	must(t, err)
	d := n.opt.Dirs
	p, err := os.StartProcess(self, []string{self, "up", "--run-dir", d.Run, "--state-dir", d.State, "--log-dir", d.Log, "--config", n.opt.File},
		&os.ProcAttr{Files: []*os.File{nil, w, w}, Env: os.Environ()})
	must(t, err)
	must(t, w.Close())
	_, err = io.ReadAtLeast(r, make([]byte, 1), 1)
	must(t, err)
	must(t, r.Close())
	n.whole("shop", 1)
	must(t, p.Signal(os.Interrupt))
	n.ends(p)
}

// What is started beside a backstay that runs says so, and changes nothing of it:
// not even whose it is.
func TestAgentAndRoleBesideOneThatRunsAreRefused(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.write(versionFile)
	front := n.up()
	n.whole("shop", 1)
	before := n.status()
	for _, c := range []struct{ verb, want string }{{"agent", "runs here already"}, {"role agent", "nobody else"}} {
		if n.ends(n.begin(strings.Fields(c.verb)...)) || !strings.Contains(n.said(), c.want) {
			t.Errorf("%s:\n%s", c.verb, n.said())
		}
	}
	if !exists(frontLock(n.opt.Dirs)) {
		t.Error("the claim of the front is gone")
	}
	if s := n.status(); s.Role("agent").PID != before.Role("agent").PID || s.Role("keeper").PID != before.Role("keeper").PID {
		t.Error("there is another agent, or another keeper")
	}
	must(t, front.Signal(os.Interrupt))
	if !n.ends(front) {
		t.Errorf("the front did not end well:\n%s", n.said())
	}
}

// A front that cannot start a keeper takes with it the agent that has none: it
// ends by itself. What runs is left to the next front, which finds it.
func TestFrontWithoutKeeperLeavesNoAgent(t *testing.T) {
	t.Parallel()
	n, id, boot := keeperKilledForGood(t)
	if n.ends(n.up()) {
		t.Error("a front without a keeper ended well")
	}
	if !n.agentEnded() {
		t.Errorf("the agent is left\n%s", n.story())
	}
	events, err := filepath.Glob(filepath.Join(n.opt.Dirs.State, "events", "*"))
	must(t, err)
	told := false
	for _, path := range events {
		text, err := os.ReadFile(path)
		must(t, err)
		told = told || strings.Contains(string(text), "no keeper can be had")
	}
	if !told {
		t.Error("it does not say why it ends")
	}
	must(t, os.RemoveAll(boot))
	last := n.up()
	if got := n.whole("shop", 1).Instances[0].ID; got != id {
		t.Errorf("%s runs, %s did", got, id)
	}
	must(t, last.Signal(os.Interrupt))
	if !n.ends(last) {
		t.Errorf("the last front ended badly:\n%s", n.said())
	}
}

// agentEnded reports whether no agent is left, or not for long.
func (n *node) agentEnded() bool {
	n.Helper()
	ctx, cancel := context.WithTimeout(n.Context(), hang)
	defer cancel()
	lock, err := proc.Lock(ctx, filepath.Join(n.opt.Dirs.Run, "agent.lock"))
	if err == nil {
		_ = lock.Close()
	}
	return err == nil
}

// A front whose first start fails takes with it what it began.
func TestFrontThatCannotBeginLeavesNothing(t *testing.T) {
	t.Parallel()
	for what, hinder := range map[string]func(*node){
		"a stranger has the address": func(n *node) {
			taken := occupy(n.T, hosttest.FreePort(n.T))
			n.write(versionFile + "frontends: { web: { bind: [\"" + taken.Addr().String() + "\"], routes: [{ to: shop }] } }\n")
		},
		"the program of the service is not there": func(n *node) { n.write(strings.ReplaceAll(versionFile, "SELF", "DIR/none")) },
		"the keeper has no room": func(n *node) {
			must(n, os.MkdirAll(filepath.Join(n.opt.Dirs.Keeper(), "boot", "in the way"), 0o700))
		},
		"the keeper cannot listen": func(n *node) {
			must(n, os.MkdirAll(filepath.Join(n.opt.Dirs.Keeper(), "sock", "in the way"), 0o700))
		},
		"the run directory is a file": func(n *node) { must(n, os.WriteFile(n.opt.Dirs.Run, nil, 0o600)) },
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			n := newNode(t)
			n.write(versionFile)
			hinder(n)
			if n.ends(n.up()) {
				t.Error("it ended well")
			}
			if k := n.keeper(); k != nil {
				_ = k.Close()
				t.Errorf("a keeper is left\n%s", n.story())
			}
			if info, err := os.Stat(n.opt.Dirs.Run); err == nil && info.IsDir() && !n.agentEnded() {
				t.Errorf("an agent is left\n%s", n.story())
			}
		})
	}
}

// proudFile is of a program as PostgreSQL is: it does not start while there is a
// process of the pid that it has left in its file.
const proudFile = `schema: 1
services:
  proud:
    run:
      exec:
        - /bin/sh
        - -c
        - pid=$(cat DIR/pid 2>/dev/null) && kill -0 $pid 2>/dev/null && echo it is there >> DIR/refused && exit 1; echo $$ > DIR/pid; exec sleep 100000
      user: USER
    deploy: { min_ready: 0s }
`

// Who was started by a keeper that is gone is a child of the front, or of the
// agent, by then: as a zombie it would keep the next run from starting.
func TestProcessOfADeadKeeperIsNoZombieForLong(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.write(proudFile)
	front := n.up()
	one := func() (pid int) {
		n.until("proud runs", func(s api.Status) bool {
			all := s.Service("proud").Instances
			if len(all) == 1 && all[0].Ready {
				pid = all[0].PID
			}
			return pid > 0
		})
		return pid
	}
	another := func(before int) {
		n.until("another proud", func(s api.Status) bool {
			all := s.Service("proud").Instances
			return len(all) == 1 && all[0].Ready && all[0].PID > 0 && all[0].PID != before
		})
		if text, err := os.ReadFile(n.dir + "/refused"); err == nil {
			t.Errorf("it has met its zombie: %s", text)
		}
	}
	kill := func(pid int) {
		p, err := os.FindProcess(pid)
		must(t, err)
		must(t, p.Kill())
	}
	for _, who := range []string{"front", "agent"} {
		pid, k := one(), n.keeper()
		must(t, k.KillKeeper())
		must(t, k.Close())
		kill(pid)
		another(pid) // both at once
		n.until("a keeper", func(s api.Status) bool { return s.Role("keeper").Running })
		n.kill("keeper")
		pid = one()
		kill(pid)
		another(pid) // one that was adopted
		if who == "front" {
			must(t, front.Kill())
			n.ends(front)
			n.kill("keeper") // the next one is the agent's child
		}
	}
}
