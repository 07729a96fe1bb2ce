package cli

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/api/apitest"
	"github.com/backstay/backstay/internal/golden"
)

func shop(st *api.Status) *api.Service { return &st.Services[1] }

// statuses are what a screen may have to say.
var statuses = map[string]struct {
	exit   backstay.ExitCode
	change func(st *api.Status)
}{
	"well":  {backstay.ExitOK, func(*api.Status) {}},
	"empty": {backstay.ExitOK, func(st *api.Status) { st.Services, st.Frontends = nil, nil }},
	"unprivileged": {backstay.ExitOK, func(st *api.Status) {
		st.Off = []api.Off{{What: "cgroups", Why: "not root: limits are off, trees are found by their environment"}, {What: "other users", Why: "the agent is not root"}}
	}},
	"instances": {backstay.ExitDegraded, func(st *api.Status) {
		last := &backstay.Exit{At: apitest.Before(2 * time.Second), Known: true, Code: 3}
		all := shop(st).Instances
		all[0].State, all[0].Ready, all[0].Last, all[0].NextStart, all[0].Failures = backstay.Backoff, false, last, apitest.Now.Add(3*time.Second), 4
		all[1].State, all[1].Ready, all[1].Last, all[1].Failures = backstay.Failed, false, last, 10
		all[1].NextStart = apitest.Now.Add(5 * time.Minute)
		all[2].Ready, all[2].Probes[0].Good, all[2].Probes[0].Output = false, false, "HTTP 503"
		db := &st.Services[0].Instances[0]
		db.State, db.Ready, db.WaitsFor = backstay.Waiting, false, []string{"shop"}
	}},
	"moving": {backstay.ExitDegraded, func(st *api.Status) {
		all := shop(st).Instances
		all[0].State, all[0].Drained, all[0].Since = backstay.Draining, true, apitest.Before(time.Second)
		all[1].State, all[1].Ready, all[1].Since = backstay.Starting, false, apitest.Before(2*time.Second)
		all[1].Probes[0].Good, all[1].Probes[0].Output = false, "connect: refused"
		all[2].Drained, all[2].DrainedBy = true, "ann"
		st.Overrides = []api.Override{{Ref: "instance/shop-33cc33", What: "drained", Value: "true", By: "ann", Since: apitest.Before(time.Minute), Ending: "backstay undrain shop-33cc33"}}
	}},
	"ejected": {backstay.ExitDegraded, func(st *api.Status) {
		shop(st).Instances[0].Server.Ejected = &api.Ejection{Until: apitest.Now.Add(20 * time.Second), Because: "5 errors in a row, the last: HTTP 500"}
		shop(st).Instances[1].Starts, shop(st).Instances[1].Last = 3, &backstay.Exit{Known: true, Signal: 9}
	}},
	"rolling": {backstay.ExitOK, func(st *api.Status) {
		d := shop(st).Deploy
		d.State, d.To, d.Replaced = api.DeployRolling, "shop@3", 1
	}},
	"rolled-back": {backstay.ExitDegraded, func(st *api.Status) {
		d := shop(st).Deploy
		d.State, d.To, d.Reason = api.DeployRolledBack, "shop@3", "shop-9e01aa exited 3, 1.5s after it was ready; no instance of shop@3 was ever good"
		shop(st).Wanted = "shop@3"
	}},
	"refused": {backstay.ExitDegraded, func(st *api.Status) {
		d := shop(st).Deploy
		d.State, d.To, d.Reason = api.DeployRefused, "shop@3", "shop@3 is not deployed, because shop@2, which it would be rolled back to, could not be started"
		shop(st).Wanted = "shop@3"
	}},
	"stuck": {backstay.ExitDegraded, func(st *api.Status) {
		d := shop(st).Deploy
		d.State, d.To, d.Reason = api.DeployStuck, "shop@3", "shop@2 is not ready either"
	}},
	"scaled": {backstay.ExitOK, func(st *api.Status) {
		st.Overrides = []api.Override{{Ref: "service/shop", What: "replicas", Value: "3", File: "5", By: "ann", Since: apitest.Before(time.Hour), Ending: "backstay scale shop --reset"}}
		shop(st).FileReplicas = 5
	}},
	"stopped": {backstay.ExitOK, func(st *api.Status) {
		shop(st).Stopped, shop(st).StoppedBy = true, "ann"
		for n := range shop(st).Instances {
			shop(st).Instances[n].State, shop(st).Instances[n].Ready = backstay.Stopped, false
		}
	}},
	"down": {backstay.ExitOK, func(st *api.Status) {
		st.Down = &api.Down{Since: apitest.Before(time.Minute), By: "root", Done: true}
		for n := range st.Services {
			st.Services[n].Stopped = true
			for k := range st.Services[n].Instances {
				i := &st.Services[n].Instances[k]
				i.State, i.Ready = backstay.Stopped, false
			}
		}
	}},
	"no-proxy": {backstay.ExitDegraded, func(st *api.Status) {
		st.Roles[2] = api.Role{Name: "proxy", Since: apitest.Before(time.Second), Last: &backstay.Exit{Known: true, Signal: 9}}
		shop(st).Traffic, st.Frontends[0].Traffic = nil, nil
		for n := range shop(st).Instances {
			shop(st).Instances[n].Server = nil
		}
	}},
	"silent-proxy": {backstay.ExitDegraded, func(st *api.Status) {
		shop(st).Traffic, st.Frontends[0].Traffic = nil, nil
		st.Frontends[0].Binds[0] = api.Bind{Address: ":8080", Because: api.NoProxyAnswers}
		for n := range shop(st).Instances {
			shop(st).Instances[n].Server = nil
		}
	}},
	"drained": {backstay.ExitDegraded, func(st *api.Status) {
		for n := range shop(st).Instances {
			i := &shop(st).Instances[n]
			i.Drained, i.Because = true, "drained by root"
		}
	}},
	"partly-drained": {backstay.ExitDegraded, func(st *api.Status) {
		i := &shop(st).Instances[0]
		i.Drained, i.Because = true, "drained by root"
		shop(st).Instances = shop(st).Instances[:2]
	}},
	"policy-never": {backstay.ExitDegraded, func(st *api.Status) {
		i := &shop(st).Instances[0]
		i.State, i.Ready, i.Last = backstay.Failed, false, &backstay.Exit{At: apitest.Before(2 * time.Second), Known: true, Code: 3}
	}},
	"not-bound": {backstay.ExitDegraded, func(st *api.Status) {
		st.Frontends[0].Binds = []api.Bind{{Address: ":80", Because: "permission denied"}, {Address: ":8080", Bound: true}}
		st.Roles[2].Newest = 18
	}},
	"refused-file": {backstay.ExitDegraded, func(st *api.Status) {
		r := &api.Refusal{Problem: backstay.Problem{Code: "invalid_file", What: "5 mistakes in backstay.yaml", Where: "backstay.yaml", Do: "change them"}}
		for range 5 {
			r.Mistakes = append(r.Mistakes, backstay.Problem{Code: "no_unit", What: "services.shop.stop.grace: 30 has no unit", Where: "backstay.yaml:14:20", Do: "try 30s"})
		}
		st.Config.Refused, st.Config.RefusedAt, st.Config.Source = r, apitest.Before(time.Minute), "last_good"
		st.Problems = []backstay.Problem{{Code: "disk", What: "the state directory cannot be written: no space left on device", Do: "free some space"}}
	}},
	"hostile-text": {backstay.ExitDegraded, func(st *api.Status) {
		i := &shop(st).Instances[0]
		i.Ready, i.Probes[0].Good, i.Probes[0].Output = false, false, "\x1b[2J\x1b[31mHTTP 500\r\n"+strings.Repeat("x", 300)
	}},
}

// The screen is plain and true for every state that a node can be in.
func TestStatusScreen(t *testing.T) {
	for name, c := range statuses {
		t.Run(name, func(t *testing.T) {
			st := apitest.World()
			c.change(&st)
			if got := verdict(st).exit; got != c.exit {
				t.Errorf("exit %d, want %d: %s", got, c.exit, verdict(st).text)
			}
			text := renderStatus(st, style{})
			if strings.ContainsAny(text, "\x1b\r\x00") {
				t.Errorf("drives a terminal: %q", text)
			}
			golden.Check(t, filepath.Join("testdata", "status", name+".txt"), text)
		})
	}
}

// A status of which nothing is known is shown all the same.
func TestStatusOfNothing(t *testing.T) {
	if text := renderStatus(api.Status{}, style{}); !strings.Contains(text, "config none") {
		t.Errorf("%q", text)
	}
	st := api.Status{Services: []api.Service{{Name: "x", Replicas: 1, Instances: []api.Instance{{Instance: backstay.Instance{ID: "x-1", State: "hibernating"}}}}}}
	if text := renderStatus(st, style{}); !strings.Contains(text, "hibernating") {
		t.Errorf("%q", text)
	}
}

// Colours are on a terminal alone, and off where the user says so. What is in a
// colour is in the text too.
func TestColours(t *testing.T) {
	for _, c := range []struct {
		terminal bool
		env      map[string]string
		want     bool
	}{
		{true, nil, true}, {false, nil, false}, {true, map[string]string{"NO_COLOR": "1"}, false}, {true, map[string]string{"TERM": "dumb"}, false},
	} {
		a := &app{Surroundings: &Surroundings{Terminal: c.terminal, Getenv: func(k string) string { return c.env[k] }}}
		st := apitest.World()
		statuses["no-proxy"].change(&st)
		text := renderStatus(st, a.style())
		if strings.Contains(text, "\x1b[") != c.want {
			t.Errorf("%+v: %q", c, text)
		}
		if plain := renderStatus(st, style{}); !c.want && text != plain {
			t.Error("not plain")
		}
	}
}
