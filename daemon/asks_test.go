package daemon

import (
	"slices"
	"strings"
	"testing"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
)

// Somebody who asks for the version that runs, while another one's deploy goes
// away from it, is refused and leaves no trace; with supersede the other one is
// told who it was.
func TestTheVersionThatRunsUndoesNobodysDeploy(t *testing.T) {
	t.Parallel()
	n := start(t, versionFile)
	n.whole("shop", 1)
	must(t, n.apply(strings.Replace(versionFile, "min_ready: 100ms", "min_ready: 1h, progress_deadline: 3h", 1)))
	under, err := n.client.Deploy(t.Context(), "shop", api.DeployAsk{Version: "v2"})
	must(t, err)
	for _, ask := range []api.DeployAsk{{Version: "v1"}, {Reset: true}} {
		if _, err := n.client.Deploy(t.Context(), "shop", ask); codeOf(err) != "deploy_running" {
			t.Errorf("%+v: %v", ask, err)
		}
	}
	s := n.status()
	if d := s.Services[0].Deploy; d.ID != under.ID || d.State != api.DeployRolling || len(s.Overrides) != 1 || s.Overrides[0].Value != "v2" {
		t.Fatalf("not as it was: %+v, %+v", d, s.Overrides)
	}
	d, err := n.client.Deploy(t.Context(), "shop", api.DeployAsk{Version: "v1", Supersede: true})
	if err != nil || d.ID != under.ID || d.State != api.DeployRollingBack || !strings.HasPrefix(d.Reason, "deploy --version v1 by ") {
		t.Fatalf("%+v, %v", d, err)
	}
	s = n.until("v1 again", func(s api.Status) bool { return s.Services[0].Deploy.State == api.DeployRolledBack })
	if len(s.Overrides) != 0 || s.Services[0].Version != "v1" {
		t.Errorf("%+v", s)
	}
}

// pairFile has one service that stays and one that runs to its end.
const pairFile = versionFile + `  job:
    run: { exec: [/bin/echo, once], user: "USER" }
    restart: { policy: never }
`

// What is started after down is what was named: all else stays stopped, with the
// next agent as well, until it is started or a file is applied.
func TestStartAfterDownStartsWhatItNames(t *testing.T) {
	t.Parallel()
	n := start(t, pairFile)
	n.whole("shop", 1)
	n.until("the job", func(s api.Status) bool { return s.Service("job").State() == "completed" })
	down := func() {
		t.Helper()
		must(t, n.client.Down(t.Context(), func(api.Progress) error { return nil }))
	}
	startIt := func(name string) api.Done {
		t.Helper()
		done, err := n.client.Do(t.Context(), "start", backstay.NewRef("service", name))
		must(t, err)
		return done
	}
	down()
	if done := startIt("shop"); !done.Changed || !strings.Contains(done.Text, "stays so") {
		t.Errorf("start: %+v", done)
	}
	for _, who := range []string{"the agent", "the next agent"} {
		n.whole("shop", 1)
		s := n.status()
		job := s.Service("job")
		if s.Down == nil || !s.Down.Done || !slices.Equal(s.Down.Except, []string{"shop"}) || !job.Stopped || job.StoppedBy != s.Down.By || len(job.Instances) != 0 {
			t.Fatalf("%s says %+v, and of the job %+v", who, s.Down, job)
		}
		n.kill("agent")
	}
	down() // all of it, once more
	if s := n.status(); !s.AllDown() || !s.Down.Done {
		t.Fatalf("down again: %+v", s.Down)
	}
	startIt("shop")
	if done := startIt("job"); !done.Changed || done.Text != "job is wanted" {
		t.Errorf("the last one: %+v", done)
	}
	s := n.until("the job once more", func(s api.Status) bool { return s.Service("job").State() == "completed" })
	if s.Down != nil {
		t.Errorf("nothing is kept stopped by it: %+v", s.Down)
	}
}

// The event of a deploy that a stop cuts short is by whoever stopped.
func TestADeployThatIsCutShortIsByWhoStopped(t *testing.T) {
	n := new(0)
	for want, c := range map[string]struct {
		o    override
		down *downMark
	}{
		"ann":  {override{Stopped: true, By: "ann"}, &downMark{By: "bob"}},
		"bob":  {override{Replicas: n, By: "cyd"}, &downMark{By: "bob"}},
		"cyd":  {override{Replicas: n, By: "cyd"}, &downMark{By: "bob", Except: []string{"shop"}}},
		"boot": {override{}, nil},
	} {
		if got := stopper("shop", c.o, c.down, "boot"); got != want {
			t.Errorf("%+v, %+v: %s, want %s", c.o, c.down, got, want)
		}
	}
}
