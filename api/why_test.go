package api_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/api/apitest"
	"github.com/backstay/backstay/internal/golden"
)

// whyCase is a world and what is asked about it.
type whyCase struct {
	ref    string
	change func(f *api.Facts)
}

// shop returns the shop of f.
func shop(f *api.Facts) *api.Service { return &f.Status.Services[1] }

// first changes the first instance of the shop.
func first(change func(i *api.Instance)) func(f *api.Facts) {
	return func(f *api.Facts) { change(&shop(f).Instances[0]) }
}

func unready(i *api.Instance, output string) {
	i.Probes[0].Since = apitest.Before(6 * time.Second)
	i.Ready, i.Probes[0].Good, i.Probes[0].Output, i.Probes[0].Streak = false, false, output, 3
}

var panicked = &backstay.Exit{At: apitest.Before(2 * time.Second), Known: true, Code: 3}

func dead(state backstay.InstanceState) func(f *api.Facts) {
	return first(func(i *api.Instance) {
		i.State, i.Since, i.PID, i.Ready, i.Failures = state, apitest.Before(2*time.Second), 0, false, 4
		i.Last, i.LastLog = panicked, []string{"handling 7", "panic: assignment to entry in nil map"}
		i.NextStart = apitest.Now.Add(3 * time.Second)
	})
}

func deploying(state api.DeployState, change func(d *api.Deploy)) func(f *api.Facts) {
	return func(f *api.Facts) {
		d := shop(f).Deploy
		d.To, d.From, d.State, d.Since, d.Started, d.Ended = "shop@3", "shop@2", state, apitest.Before(4*time.Second), apitest.Before(9*time.Second), time.Time{}
		d.Version, d.Why, d.Replaced = "v3", "deploy --version v3", 1
		if change != nil {
			change(d)
		}
	}
}

func diedYoung(d *api.Deploy) {
	d.Reason = "shop-9e01aa exited 3, 1.5s after it was ready; no instance of shop@3 was ever good"
	d.LastLog = []string{"listening", "panic: assignment to entry in nil map"}
	d.New = api.Counters{Requests: 41, Failed: 2}
}

// firstDeploy is a service that has never run: its first release comes in, and
// change says what is wrong with its first instance.
func firstDeploy(state api.DeployState, change func(f *api.Facts)) func(f *api.Facts) {
	return func(f *api.Facts) {
		change(f)
		s := shop(f)
		s.Release, s.Instances = "shop@1", s.Instances[:1]
		s.Instances[0].Release = "shop@1"
		d := s.Deploy
		d.From, d.To, d.State, d.Since, d.Started, d.Ended = "", "shop@1", state, apitest.Before(4*time.Second), apitest.Before(9*time.Second), time.Time{}
		d.Why, d.Replaced, d.Version, d.Old, d.New = "apply", 0, "v1", api.Counters{}, api.Counters{}
		d.Step, d.Deadline = "shop-11aa11 to be ready for 5s", apitest.Now.Add(4*time.Minute)
		f.Releases = []api.Release{{ID: "shop@1", Service: "shop", Seq: 1, Version: "v1", At: apitest.Before(9 * time.Second), By: "root", Why: "apply", Current: true, Instances: 1}}
	}
}

// startsBadly is an instance that runs and whose probe says no.
func startsBadly(i *api.Instance) {
	unready(i, "HTTP 503")
	i.State, i.Started = backstay.Starting, apitest.Before(6*time.Second)
}

// silent is a proxy that runs and does not answer.
func silent(f *api.Facts) {
	f.Status.Frontends[0].Traffic = nil
	f.Status.Frontends[0].Binds[0] = api.Bind{Address: ":8080", Because: api.NoProxyAnswers}
	for n := range shop(f).Instances {
		shop(f).Instances[n].Server = nil
	}
}

// drainedByHand drains the first n shops.
func drainedByHand(n int) func(f *api.Facts) {
	return func(f *api.Facts) {
		for k := range n {
			i := &shop(f).Instances[k]
			i.Drained, i.Because = true, "drained by root"
			f.Events = append(f.Events, backstay.Event{Kind: backstay.Withdrawn, Ref: backstay.NewRef("service", "shop", i.ID), At: apitest.Before(time.Duration(n-k) * time.Minute)})
		}
	}
}

// forsaken is an instance that its policy, never, does not start again.
func forsaken(i *api.Instance) {
	i.State, i.Since, i.PID, i.Ready = backstay.Failed, apitest.Before(2*time.Second), 0, false
	i.Last, i.LastLog = panicked, []string{"no more work"}
}

// waitsForDB has the first shop wait for a database that is not ready.
func waitsForDB(f *api.Facts) {
	i := &shop(f).Instances[0]
	i.State, i.Since, i.PID, i.Ready, i.WaitsFor = backstay.Waiting, apitest.Before(7*time.Second), 0, false, []string{"db"}
	unready(&f.Status.Services[0].Instances[0], "connect: refused")
}

// stopped is the shop stopped by a person, so that nobody answers behind it.
func stopped(f *api.Facts) {
	s := shop(f)
	s.Stopped, s.StoppedBy, s.StoppedSince = true, "ann", apitest.Before(time.Hour)
	for n := range s.Instances {
		s.Instances[n].State, s.Instances[n].Ready, s.Instances[n].PID = backstay.Stopped, false, 0
	}
}

// whyCases are every state of an instance, every reason for which a server gets
// no traffic, every state of a deploy, and what else can be asked.
var whyCases = map[string]whyCase{
	"instance-waiting": {"instance/shop-11aa11", waitsForDB},
	"instance-starting": {"instance/shop-11aa11", first(func(i *api.Instance) {
		i.State, i.Since, i.Started = backstay.Starting, apitest.Before(3*time.Second), apitest.Before(3*time.Second)
		unready(i, "HTTP 503")
	})},
	"instance-starting-startup-probe": {"instance/shop-11aa11", first(func(i *api.Instance) {
		i.State, i.Since, i.Started, i.Ready = backstay.Starting, apitest.Before(3*time.Second), apitest.Before(3*time.Second), false
		i.Probes = append(i.Probes, backstay.ProbeStatus{Name: "startup", Target: "exec /srv/warm"})
	})},
	"instance-running": {"instance/shop-11aa11", nil},
	"instance-restarted": {"instance/shop-11aa11", first(func(i *api.Instance) {
		i.Starts, i.Last = 2, &backstay.Exit{At: apitest.Before(time.Minute), Known: true, Signal: 9}
	})},
	"instance-unbalanced": {"instance/db-00aa11", nil},
	"instance-draining": {"instance/shop-11aa11", func(f *api.Facts) {
		i := &shop(f).Instances[0]
		i.State, i.Since, i.Drained, i.Because = backstay.Draining, apitest.Before(time.Second), true, "replaced by shop-44dd44 of shop@3"
		f.Events = []backstay.Event{{Kind: backstay.StateChanged, Ref: "service/shop/shop-11aa11", To: "draining", Actor: "deploy"}}
	}},
	"instance-stopping": {"instance/shop-11aa11", first(func(i *api.Instance) {
		i.State, i.Since, i.Drained, i.Because = backstay.Stopping, apitest.Before(time.Second), true, "SIGTERM sent: scaled down"
	})},
	"instance-stopping-headless": {"instance/shop-11aa11", first(func(i *api.Instance) {
		i.State, i.Since, i.Drained, i.PID = backstay.Stopping, apitest.Before(time.Second), true, 0
		i.Because = "scaled down; its main process has ended: exited 0 after 5m; its tree is not empty yet, and is killed when stop.grace (10s) is over"
	})},
	"instance-crashed":                           {"instance/shop-11aa11", dead(backstay.Crashed)},
	"instance-backoff":                           {"instance/shop-11aa11", dead(backstay.Backoff)},
	"instance-failed":                            {"instance/shop-11aa11", dead(backstay.Failed)},
	"instance-failed-with-nothing-to-go-back-to": {"instance/shop-11aa11", firstDeploy(api.DeployDone, dead(backstay.Failed))},
	"instance-policy-never": {"instance/shop-11aa11", func(f *api.Facts) {
		f.Status.Lines["services.shop.restart.policy"] = 25
		first(forsaken)(f)
	}},
	"instance-liveness": {"instance/shop-11aa11", func(f *api.Facts) {
		dead(backstay.Backoff)(f)
		shop(f).Instances[0].Last = &backstay.Exit{At: apitest.Before(2 * time.Second), Known: true, Signal: 9, Reason: "liveness failed 3 times: timeout"}
	}},
	"instance-unstartable": {"instance/shop-11aa11", func(f *api.Facts) {
		dead(backstay.Backoff)(f)
		i := &shop(f).Instances[0]
		i.Last, i.LastLog = &backstay.Exit{At: apitest.Before(2 * time.Second), Known: true, Stage: "setuid: EPERM"}, nil
	}},
	"instance-completed": {"instance/shop-11aa11", first(func(i *api.Instance) {
		i.State, i.PID, i.Ready, i.Last = backstay.Completed, 0, false, &backstay.Exit{At: apitest.Before(time.Minute), Known: true}
	})},
	"instance-stopped": {"instance/shop-11aa11", func(f *api.Facts) {
		s := shop(f)
		s.Stopped, s.StoppedBy, s.StoppedSince = true, "ann", apitest.Before(time.Hour)
		s.Instances[0].State, s.Instances[0].Ready, s.Instances[0].PID = backstay.Stopped, false, 0
	}},

	"traffic-not-ready": {"instance/shop-11aa11", first(func(i *api.Instance) { unready(i, "HTTP 503") })},
	"traffic-drained": {"instance/shop-11aa11", first(func(i *api.Instance) {
		i.Drained, i.DrainedBy, i.DrainedSince = true, "ann", apitest.Before(time.Minute)
	})},
	"traffic-ejected": {"instance/shop-11aa11", first(func(i *api.Instance) {
		i.Server.Ejected = &api.Ejection{Since: apitest.Before(10 * time.Second), Until: apitest.Now.Add(20 * time.Second), Because: "5 errors in a row, the last: HTTP 500"}
	})},
	"traffic-ejection-over": {"instance/shop-11aa11", first(func(i *api.Instance) {
		i.Server.Ejected = &api.Ejection{Since: apitest.Before(40 * time.Second), Until: apitest.Before(10 * time.Second)}
	})},
	"traffic-no-proxy": {"instance/shop-11aa11", func(f *api.Facts) {
		f.Status.Roles[2] = api.Role{Name: "proxy", Since: apitest.Before(time.Second), Last: &backstay.Exit{At: apitest.Before(time.Second), Known: true, Signal: 9}}
	}},
	"traffic-silent-proxy":   {"instance/shop-11aa11", silent},
	"traffic-drained-untold": {"instance/shop-11aa11", drainedByHand(1)},
	"traffic-no-proxy-ever":  {"instance/shop-11aa11", func(f *api.Facts) { f.Status.Roles = f.Status.Roles[:2] }},
	"traffic-not-bound": {"instance/shop-11aa11", func(f *api.Facts) {
		f.Status.Frontends[0].Binds[0] = api.Bind{Address: ":8080", Because: "address already in use"}
	}},
	"traffic-not-told": {"instance/shop-11aa11", first(func(i *api.Instance) { i.Server.Told = false })},

	"service-well":       {"service/shop", nil},
	"service-unbalanced": {"service/db", nil},
	"service-one-dead":   {"service/shop", dead(backstay.Backoff)},
	"service-none-ready": {"service/shop", func(f *api.Facts) {
		for n := range shop(f).Instances {
			unready(&shop(f).Instances[n], "connect: refused")
		}
	}},
	"service-one-missing": {"service/shop", func(f *api.Facts) { shop(f).Instances = shop(f).Instances[:2] }},
	"service-one-ejected": {"service/shop", first(func(i *api.Instance) {
		i.Server.Ejected = &api.Ejection{Since: apitest.Before(10 * time.Second), Until: apitest.Now.Add(20 * time.Second), Because: "5 errors in a row, the last: HTTP 500"}
	})},
	"service-stopped": {"service/shop", func(f *api.Facts) {
		shop(f).Stopped, shop(f).StoppedBy, shop(f).StoppedSince = true, "ann", apitest.Before(time.Hour)
	}},
	"service-down": {"service/shop", func(f *api.Facts) {
		f.Status.Down = &api.Down{Since: apitest.Before(time.Minute), By: "root", Done: true}
	}},
	"service-scaled-to-none": {"service/shop", func(f *api.Facts) {
		shop(f).Replicas, shop(f).Instances = 0, nil
		f.Status.Overrides = []api.Override{{Ref: "service/shop", What: "replicas", Value: "0", File: "3", By: "ann", Since: apitest.Before(time.Hour), Ending: "backstay scale shop --reset"}}
	}},
	"service-none-wanted":          {"service/shop", func(f *api.Facts) { shop(f).Replicas, shop(f).Instances = 0, nil }},
	"service-deploying":            {"service/shop", deploying(api.DeployRolling, func(d *api.Deploy) { d.Step = "shop-1c44d0 to be ready for 5s" })},
	"service-first-deploy-crashes": {"service/shop", firstDeploy(api.DeployRolling, dead(backstay.Backoff))},
	"service-first-deploy-unready": {"service/shop", firstDeploy(api.DeployRolling, first(startsBadly))},
	"service-waits":                {"service/shop", waitsForDB},
	"service-drained":              {"service/shop", drainedByHand(3)},
	"service-partly-drained":       {"service/shop", drainedByHand(1)},
	"service-policy-never":         {"service/shop", first(forsaken)},
	"service-silent-proxy":         {"service/shop", silent},
	"service-held-back": {"service/shop", func(f *api.Facts) {
		deploying(api.DeployRolledBack, diedYoung)(f)
		shop(f).Wanted = "shop@3"
	}},
	"service-refused": {"service/shop", func(f *api.Facts) {
		deploying(api.DeployRefused, func(d *api.Deploy) {
			d.Reason, d.Ended, d.New, d.LastLog = "the way back is gone: /srv/shop/v2/shop: no such file", apitest.Now, api.Counters{}, nil
		})(f)
		shop(f).Wanted = "shop@3"
	}},
	"service-held-back-by-hand": {"service/shop", func(f *api.Facts) {
		deploying(api.DeployRolledBack, diedYoung)(f)
		shop(f).Wanted = "shop@3"
		byHand(f)
	}},
	"service-completed": {"service/shop", func(f *api.Facts) {
		s := shop(f)
		s.Completes, s.Balanced, s.Replicas, s.Instances = true, false, 1, s.Instances[:1]
		s.Instances[0].State, s.Instances[0].Ready = backstay.Completed, false
	}},

	"deploy-checking": {"deploy/shop", deploying(api.DeployChecking, func(d *api.Deploy) { d.Replaced, d.New = 0, api.Counters{} })},
	"deploy-rolling": {"deploy/shop", deploying(api.DeployRolling, func(d *api.Deploy) {
		d.Step, d.Leaving, d.Deadline = "shop-1c44d0 to be ready for 5s", 1, apitest.Now.Add(4*time.Minute)
	})},
	"deploy-first-crashes": {"deploy/shop", firstDeploy(api.DeployRolling, dead(backstay.Backoff))},
	"deploy-first-unready": {"deploy/shop", firstDeploy(api.DeployRolling, first(startsBadly))},
	"deploy-first-paused": {"deploy/shop", func(f *api.Facts) {
		firstDeploy(api.DeployPaused, dead(backstay.Backoff))(f)
		shop(f).Deploy.Step, shop(f).Deploy.Reason = "", "no progress in 5m: shop-11aa11 exited 3"
	}},
	"deploy-first-done": {"deploy/shop", firstDeploy(api.DeployDone, func(*api.Facts) {})},
	"deploy-waits":      {"deploy/shop", deploying(api.DeployRolling, func(d *api.Deploy) { d.Step = "shop-22bb22 to be ready for 5s" })},
	"deploy-waits-for-a-dead-one": {"deploy/shop", func(f *api.Facts) {
		dead(backstay.Backoff)(f)
		deploying(api.DeployRolling, func(d *api.Deploy) { d.Step = "an instance of shop@3 to be ready" })(f)
		shop(f).Instances[0].Release = "shop@3"
	}},
	"deploy-finishing":    {"deploy/shop", deploying(api.DeployFinishing, func(d *api.Deploy) { d.Step, d.Leaving, d.Replaced = "shop-33cc33 to finish 2 requests", 1, 3 })},
	"deploy-paused":       {"deploy/shop", deploying(api.DeployPaused, func(d *api.Deploy) { d.Reason = "paused by ann" })},
	"deploy-done":         {"deploy/shop", nil},
	"deploy-rolling-back": {"deploy/shop", deploying(api.DeployRollingBack, diedYoung)},
	"deploy-rolled-back":  {"deploy/shop", deploying(api.DeployRolledBack, diedYoung)},
	"deploy-rolled-back-by-hand": {"deploy/shop", func(f *api.Facts) {
		deploying(api.DeployRolledBack, diedYoung)(f)
		byHand(f)
	}},
	"deploy-stuck": {"deploy/shop", deploying(api.DeployStuck, func(d *api.Deploy) { d.Reason = "shop@2 is not ready either: connect: refused" })},
	"deploy-first-stuck": {"deploy/shop", func(f *api.Facts) {
		firstDeploy(api.DeployStuck, dead(backstay.Backoff))(f)
		shop(f).Deploy.Step, shop(f).Deploy.Reason = "", "shop-11aa11 exited 3, 1.5s after it was ready"
	}},
	"deploy-waits-for-another-service": {"deploy/shop", firstDeploy(api.DeployRolling, waitsForDB)},
	"deploy-restart": {"deploy/shop", deploying(api.DeployRolling, func(d *api.Deploy) {
		d.From, d.Why, d.New = d.To, "restart", api.Counters{Requests: 41, Failed: 2}
	})},
	"deploy-refused": {"deploy/shop", deploying(api.DeployRefused, func(d *api.Deploy) {
		d.Reason = "the program of shop@2 was overwritten: it could not be gone back to"
		d.New = api.Counters{}
	})},
	"deploy-superseded": {"deploy/shop", deploying(api.DeploySuperseded, func(d *api.Deploy) { d.Reason = "shop-d4 took its place" })},
	"deploy-failed": {"deploy/shop", deploying(api.DeployFailed, func(d *api.Deploy) {
		d.Reason = "exec /srv/v3/bin/shop: no such file or directory"
		d.New = api.Counters{}
	})},

	"release-current":       {"release/shop@2", nil},
	"release-first-crashes": {"release/shop@1", firstDeploy(api.DeployRolling, dead(backstay.Backoff))},
	"release-good":          {"release/shop@1", nil},
	"release-rolled-back": {"release/shop@1", func(f *api.Facts) {
		f.Releases[1].Good, f.Releases[1].RolledBack = false, "shop-9e01aa exited 3, 1.5s after it was ready"
	}},
	"release-not-restorable": {"release/shop@1", func(f *api.Facts) { f.Releases[1].NotRestorable = "/srv/shop was overwritten at 12:01" }},
	"release-unproved":       {"release/shop@1", func(f *api.Facts) { f.Releases[1].Good = false }},

	"frontend-well": {"frontend/web", nil},
	"frontend-not-bound": {"frontend/web", func(f *api.Facts) {
		f.Status.Frontends[0].Binds[0] = api.Bind{Address: ":80", Because: "permission denied"}
	}},
	"frontend-partly-bound": {"frontend/web", func(f *api.Facts) {
		f.Status.Frontends[0].Binds = append(f.Status.Frontends[0].Binds, api.Bind{Address: ":80", Because: "permission denied"})
	}},
	"frontend-no-proxy":     {"frontend/web", func(f *api.Facts) { f.Status.Roles[2].Running = false }},
	"frontend-silent-proxy": {"frontend/web", silent},
	"frontend-drained":      {"frontend/web", drainedByHand(3)},
	"frontend-stopped":      {"frontend/web", stopped},
	"frontend-two-503": {"frontend/web", func(f *api.Facts) {
		stopped(f)
		unready(&f.Status.Services[0].Instances[0], "connect: refused")
		f.Status.Frontends[0].Routes = []api.Route{{Match: "/db/", To: "service/db"}, {Match: "/old/", To: "respond 410"}, {Match: "/shop/", To: "service/shop"}, {Match: "*", To: "service/shop"}}
	}},
	"frontend-redirect": {"frontend/web", func(f *api.Facts) {
		f.Status.Frontends[0].Routes = []api.Route{{Match: "*", To: "redirect https"}}
	}},
	"frontend-503": {"frontend/web", func(f *api.Facts) {
		for n := range shop(f).Instances {
			unready(&shop(f).Instances[n], "connect: refused")
		}
	}},
	"frontend-old-certificate": {"frontend/web", func(f *api.Facts) {
		f.Status.Frontends[0].Files = []string{"/etc/tls/shop.pem"}
		f.Status.Problems = []backstay.Problem{
			{Code: "file_unreadable", What: "certificate /etc/tls/shop.pem: the key is of another one", Where: "/etc/tls/shop.pem", Do: "put it right: it is looked at every 10s"},
			{Code: "file_unreadable", What: "certificate /etc/tls/other.pem: gone", Where: "/etc/tls/other.pem", Do: "put it right"},
		}
	}},
	"frontend-down": {"frontend/web", func(f *api.Facts) { f.Status.Down = &api.Down{Since: apitest.Before(time.Minute), By: "root"} }},

	"instance-log-lost": {"instance/shop-11aa11", logLost}, "service-log-lost": {"service/shop", logLost},
	"instance-blank-last-line": {"instance/shop-11aa11", func(f *api.Facts) {
		dead(backstay.Backoff)(f)
		shop(f).Instances[0].LastLog = []string{"panic: no disk", "", "  "}
	}},

	"config-in-force": {"config/file", nil},
	"config-refused": {"config/file", func(f *api.Facts) {
		f.Status.Config.RefusedAt = apitest.Before(time.Minute)
		f.Status.Config.Refused = &api.Refusal{
			Problem:  backstay.Problem{Code: "invalid_file", What: "2 mistakes in a.yaml", Where: "a.yaml", Do: "change the lines shown"},
			Mistakes: []backstay.Problem{{What: "30 has no unit", Where: "a.yaml:3:1", Do: "try 30s"}, {What: "another"}},
		}
	}},
	"config-last-good": {"config/file", func(f *api.Facts) {
		f.Status.Config.Source, f.Status.Config.RefusedAt = "last_good", apitest.Before(time.Minute)
		f.Status.Config.Refused = &api.Refusal{Problem: backstay.Problem{Code: "file_unreadable", What: "the file cannot be read", Do: "correct the path"}}
	}},
	"config-none": {"config/file", func(f *api.Facts) {
		f.Status.Config = api.ConfigStatus{File: "a.yaml", RefusedAt: apitest.Before(time.Minute), Refused: &api.Refusal{Problem: backstay.Problem{What: "the file cannot be read"}}}
	}},

	"role-well": {"role/keeper", nil},
	"role-gone": {"role/proxy", func(f *api.Facts) {
		f.Status.Roles[2] = api.Role{Name: "proxy", Since: apitest.Before(time.Second), Last: panicked}
	}},
	"role-proxy":  {"role/proxy", nil},
	"role-silent": {"role/proxy", silent},
	"role-killed": {"role/agent", func(f *api.Facts) {
		f.Status.Roles[1].Because = "the run before: pid 7, killed by SIGKILL"
		f.Status.Roles[1].Starts, f.Status.Roles[1].Last = 2, &backstay.Exit{At: apitest.Before(time.Minute), Known: true, Signal: 9, Reason: "silent for 10s"}
	}},
	"role-keeper": {"role/keeper", func(f *api.Facts) {
		f.Status.Roles[0].Running, f.Status.Roles[0].Because = false, "pid 100 does not answer: connect: refused"
	}},
	"role-not-told": {"role/proxy", func(f *api.Facts) { f.Status.Roles[2].Newest = 18 }},
	"role-restarted": {"role/agent", func(f *api.Facts) {
		f.Status.Roles[1].Starts, f.Status.Roles[1].Last = 2, &backstay.Exit{At: apitest.Before(time.Minute), Known: true, Signal: 9, Reason: "silent for 10s"}
	}},
}

// Each state has its shortest proof.
func TestWhy(t *testing.T) {
	for name, c := range whyCases {
		t.Run(name, func(t *testing.T) {
			f := api.Facts{Status: apitest.World(), Releases: apitest.Releases()}
			if c.change != nil {
				c.change(&f)
			}
			ref, err := api.Resolve(f.Status, c.ref)
			if err != nil {
				t.Fatal(err)
			}
			p, err := api.Why(f, ref)
			if err != nil {
				t.Fatal(err)
			}
			if p.State == "" || p.What == "" || len(p.Because) == 0 {
				t.Errorf("no proof: %+v", p)
			}
			golden.Check(t, filepath.Join("testdata", "why", name+".txt"), p.String())
		})
	}
	files, err := filepath.Glob("testdata/why/*.txt")
	if err != nil || len(files) != len(whyCases) {
		t.Errorf("%d golden files for %d cases, %v", len(files), len(whyCases), err)
	}
}

// No state lets Why panic or fall silent, however little is known.
func TestWhyOfHalfKnownThings(t *testing.T) {
	for _, state := range []backstay.InstanceState{
		backstay.Waiting, backstay.Starting, backstay.Running, backstay.Draining, backstay.Stopping, backstay.Crashed,
		backstay.Backoff, backstay.Failed, backstay.Completed, backstay.Stopped, "hibernating",
	} {
		f := api.Facts{Status: api.Status{Services: []api.Service{{Name: "x", Balanced: true, Replicas: 1, Instances: []api.Instance{{
			Instance: backstay.Instance{ID: "x-1", State: state},
		}}}}}}
		for _, ref := range []backstay.Ref{"instance/x-1", "service/x"} {
			p, err := api.Why(f, ref)
			if err != nil || p.What == "" || p.String() == "" {
				t.Errorf("%s %s: %+v, %v", state, ref, p, err)
			}
		}
	}
}

// A name is found however it is written, and what is not there has a suggestion.
func TestResolve(t *testing.T) {
	st := apitest.World()
	st.Frontends = append(st.Frontends, api.Frontend{Name: "db"})
	for text, want := range map[string]string{
		"service/shop": "service/shop", "shop": "service/shop", "shop-11aa11": "instance/shop-11aa11", "shop-11": "instance/shop-11aa11", "db-": "instance/db-00aa11", "instance/db-": "instance/db-00aa11",
		"instance/shop-2": "instance/shop-22bb22", "service/shop/shop-33cc33": "instance/shop-33cc33", "web": "frontend/web",
		"proxy": "role/proxy", "shop@2": "release/shop@2", "config/file": "config/file", "deploy/shop": "deploy/shop",
	} {
		if ref, err := api.Resolve(st, text); err != nil || string(ref) != want {
			t.Errorf("%s: %q, %v", text, ref, err)
		}
	}
	for text, want := range map[string]string{
		"shp": "not_found: did you mean shop?", "service/shp": "not_found: did you mean service/shop?", "db": "ambiguous", "shop-": "ambiguous", "instance/shop-": "ambiguous", "sho": "ambiguous", "shap-": "not_found", "-": "bad_ref",
		"srevice/shop": "bad_ref: did you mean service/shop?", "deploy/db": "not_found", "instance/shop": "ambiguous", "": "bad_ref",
		"shop@x": "bad_ref", "../..": "bad_ref", "frontend/weeb": "not_found: did you mean frontend/web?",
	} {
		_, err := api.Resolve(st, text)
		var p *backstay.Problem
		code, do, _ := strings.Cut(want, ": ")
		if !errors.As(err, &p) || p.Code != code || !strings.HasPrefix(p.Do, do) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// logLost has what an instance prints be dropped.
func logLost(f *api.Facts) {
	f.Status.Problems = append(f.Status.Problems, backstay.Problem{
		Code: "disk", What: "what instance/shop-11aa11 prints is lost since 15:08:26, 1200 bytes so far: ENOSPC", Where: "instance/shop-11aa11", Why: "ENOSPC",
		Do: "make room on the disk of /var/log/backstay",
	})
}

// byHand has version v3 stand over the file.
func byHand(f *api.Facts) {
	f.Status.Overrides = append(f.Status.Overrides, api.Override{
		Ref: "service/shop", What: "version", Value: "v3", File: "v1", By: "root", Since: apitest.Before(time.Minute), Ending: "backstay deploy shop --reset",
	})
}

func TestAReleaseThatABootMadeIsSaidToBeSoOnce(t *testing.T) {
	f := api.Facts{Releases: []api.Release{{ID: "shop@1", Service: "shop", By: "boot", Why: "boot"}}}
	proof, err := api.Why(f, "release/shop@1")
	if err != nil || proof.Because[0].By != "" {
		t.Errorf("%+v, %v", proof, err)
	}
}
