package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/api/client"
	"github.com/backstay/backstay/host/proc"
	"github.com/backstay/backstay/internal/hosttest"
)

// smallDisk mounts a disk of its own on dir, of the size that the state needs at least.
func (n *node) smallDisk(dir string) {
	n.Helper()
	hosttest.NeedRoot(n, "to mount a disk of its own")
	must(n, os.MkdirAll(dir, 0o755))
	_, err := proc.Output(n.Context(), []string{"mount", "-t", "tmpfs", "-o", "size=8m", "backstay-test", dir}, 4096)
	must(n, err)
	n.disks = append(n.disks, dir)
}

// stuff fills the disk of dir to the last byte, and returns what makes room again.
func (n *node) stuff(dir string) (unstuff func()) {
	n.Helper()
	path := filepath.Join(dir, "stuffing")
	f, err := os.Create(path)
	must(n, err)
	for _, size := range []int{64 << 10, 1} {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, size))
		}
		if !strings.Contains(err.Error(), "no space left") {
			n.Fatal(err)
		}
	}
	must(n, f.Close())
	return func() { must(n, os.Remove(path)) }
}

// problem returns the problem with code in s that has words in it; empty is none.
func problem(s api.Status, code, words string) string {
	for _, p := range s.Problems {
		if p.Code == code && strings.Contains(p.What+p.Where, words) {
			return p.What
		}
	}
	return ""
}

// A keeper needs no room to come back: whoever had a disk full and a keeper killed
// would else have nothing started again, for as long as the disk is full.
func TestKeeperComesBackWithTheRunDirectoryFull(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.smallDisk(n.opt.Dirs.Run)
	n.write(versionFile)
	front := n.up()
	id := n.whole("shop", 1).Instances[0].ID
	unstuff := n.stuff(n.opt.Dirs.Run)
	n.kill("keeper") // the front starts one
	n.until("the full disk", func(s api.Status) bool { return problem(s, "disk", n.opt.Dirs.Run) != "" })
	must(t, front.Kill())
	n.ends(front)
	n.kill("keeper") // the agent starts one
	if got := n.whole("shop", 1).Instances[0].ID; got != id {
		t.Errorf("%s runs, %s did", got, id)
	}
	second := n.beginIn(append(os.Environ(), "ANOTHER=terminal"), "up") // its spec of the agent is another one, for which there is no room
	n.until("a front", func(api.Status) bool { return strings.Contains(n.said(), "taking it over") })
	must(t, second.Kill())
	n.ends(second)
	unstuff()
	n.until("no problem", func(s api.Status) bool { return len(s.Problems) == 0 })
}

// What is dead is never shown as running, and who looks is told what is wrong.
func TestKeeperThatCannotComeBackIsToldOf(t *testing.T) {
	t.Parallel()
	n, _, boot := keeperKilledForGood(t)
	s := n.until("the keeper is gone", func(s api.Status) bool { return problem(s, "keeper_gone", "boot") != "" })
	if r := s.Role("keeper"); r.Running || r.PID != 0 || r.Because == "" {
		t.Errorf("it is shown as %+v", r)
	}
	p, err := os.FindProcess(s.Role("proxy").PID)
	if err == nil && s.Role("proxy").PID > 0 {
		must(t, p.Kill())
		n.until("the proxy is gone too", func(s api.Status) bool { return !s.Role("proxy").Running })
	}
	must(t, os.RemoveAll(boot))
	n.until("a keeper", func(s api.Status) bool {
		return s.Role("keeper").Running && problem(s, "keeper_gone", "") == ""
	})
}

// A state directory that takes nothing is told of at once, and no longer than it
// is so.
func TestFullStateDirectoryIsAProblemUntilThereIsRoom(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.smallDisk(n.opt.Dirs.State)
	n.write(versionFile)
	front := n.up()
	n.whole("shop", 1)
	if s := n.status(); len(s.Problems) > 0 {
		t.Fatalf("before: %+v", s.Problems)
	}
	unstuff := n.stuff(n.opt.Dirs.State)
	if err := n.apply(strings.ReplaceAll(versionFile, "version: v1", "version: v2")); err == nil {
		t.Fatal("a change was taken")
	}
	if s := n.status(); problem(s, "disk", n.opt.Dirs.State) == "" {
		t.Errorf("just refused, and status has %+v", s.Problems)
	}
	unstuff()
	n.until("no problem", func(s api.Status) bool { return len(s.Problems) == 0 })
	must(t, n.apply(strings.ReplaceAll(versionFile, "version: v1", "version: v2")))
	must(t, front.Signal(os.Interrupt))
	n.ends(front)
}

// A run directory that had the state once and has another by now is no owner of it.
func TestStateIsFreeOnceItsRunDirectoryHasAnother(t *testing.T) {
	t.Parallel()
	n, other := start(t, versionFile), newNode(t)
	n.whole("shop", 1)
	must(t, other.opt.Dirs.make())
	must(t, os.WriteFile(stateLock(other.opt.Dirs), []byte(n.opt.Dirs.Run+"\n"), 0o600))
	must(t, freeState(t.Context(), other.opt.Dirs))
	other.opt.Dirs.State = n.opt.Dirs.State
	if err := freeState(t.Context(), other.opt.Dirs); codeOf(err) != "already_running" {
		t.Errorf("the state that it has: %v", err)
	}
}

// Two with one state directory would each undo what the other has done.
func TestStateDirectoryHasOneAgent(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.write(versionFile)
	first := n.up()
	n.whole("shop", 1)
	other := *n
	other.opt.Dirs.Run = filepath.Join(n.dir, "other")
	for _, verb := range []string{"up", "agent"} {
		if n.ends(other.begin(verb)) || !strings.Contains(n.said(), "has the state directory") || !strings.Contains(n.said(), n.opt.Dirs.Run) {
			t.Errorf("%s with the same state directory:\n%s", verb, n.said())
		}
		if exists(other.opt.Dirs.Keeper()) {
			t.Errorf("%s has begun something", verb)
		}
	}
	n.kill("agent") // the lock has gone with it
	k := n.keeper()
	must(t, endOne(t.Context(), k, agentID))
	must(t, k.Close())
	if n.ends(other.begin("up")) { // nobody has the lock, and the keeper would start the one who does
		t.Error("it was taken while its agent was away")
	}
	must(t, first.Signal(os.Interrupt))
	n.ends(first)
	n.opt.Dirs.Run = other.opt.Dirs.Run // who had it has ended
	n.client = client.New(client.Options{Socket: n.opt.Dirs.API()})
	second := n.up()
	n.whole("shop", 1)
	must(t, second.Signal(os.Interrupt))
	n.ends(second)
}
