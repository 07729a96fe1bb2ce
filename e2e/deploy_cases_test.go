package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
)

// What may go wrong in a deploy, each case under load on one node. Every case
// leaves the service whole.
func TestDeployCases(t *testing.T) {
	o := startOdd(t)
	for _, c := range []struct {
		name string
		run  func(*oddNode)
	}{
		{"a release without its program is refused", (*oddNode).withoutProgram},
		{"a release that dies young is undone", (*oddNode).diesYoung},
		{"a release that is never ready is undone", (*oddNode).neverReady},
		{"a release whose readiness flaps is undone", (*oddNode).flaps},
		{"one flake of the fourth instance is replaced", (*oddNode).fourthFlakes},
		{"an old one dies while the new one is not ready", (*oddNode).oldDies},
		{"of two deploys in one millisecond one is refused", (*oddNode).twoAtOnce},
		{"a deploy is superseded while old ones drain", (*oddNode).supersededInDrain},
		{"pause holds and resume goes on", (*oddNode).pausedAndResumed},
		{"abort moves traffic back", (*oddNode).aborted},
		{"restart replaces every instance", (*oddNode).restarted},
		{"scaling and editing in the middle", (*oddNode).scaledAndEdited},
		{"who ignores SIGTERM is killed and costs nothing", (*oddNode).ignoresTerm},
		{"who listens no more costs nothing", (*oddNode).listensNoMore},
		{"who asks seldom keeps his connection", (*oddNode).idleClient},
		{"a POST that is cut off is done at most once", (*oddNode).postCutOff},
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

func (o *oddNode) withoutProgram() {
	before, now := idsOf(o.whole("odd", 3)), o.now()
	text := o.ends(backstay.ExitRefused, "deploy", "odd", "--version", "nowhere")
	if !strings.Contains(text, o.program("nowhere")) {
		o.t.Errorf("the program that is missing is not named: %s", text)
	}
	version := o.install("")
	if err := os.Chmod(o.program(version), 0o644); err != nil {
		o.t.Fatal(err)
	}
	if text = o.ends(backstay.ExitRolledBack, "deploy", "odd", "--version", version); !strings.Contains(text, "not executable") {
		o.t.Errorf("it is not said that it cannot be run: %s", text)
	}
	if after := idsOf(o.at(now)); fmt.Sprint(after) != fmt.Sprint(before) {
		o.t.Errorf("instances are %v, were %v", after, before)
	}
}

func (o *oddNode) diesYoung() {
	o.with("min_ready: 5s, progress_deadline: 1m", quickStop)
	now := o.now()
	o.underGets(func() {
		text := o.ends(backstay.ExitRolledBack, "deploy", "odd", "--version", o.install("--die-after 4s"))
		for _, want := range []string{"exited 3", "after it was ready", "was ever good", "dying as told", "first tries: "} {
			if !strings.Contains(text, want) {
				o.t.Errorf("the report lacks %q: %s", want, text)
			}
		}
		o.at(now)
	})
}

func (o *oddNode) neverReady() {
	o.with("min_ready: 300ms, progress_deadline: 2s", quickStop)
	now := o.now()
	o.underLoad(func() {
		text := o.ends(backstay.ExitRolledBack, "deploy", "odd", "--version", o.install("--ready-after 1h"))
		if !strings.Contains(text, "no progress within 2s") || !strings.Contains(text, "HTTP 503") {
			o.t.Errorf("the report does not say why: %s", text)
		}
		o.at(now)
	})
}

func (o *oddNode) flaps() {
	o.with("min_ready: 10s, progress_deadline: 1m", quickStop)
	now := o.now()
	o.underLoad(func() {
		text := o.ends(backstay.ExitRolledBack, "deploy", "odd", "--version", o.install("--flap 2s"))
		if !strings.Contains(text, "turned not ready within") {
			o.t.Errorf("the report does not say why: %s", text)
		}
		o.at(now)
	})
}

func (o *oddNode) fourthFlakes() {
	o.replicas = 5
	defer func() { o.replicas = 3 }()
	o.with("min_ready: 1s, progress_deadline: 1m", quickStop)
	o.whole("odd", 5)
	version := o.install("--die-nth 4 --die-after 1ms")
	o.underGets(func() {
		text := o.ends(backstay.ExitOK, "deploy", "odd", "--version", version)
		if strings.Count(text, "; replaced") != 1 {
			o.t.Errorf("it is not said that one was replaced: %s", text)
		}
		o.at(version)
		if n, err := os.ReadFile(o.mood(version, "count")); err != nil || len(n) != 6 && len(n) != 7 {
			o.t.Errorf("%d processes were started for 5 instances and one replacement, %v", len(n), err)
		}
	})
}

func (o *oddNode) oldDies() {
	o.with("min_ready: 300ms, progress_deadline: 20s", quickStop)
	version := o.install("--ready-after 4s")
	old := o.whole("odd", 3)[0]
	o.underGets(func() {
		d := o.begin(version)
		o.until("the new one has started", func(s api.Status) string {
			for _, i := range s.Service("odd").Instances {
				if i.Release == d.To && i.PID > 0 {
					return ""
				}
			}
			return "no instance of " + d.To
		})
		if err := syscall.Kill(old.PID, syscall.SIGKILL); err != nil {
			o.t.Fatal(err)
		}
		if d = o.watched(d.ID, func(api.Progress) {}); d.State != api.DeployDone {
			o.t.Errorf("the deploy is %s: %s", d.State, d.Reason)
		}
		o.at(version)
	})
}

func (o *oddNode) twoAtOnce() {
	a, b := o.install(""), o.install("")
	o.underLoad(func() {
		var errs [2]error
		var all sync.WaitGroup
		for i, version := range []string{a, b} {
			all.Go(func() {
				_, errs[i] = o.client.Deploy(context.Background(), "odd", api.DeployAsk{Version: version})
			})
		}
		all.Wait()
		winner, loser := a, errs[1]
		if errs[0] != nil {
			winner, loser = b, errs[0]
		}
		p := new(backstay.Problem)
		if !errors.As(loser, &p) || p.Code != "deploy_running" || errs[0] != nil && errs[1] != nil {
			o.t.Fatalf("of two deploys: %v, %v", errs[0], errs[1])
		}
		o.ends(backstay.ExitRefused, "deploy", "odd", "--version", o.install(""))
		o.settled("odd")
		o.at(winner)
	})
}

func (o *oddNode) supersededInDrain() {
	a, b := o.install(""), o.install("")
	o.underLoad(func() {
		var slow []<-chan answer
		for range 8 {
			slow = append(slow, o.ask("GET", "/?work=6s", ""))
		}
		time.Sleep(200 * time.Millisecond) // they are with their instances
		o.begin(a)
		o.until("two old ones drain", func(s api.Status) string {
			if d := s.Service("odd").Deploy; d.Leaving < 2 || d.State.Ended() {
				return fmt.Sprintf("%s, %d leave", d.State, d.Leaving)
			}
			return ""
		})
		o.ends(backstay.ExitOK, "deploy", "odd", "--version", b, "--supersede")
		for _, s := range slow {
			if got := <-s; got.err != nil {
				o.t.Errorf("a request in flight: %v", got.err)
			}
		}
		o.at(b)
	})
	if history := o.must("history", "odd"); !strings.Contains(history, "superseded") {
		o.t.Errorf("the history does not know of it: %s", history)
	}
}

func (o *oddNode) pausedAndResumed() {
	version := o.install("")
	o.underLoad(func() {
		d := o.begin(version)
		o.must("pause", "odd")
		o.reaches(api.DeployPaused)
		time.Sleep(500 * time.Millisecond) // what was being started is there
		before := o.odds()
		time.Sleep(time.Second) // in which a deploy that is not paused goes on
		o.mustKill("agent", syscall.SIGKILL)
		o.until("the agent is back", rolesOf("agent"))
		if now := o.reaches(api.DeployPaused); now.ID != d.ID {
			o.t.Errorf("%s is paused, not %s", now.ID, d.ID)
		}
		if after := o.odds(); fmt.Sprint(after) != fmt.Sprint(before) {
			o.t.Errorf("while paused the processes went from %v to %v", before, after)
		}
		o.must("resume", "odd")
		o.at(version)
	})
}

func (o *oddNode) aborted() {
	now := o.now()
	o.underLoad(func() {
		d := o.begin(o.install(""))
		o.until("a new one serves", func(s api.Status) string {
			for _, i := range s.Service("odd").Instances {
				if i.Release == d.To && i.Ready {
					return ""
				}
			}
			return "none"
		})
		o.must("abort", "odd")
		if got := o.status().Service("odd").Deploy; got.ID != d.ID || got.State != api.DeployRolledBack {
			o.t.Errorf("%s is %s", got.ID, got.State)
		}
		o.at(now)
	})
}

func (o *oddNode) restarted() {
	now, before := o.now(), idsOf(o.whole("odd", 3))
	o.underLoad(func() { o.must("restart", "odd") })
	for _, id := range idsOf(o.at(now)) {
		for _, old := range before {
			if id == old {
				o.t.Errorf("%s is still there", id)
			}
		}
	}
}

// scaledAndEdited changes the number, the drain and at last the definition while
// a deploy goes on: it takes in what is live, and the next deploy follows by
// itself.
func (o *oddNode) scaledAndEdited() {
	version := o.install("--ready-after 1s")
	change := func() {
		o.t.Helper()
		o.write(o.text())
		o.must("apply", o.file, "--detach") // it does not wait for the deploy that is under way
	}
	o.underLoad(func() {
		d := o.begin(version)
		o.must("scale", "odd", "5")
		o.stop = "drain: 19s, drain_long: 2s, grace: 2s"
		change()
		o.must("scale", "odd", "2")
		o.must("scale", "odd", "--reset")
		o.edit, o.replicas = "2", 4
		change()
		if now := o.status().Service("odd").Deploy; now.ID != d.ID || now.State.Ended() {
			o.t.Fatalf("the deploy was to be edited in the middle, and has ended: %s is %s", now.ID, now.State)
		}
		o.until("the edited release serves", func(s api.Status) string {
			if now := s.Service("odd"); now.Deploy.ID == d.ID || now.Release == d.To {
				return now.Release + " serves"
			}
			return ""
		})
		for _, i := range o.at(version) {
			env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", i.PID))
			if err != nil || !strings.Contains(string(env), "EDIT=2\x00") {
				o.t.Errorf("%s does not have what was edited: %v", i.ID, err)
			}
		}
	})
	o.replicas, o.stop = 3, quickStop
	o.apply()
	o.at(version)
}

func (o *oddNode) ignoresTerm() {
	o.ends(backstay.ExitOK, "deploy", "odd", "--version", o.install("--ignore-term"))
	version := o.install("")
	o.underLoad(func() {
		o.ends(backstay.ExitOK, "deploy", "odd", "--version", version)
		o.at(version)
	})
	if events := o.must("events"); !strings.Contains(events, "SIGKILL") {
		o.t.Error("nobody was killed")
	}
}

func (o *oddNode) listensNoMore() {
	before := o.whole("odd", 3)
	version := o.install("")
	o.underLoad(func() {
		for _, i := range before {
			o.tell(i.ID, "deaf")
			time.Sleep(100 * time.Millisecond) // kept connections first, then those that cannot be made
			if i.ID == before[1].ID {
				break // one has to be there
			}
		}
		o.ends(backstay.ExitOK, "deploy", "odd", "--version", version)
		o.at(version)
	})
}

func (o *oddNode) idleClient() {
	c, in := dialIdle(o.t, o.address)
	if a := exchangeOn(c, in, "GET", "/", ""); a.err != nil {
		o.t.Fatal(a.err)
	}
	version := o.install("")
	o.ends(backstay.ExitOK, "deploy", "odd", "--version", version)
	a := exchangeOn(c, in, "POST", "/", "from-the-idle-one")
	if a.err != nil || a.version != version {
		o.t.Errorf("on the connection from before: %+v", a)
	}
	o.at(version)
}

// postCutOff stops instances whose POSTs take longer than they may drain: the
// clients are told, and nothing is done twice.
func (o *oddNode) postCutOff() {
	o.with(quickDeploy, "drain: 1s, drain_long: 1s, grace: 1s")
	version := o.install("")
	var cut []<-chan answer
	for i := range 6 {
		cut = append(cut, o.ask("POST", "/?work=1m", fmt.Sprintf("cut-%d", i)))
	}
	time.Sleep(200 * time.Millisecond) // they are with their instances
	o.ends(backstay.ExitOK, "deploy", "odd", "--version", version)
	for i, c := range cut {
		if got := <-c; got.err == nil {
			o.t.Errorf("POST %d was answered by %s", i, got.instance)
		}
	}
	book, err := os.ReadFile(o.dir + "/odd/orders")
	if err != nil {
		o.t.Fatal(err)
	}
	for i := range cut {
		if n := strings.Count(string(book), fmt.Sprintf("cut-%d ", i)); n != 1 {
			o.t.Errorf("POST %d is in the book %d times", i, n)
		}
	}
	if events := o.must("events"); !strings.Contains(events, string(backstay.DrainForced)) && !strings.Contains(events, "in flight") {
		o.t.Errorf("that requests were cut off is not told: %s", events)
	}
	o.at(version)
}
