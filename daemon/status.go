package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/config"
	"github.com/backstay/backstay/l7"
)

// Version implements [api.Viewer].
func (a *agent) Version(context.Context) (api.Version, error) {
	return api.Version{Version: a.Options.Version, API: "v1", Node: a.node, PID: os.Getpid(), UID: os.Geteuid(), Since: started}, nil
}

// Status implements [api.Viewer]: all of it is read now.
func (a *agent) Status(ctx context.Context) (api.Status, error) {
	v := view{agent: a, now: a.now.Load(), stats: a.proxyStats(ctx), instances: map[string][]backstay.Instance{}, told: map[string]bool{}}
	v.acked, v.newest = a.proxy.generations()
	for _, e := range a.registry.Snapshot().Endpoints {
		v.told[e.Instance] = a.proxy.knows(e)
	}
	for _, i := range a.supervise.Instances() {
		v.instances[i.Service] = append(v.instances[i.Service], i)
	}
	s := api.Status{
		Node: a.node, Version: a.Options.Version, At: time.Now(), Config: v.config(), Off: a.off(),
		Services: v.services(), Frontends: v.frontends(), Roles: a.roles.all(a.Options.Version, v.acked, v.newest, a.link.absent.Load()),
		Overrides: v.overrides(), Problems: v.problems(), Lines: map[string]int{},
	}
	if v.now != nil {
		s.Generation = v.now.kept.Gen
		s.Lines = v.now.file.Lines()
	}
	if d := a.down(); d != nil {
		s.Down = &api.Down{Since: d.At, By: d.By, Done: v.live(d) == 0, Except: d.Except}
	}
	return s, nil
}

// proxyStats returns what the proxy says; nil where none answers.
func (a *agent) proxyStats(ctx context.Context) *l7.Stats {
	if len(a.board.get().frontends) == 0 {
		return nil
	}
	s, err := a.proxy.stats(ctx)
	if err != nil {
		return nil
	}
	return &s
}

// off says what this host or user cannot do.
func (a *agent) off() (all []api.Off) {
	if why := a.roles.limits(); why != "" {
		all = append(all, api.Off{What: "cgroups", Why: why})
	}
	if os.Geteuid() != 0 {
		all = append(all,
			api.Off{What: "other users", Why: "the agent is not root"},
			api.Off{What: "ports below 1024", Why: "the agent is not root"})
	}
	return all
}

// view is one moment, as status tells it.
type view struct {
	*agent

	now           *desired
	stats         *l7.Stats // nil: no proxy answers
	instances     map[string][]backstay.Instance
	acked, newest uint64
	told          map[string]bool // by instance: the proxy has the newest word on it
}

// live counts the instances of what d stops that are not stopped yet.
func (v *view) live(d *downMark) (n int) {
	for name, all := range v.instances {
		for _, i := range all {
			if d.stops(name) && i.State.Live() {
				n++
			}
		}
	}
	return n
}

func (v *view) config() api.ConfigStatus {
	s := api.ConfigStatus{File: v.File}
	if r := v.refused.Load(); r != nil {
		s.Refused, s.RefusedAt = r.Why, r.At
	}
	if d := v.now; d != nil {
		s.File, s.Digest, s.AppliedAt, s.By, s.Source, s.LastGood = d.kept.Name, d.kept.Digest, d.kept.At, d.kept.By, d.source, d.kept.Digest
	}
	return s
}

// services are those of the file, and those that have left it and still run.
func (v *view) services() []api.Service {
	names := map[string]bool{}
	for name := range v.instances {
		names[name] = true
	}
	if v.now != nil {
		for name := range v.now.file.Services {
			names[name] = true
		}
	}
	out := make([]api.Service, 0, len(names))
	for _, name := range slices.Sorted(maps.Keys(names)) {
		out = append(out, v.service(name))
	}
	return out
}

func (v *view) service(name string) api.Service {
	s := api.Service{Name: name, Instances: []api.Instance{}}
	if d, ok := v.deploy.Status(name); ok {
		deploy := v.deployOf(d)
		s.Deploy = &deploy
	}
	if rel, ok := v.deploy.Current(name); ok {
		s.Release, s.Version = rel.ID(), rel.Version
	}
	if st, ok := v.deploy.Standing(name); ok {
		s.NoStart = st.NoStart
	}
	if v.now != nil {
		v.desire(name, &s)
	}
	if v.stats != nil {
		if t, ok := v.stats.Services[name]; ok {
			s.Traffic = counters(t.Counters)
		}
	}
	for _, i := range v.instances[name] {
		s.Instances = append(s.Instances, v.instance(i))
		s.StartLimited = s.StartLimited || i.State == backstay.Failed
	}
	return s
}

// desire fills in what the file and the overrides say.
func (v *view) desire(name string, s *api.Service) {
	f, there := v.now.file.Services[name]
	if !there {
		return
	}
	w := v.now.wants[name]
	s.Replicas, s.FileReplicas, s.Stopped = w.Replicas, f.Replicas, w.Stopped
	s.Completes = f.Restart.Policy != "always"
	s.ReadyProbe = f.Probes.Readiness != nil || f.Probes.Startup != nil
	s.Balance = string(f.Traffic.Balance)
	if rel, ok := v.deploy.Find(name, w.Release.Digest); ok && rel.ID() != s.Release {
		s.Wanted = rel.ID()
	}
	if o := v.agent.overrides.of(name); o.Stopped {
		w := o.madeBy(ofStopped)
		s.StoppedBy, s.StoppedSince = w.By, w.At
	} else if d := v.down(); d.stops(name) {
		s.StoppedBy, s.StoppedSince = d.By, d.At
	}
	s.Frontends = v.now.file.RoutesTo(name)
	s.Balanced = len(s.Frontends) > 0
}

func (v *view) instance(i backstay.Instance) api.Instance {
	out := api.Instance{Instance: i}
	if drainedByHand(i) {
		d := v.agent.overrides.drainOf(i.ID)
		out.DrainedBy, out.DrainedSince = d.By, d.At
	}
	if v.stats == nil {
		return out
	}
	t, ok := v.stats.Servers[i.ID]
	if !ok {
		return out
	}
	out.Server = &api.Server{Told: v.told[i.ID], Traffic: *counters(t.Counters), Ejection: int(t.Ejections)}
	if e := t.Ejected; e != nil {
		out.Server.Ejected = &api.Ejection{Since: e.Since, Until: e.Until, Because: e.Because}
	}
	return out
}

func counters(c l7.Counters) *api.Counters {
	return &api.Counters{Requests: c.Requests, Failed: c.Failed, Retried: c.Retried, InFlight: c.InFlight}
}

func (v *view) frontends() []api.Frontend {
	out := []api.Frontend{}
	if v.now == nil {
		return out
	}
	for _, name := range sortedKeys(v.now.file.Frontends) {
		f := v.now.file.Frontends[name]
		front := api.Frontend{Name: name, Routes: routes(f), Files: filesOf(f)}
		for _, bind := range f.Bind {
			front.Binds = append(front.Binds, v.bound(bind))
		}
		if v.stats != nil {
			t := v.stats.Frontends[name]
			front.Traffic, front.Conns = counters(t.Counters), t.Conns
		}
		out = append(out, front)
	}
	return out
}

// filesOf are what f serves from the disk.
func filesOf(f l7.Frontend) (all []string) {
	if f.TLS != nil {
		for _, c := range f.TLS.Certs {
			all = append(all, c.Cert)
		}
	}
	for _, r := range f.Routes {
		if r.Respond != nil && r.Respond.File != "" {
			all = append(all, r.Respond.File)
		}
	}
	return all
}

func (v *view) bound(bind string) api.Bind {
	b := api.Bind{Address: bind, Bound: v.link.file(heldName(bind)) != nil}
	switch {
	case !b.Bound:
		b.Because = "nobody listens there yet"
	case v.stats == nil:
		b.Because = api.NoProxyAnswers
	case slices.Contains(v.stats.Unbound, bind):
		b.Bound, b.Because = false, "the proxy has not got the socket yet"
	}
	return b
}

// routes tells a frontend's routes in words.
func routes(f l7.Frontend) []api.Route {
	if f.Redirect != "" {
		return []api.Route{{Match: "*", To: "redirect " + f.Redirect}}
	}
	out := make([]api.Route, 0, len(f.Routes))
	for _, r := range f.Routes {
		match := strings.TrimSpace(strings.Join(r.Host, ",") + " " + r.Path)
		if len(r.Methods) > 0 {
			match = strings.Join(r.Methods, ",") + " " + match
		}
		route := api.Route{Match: cmp.Or(strings.TrimSpace(match), "*"), To: "service/" + r.To}
		switch {
		case r.Redirect != nil:
			route.To = "redirect " + r.Redirect.URL
		case r.Respond != nil:
			route.To = "respond " + strconv.Itoa(r.Respond.Status)
		}
		out = append(out, route)
	}
	return out
}

// overrides are those of services and of instances that were drained by hand.
func (v *view) overrides() (out []api.Override) {
	names, by := v.agent.overrides.all()
	for _, name := range names {
		var f config.Service
		if v.now != nil {
			f = v.now.file.Services[name]
		}
		out = append(out, overridesOf(name, by[name], f)...)
	}
	for _, service := range sortedKeys(v.instances) {
		for _, i := range v.instances[service] {
			if drainedByHand(i) {
				out = append(out, drainOverride(i, v.agent.overrides.drainOf(i.ID)))
			}
		}
	}
	return out
}

// drainedByHand reports whether an instance was taken out of traffic by a person
// and is not on its way to stop.
func drainedByHand(i backstay.Instance) bool {
	return i.Drained && i.State != backstay.Draining && i.State != backstay.Stopping && i.State != backstay.Stopped
}

func drainOverride(i backstay.Instance, d drain) api.Override {
	return api.Override{
		Ref: backstay.NewRef("instance", i.ID), What: "drained", Value: "true", File: "false",
		By: d.By, Since: d.At, Ending: "backstay undrain " + i.ID,
	}
}

func overridesOf(name string, o override, f config.Service) (out []api.Override) {
	add := func(what, value, file, ending string) {
		w := o.madeBy(what)
		out = append(out, api.Override{
			Ref: backstay.NewRef("service", name), What: what, Value: value, File: file, By: w.By, Since: w.At, Ending: ending,
		})
	}
	if o.Replicas != nil {
		add(ofReplicas, strconv.Itoa(*o.Replicas), strconv.Itoa(f.Replicas), "backstay scale "+name+" --reset")
	}
	if o.Version != "" {
		add(ofVersion, o.Version, f.Version, "backstay deploy "+name+" --reset")
	}
	if o.Stopped {
		add(ofStopped, "true", "false", "backstay start "+name)
	}
	return out
}

// problems are those that nothing else in status shows.
func (v *view) problems() (out []backstay.Problem) {
	out = slices.Concat(v.keeperProblem(), v.stateProblems(), v.disks.problems(v.bus.Refused), v.logProblems(), v.metricsProblem())
	if v.now == nil {
		return append(out, backstay.Problem{
			Code: "no_config", What: "there is no file in force", Where: v.File, Why: "the file is broken and there is no last good one",
			Do: "mend the file and apply it: backstay apply " + v.File,
		})
	}
	out = append(append(out, v.lost()...), v.proxyProblems()...)
	for _, name := range sortedKeys(v.now.file.Services) {
		if st, ok := v.deploy.Standing(name); ok && st.NoStart != "" {
			out = append(out, backstay.Problem{
				Code: "not_started", What: fmt.Sprintf("an instance of %s that is wanted cannot be started: %s", name, st.NoStart),
				Where: "service/" + name, Do: "put that right: it is tried again by itself",
			})
		}
	}
	for _, name := range sortedKeys(v.now.late) {
		err := v.now.late[name]
		out = append(out, backstay.Problem{
			Code: "release_not_startable", What: fmt.Sprintf("the file wants a release of %s that cannot be made: %v", name, err),
			Where: "service/" + name, Do: "put right what is missing and apply the file again",
		})
	}
	return out
}

// keeperProblem is that no keeper answers.
func (v *view) keeperProblem() []backstay.Problem {
	gone := v.link.absent.Load()
	if gone == nil {
		return nil
	}
	return []backstay.Problem{{
		Code: "keeper_gone", What: "no keeper answers since " + gone.since.Local().Format("2006-01-02 15:04:05") + ": what ends now is not started again; " + gone.why,
		Where: "role/keeper", Why: gone.why, Do: "nothing, if this goes by itself: one is started again at once, and what runs goes on. If it stays, put right what it says; the keeper's log is " + v.Dirs.Keeper() + "/keeper.log",
	}}
}

// stateProblems are of files that Backstay keeps for itself.
func (v *view) stateProblems() []backstay.Problem {
	out := v.Dirs.asideProblems()
	if p := v.agent.overrides.problem(); p != nil {
		out = append(out, *p)
	}
	for _, err := range v.deploy.Foreign() {
		p := new(backstay.Problem)
		if errors.As(err, &p) {
			out = append(out, *p)
		}
	}
	return out
}

// lost are what the file names and cannot be read any more.
func (v *view) lost() (out []backstay.Problem) {
	for _, where := range sortedKeys(v.now.lost) {
		out = append(out, backstay.Problem{
			Code: "file_unreadable", What: v.now.lost[where].Error(), Where: where,
			Why: "what was read of it before is in force", Do: "put it right: it is looked at every " + certEvery.String(),
		})
	}
	return out
}

// proxyProblems are of a proxy that is not there, or cannot write its logs.
func (v *view) proxyProblems() (out []backstay.Problem) {
	if len(v.now.file.Frontends) > 0 && v.stats == nil {
		out = append(out, backstay.Problem{
			Code: "no_proxy", What: "no proxy answers: connections wait", Where: "role/proxy",
			Why: v.roles.why(proxyID), Do: "it is started again by itself; see backstay logs role/proxy",
		})
	}
	if v.stats == nil {
		return out
	}
	for _, path := range sortedKeys(v.stats.AccessLog) {
		if l := v.stats.AccessLog[path]; v.drops.lately(path, l.Dropped, time.Now()) {
			out = append(out, backstay.Problem{
				Code: "disk", What: fmt.Sprintf("lines of the access log %s are lost, %d since the proxy started", path, l.Dropped), Where: path,
				Why: l.Because, Do: "let the proxy's user write there, and reach the directory; requests do not wait for it",
			})
		}
	}
	return out
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
