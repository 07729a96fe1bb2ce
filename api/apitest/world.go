// Package apitest is a backend of the API that keeps its state in memory, for
// tests of whoever speaks to the agent.
package apitest

import (
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
)

// Now is the moment at which a [World] was read.
var Now = time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC)

// Before returns the moment d before [Now].
func Before(d time.Duration) time.Time { return Now.Add(-d) }

// World returns the status of a node on which all is well: three shops behind
// one frontend, a database that no route leads to, and every role.
func World() api.Status {
	return api.Status{
		Node: "n1", Version: "v0.1.0", At: Now, Generation: 4,
		Config: api.ConfigStatus{
			File: "/etc/backstay/backstay.yaml", Digest: "3f9a1c22", LastGood: "3f9a1c22", AppliedAt: Before(3 * time.Hour), By: "root", Source: "file",
		},
		Services: []api.Service{Database(), Shop()},
		Frontends: []api.Frontend{{
			Name: "web", Binds: []api.Bind{{Address: ":8080", Bound: true}}, Routes: []api.Route{{Match: "*", To: "service/shop"}},
			Traffic: &api.Counters{Requests: 300, InFlight: 6}, Conns: 64,
		}},
		Roles: []api.Role{
			{Name: "keeper", PID: 100, Running: true, Since: Before(50 * time.Hour), Starts: 1},
			{Name: "agent", PID: 101, Running: true, Since: Before(50 * time.Hour), Starts: 1},
			{Name: "proxy", PID: 102, Running: true, Since: Before(50 * time.Hour), Starts: 1, Generation: 17, Newest: 17},
		},
		Lines: map[string]int{
			"services.shop": 10, "services.shop.probes.readiness": 21, "services.shop.stop": 30, "services.shop.version": 11,
			"services.shop.depends_on": 12, "frontends.web.bind": 40, "services.shop.traffic.outlier": 33, "services.db": 3,
		},
	}
}

// Database is a service that no route leads to.
func Database() api.Service {
	i := running("db", "db-00aa11", "db@1", 200)
	return api.Service{Name: "db", Release: "db@1", Replicas: 1, FileReplicas: 1, Instances: []api.Instance{i}, ReadyProbe: true}
}

// Shop is a service of three instances behind a frontend.
func Shop() api.Service {
	s := api.Service{
		Name: "shop", Release: "shop@2", Version: "v2", Replicas: 3, FileReplicas: 3, Balanced: true, Frontends: []string{"web"},
		Balance: "p2c", Traffic: &api.Counters{Requests: 300, InFlight: 6}, ReadyProbe: true,
		Deploy: &api.Deploy{
			ID: "shop-d2", Service: "shop", From: "shop@1", To: "shop@2", Version: "v2", Strategy: "rolling", State: api.DeployDone,
			Since: Before(2 * time.Hour), Started: Before(2*time.Hour + 11*time.Second), Ended: Before(2 * time.Hour), By: "root",
			Why: "deploy --version v2", Replaced: 3, Of: 3, Old: api.Counters{Requests: 900}, New: api.Counters{Requests: 700},
		},
	}
	for n, id := range []string{"shop-11aa11", "shop-22bb22", "shop-33cc33"} {
		i := running("shop", id, "shop@2", 301+n)
		i.Ports = map[string]uint16{"http": uint16(20001 + n)}
		i.Server = &api.Server{Told: true, Traffic: api.Counters{Requests: 100, InFlight: 2}}
		s.Instances = append(s.Instances, i)
	}
	return s
}

func running(service, id, release string, pid int) api.Instance {
	return api.Instance{Instance: backstay.Instance{
		ID: id, Service: service, Release: release, State: backstay.Running, Since: Before(2 * time.Hour), Because: "ready",
		PID: pid, Started: Before(2*time.Hour + time.Second), Starts: 1, Ready: true, ReadySince: Before(2 * time.Hour),
		LogFile: "/var/log/backstay/" + service + "/" + id + ".log",
		Probes: []backstay.ProbeStatus{{
			Name: "readiness", Target: "http 127.0.0.1:20001/healthz", Good: true, Since: Before(2 * time.Hour), Streak: 3600, Output: "HTTP 200",
			Checked: Before(time.Second),
		}},
	}}
}

// Releases are those of the shop of a [World].
func Releases() []api.Release {
	return []api.Release{
		{ID: "shop@2", Service: "shop", Seq: 2, Version: "v2", Digest: "aa22", At: Before(2 * time.Hour), By: "root", Why: "deploy --version v2", Current: true, Good: true, Instances: 3},
		{ID: "shop@1", Service: "shop", Seq: 1, Version: "v1", Digest: "aa11", At: Before(5 * time.Hour), By: "root", Why: "apply", Good: true},
	}
}
