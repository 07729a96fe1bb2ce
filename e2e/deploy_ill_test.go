package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
)

// What may go wrong around a deploy: there is no way back, both releases are
// ill, the proxy hangs, the host comes back.
func TestDeploysThatEndBadly(t *testing.T) {
	o := startOdd(t)
	for _, c := range []struct {
		name string
		run  func(*oddNode)
	}{
		{"no way back is seen before anything is touched", (*oddNode).noWayBack},
		{"a hung proxy stops nobody", (*oddNode).hungProxy},
		{"both ill is stuck once", (*oddNode).bothIll},
		{"what was undone is not tried again by itself", (*oddNode).notAgain},
	} {
		t.Run(c.name, func(t *testing.T) {
			o.on(t)
			c.run(o)
		})
		if t.Failed() {
			t.Fatal("the next case needs a node that is as it was")
		}
	}
}

func (o *oddNode) noWayBack() {
	first, second := o.now(), o.install("")
	program, err := os.ReadFile(o.program(first))
	if err != nil {
		o.t.Fatal(err)
	}
	refused := func(what string, args ...string) {
		o.t.Helper()
		before := fmt.Sprint(o.odds())
		text := o.ends(backstay.ExitRefused, args...)
		if !strings.Contains(text, o.program(first)) || !strings.Contains(text, "nothing has changed") {
			o.t.Errorf("%s is not told: %s", what, text)
		}
		if after := fmt.Sprint(o.odds()); after != before {
			o.t.Errorf("%s: processes were %s, are %s", what, before, after)
		}
	}
	o.underLoad(func() {
		o.replace(first, append(program, 0))
		refused("that the release in force was overwritten", "deploy", "odd", "--version", second)
		if err := os.Remove(o.program(first)); err != nil {
			o.t.Fatal(err)
		}
		refused("that the release in force was deleted", "deploy", "odd", "--version", second)
		o.replace(first, program)
		o.ends(backstay.ExitOK, "deploy", "odd", "--version", second)
		if err := os.Remove(o.program(first)); err != nil {
			o.t.Fatal(err)
		}
		refused("that the release before was deleted", "rollback", "odd")
		o.replace(first, append(program, 0))
		refused("that the release before was overwritten", "rollback", "odd")
		if releases := o.must("releases", "odd"); !strings.Contains(releases, "not restorable") {
			o.t.Errorf("releases does not tell: %s", releases)
		}
		o.replace(first, program)
		o.ends(backstay.ExitOK, "rollback", "odd")
		o.at(first)
	})
}

// replace puts another program in the place of a version's, as a copy that is
// renamed: one that runs cannot be written to.
func (o *oddNode) replace(version string, program []byte) {
	o.t.Helper()
	beside := filepath.Join(o.dir, "app", "beside")
	if err := os.WriteFile(beside, program, 0o755); err != nil {
		o.t.Fatal(err)
	}
	if err := os.Rename(beside, o.program(version)); err != nil {
		o.t.Fatal(err)
	}
}

// hungProxy freezes the proxy in a deploy: while it has acknowledged nothing, no
// instance that it may send requests to is stopped. It is killed, and the next
// one sees the deploy through.
func (o *oddNode) hungProxy() {
	const conns = 8
	version := o.install("")
	old := o.whole("odd", 3)
	proxy := o.status().Role("proxy").PID
	l := startLoad(o.t, o.address, conns, 2*time.Millisecond)
	d := o.begin(version)
	if err := syscall.Kill(proxy, syscall.SIGSTOP); err != nil {
		o.t.Fatal(err)
	}
	o.until("the proxy is another", func(s api.Status) string {
		gone := 0
		for _, i := range old {
			if syscall.Kill(i.PID, 0) != nil {
				gone++
			}
		}
		switch {
		case syscall.Kill(proxy, 0) != nil:
			return ""
		case gone > 0:
			o.t.Fatalf("%d old instances were stopped though the proxy had not acknowledged it", gone)
		}
		return "it is frozen"
	})
	if d = o.watched(d.ID, func(api.Progress) {}); d.State != api.DeployDone {
		o.t.Errorf("the deploy is %s: %s", d.State, d.Reason)
	}
	o.at(version)
	l.end()
	if len(l.failures) > conns {
		o.t.Errorf("%d requests failed, %d connections were open when the proxy died: %v", len(l.failures), conns, l.failures)
	}
	l.eachOrderOnce(o.dir + "/odd")
	o.underLoad(func() {})
}

func (o *oddNode) bothIll() {
	o.with("min_ready: 300ms, progress_deadline: 2s", quickStop)
	old := o.now()
	ill := time.AfterFunc(500*time.Millisecond, func() { o.tell(old, "ill") })
	defer ill.Stop()
	text := o.ends(backstay.ExitPerson, "deploy", "odd", "--version", o.install("--ready-after 1h"))
	if !strings.Contains(text, "stuck") || !strings.Contains(text, "and back at") {
		o.t.Errorf("what is wrong with both is not told: %s", text)
	}
	stuck, processes := o.reaches(api.DeployStuck), fmt.Sprint(o.odds())
	time.Sleep(3 * time.Second) // in which a planner that is not sure goes back and forth
	if now := o.reaches(api.DeployStuck); now.ID != stuck.ID {
		o.t.Errorf("%s is stuck, %s was", now.ID, stuck.ID)
	}
	if after := fmt.Sprint(o.odds()); after != processes {
		o.t.Errorf("processes were %s, are %s", processes, after)
	}
	if why := o.must("why", "deploy/odd"); !strings.Contains(why, "stuck") {
		o.t.Errorf("why does not say it: %s", why)
	}
	o.untell(old, "ill")
	o.until("what got well serves", func(s api.Status) string {
		for _, i := range s.Service("odd").Instances {
			if i.Ready {
				return ""
			}
		}
		return "nothing is ready"
	})
	version := o.install("")
	o.underLoad(func() { o.ends(backstay.ExitOK, "deploy", "odd", "--version", version) })
	o.at(version)
}

func (o *oddNode) notAgain() {
	good, bad := o.now(), o.install("--die-after 50ms")
	o.ends(backstay.ExitRolledBack, "deploy", "odd", "--version", bad)
	tries := o.tries(bad)
	check := func(after string) {
		o.t.Helper()
		o.until("the agent is back", rolesOf("agent"))
		time.Sleep(500 * time.Millisecond) // in which one that tries again does
		o.at(good)
		if now := o.tries(bad); now != tries {
			o.t.Errorf("after %s the release that was undone ran %d times, %d before", after, now, tries)
		}
	}
	o.mustKill("agent", syscall.SIGHUP)
	check("SIGHUP")
	o.mustKill("agent", syscall.SIGKILL)
	check("kill -9 of the agent")
	o.taken()
	check("apply")
	if err := o.front.Process.Signal(syscall.SIGINT); err != nil {
		o.t.Fatal(err)
	}
	<-o.gone
	o.start()
	o.whole("odd", 3)
	check("another up")
	text := o.ends(backstay.ExitRefused, "deploy", "odd", "--version", bad)
	if !strings.Contains(text, "--again") {
		o.t.Errorf("the way to try again is not told: %s", text)
	}
	if err := os.WriteFile(o.mood(bad, "flags"), nil, 0o644); err != nil {
		o.t.Fatal(err)
	}
	o.underLoad(func() { o.ends(backstay.ExitOK, "deploy", "odd", "--version", bad, "--again") })
	o.at(bad)
}

// tries returns how many processes of a version there ever were.
func (o *oddNode) tries(version string) int {
	o.t.Helper()
	text, err := os.ReadFile(o.mood(version, "count"))
	if err != nil {
		o.t.Fatal(err)
	}
	return len(text)
}
