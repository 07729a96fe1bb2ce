package daemon

import (
	"context"
	"errors"
	"strings"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/deploy"
)

// Deploy implements [api.Deploys]. A version is an override: it is checked that
// its release can be made before anything changes, and what is refused leaves
// all as it was.
func (a *agent) Deploy(ctx context.Context, service string, ask api.DeployAsk, by api.Actor) (api.Deploy, error) {
	a.changing.Lock()
	defer a.changing.Unlock()
	f, err := a.service(service)
	if err != nil {
		return api.Deploy{}, err
	}
	before, now := a.overrides.of(service), a.now.Load()
	why := "deploy"
	switch {
	case ask.Reset:
		why, ask.Version = "deploy --reset", f.Version
	case ask.Version != "":
		why = "deploy --version " + ask.Version
	}
	if ask.Reset || ask.Version != "" {
		if err := a.overrideVersion(service, ask.Version, f.Version, by); err != nil {
			return api.Deploy{}, err
		}
	}
	got, err := a.deployWanted(ctx, service, deploy.Ask{Again: ask.Again, Supersede: ask.Supersede, By: by.Name, Why: why})
	ended := !sameOverride(before, a.overrides.of(service))
	if isCode(err, "nothing_to_deploy") && ended {
		if got, ok := a.broughtBy(service); ok { // the version was changed to what runs already
			return a.deployOf(got), nil
		}
	}
	if err != nil {
		a.now.Store(now)
		ctx = context.WithoutCancel(ctx)
		return api.Deploy{}, errors.Join(askAgain(err, ask, f.Version), a.overrides.restore(service, before), a.deploy.Apply(ctx, now.wants))
	}
	a.tellOverride(service, before, by)
	return a.deployOf(got), nil
}

// askAgain has what is to be done about a release that is not tried again by
// itself name the version that was asked for: without it another one is meant.
func askAgain(err error, ask api.DeployAsk, file string) error {
	p, ok := errors.AsType[*backstay.Problem](err)
	if !ok || p.Code != "release_rolled_back" || ask.Version == "" {
		return err
	}
	flag := " --version " + ask.Version
	if ask.Version == file {
		flag = " --reset"
	}
	with := *p
	with.Do = strings.Replace(p.Do, " --again", flag+" --again", 1)
	return &with
}

// overrideVersion has version stand over that of the file, if its release can be
// made.
func (a *agent) overrideVersion(service, version, file string, by api.Actor) error {
	now := a.now.Load()
	if _, err := a.maker.release(now.file, now.secrets, service, version); err != nil {
		return err
	}
	return a.overrides.set(service, by.Name, func(o *override) { o.Version = overrideOf(version, file) })
}

// broughtBy returns the deploy that has brought the release in force.
func (a *agent) broughtBy(service string) (deploy.Deploy, bool) {
	rel, ok := a.deploy.Current(service)
	if !ok {
		return deploy.Deploy{}, false
	}
	for _, d := range a.deploy.History(service) {
		if d.State.Ended() && d.Dest() == rel.Seq {
			return d, true
		}
	}
	return deploy.Deploy{}, false
}

// tellOverride tells of a version that stands over the file, or no longer does.
func (a *agent) tellOverride(service string, before override, by api.Actor) {
	after := a.overrides.of(service)
	if sameOverride(before, after) {
		return
	}
	e := backstay.Event{Kind: backstay.OverrideSet, Ref: backstay.NewRef("service", service), Because: "version " + after.Version, Actor: by.Name}
	if after.Version == "" {
		e.Kind, e.Because = backstay.OverrideGone, "the file says the version"
	}
	a.bus.Record(e)
}

// deployWanted has the release deployed that the file and the overrides ask for.
func (a *agent) deployWanted(ctx context.Context, service string, ask deploy.Ask) (deploy.Deploy, error) {
	if err := a.againHeld(ctx, service, ask); err != nil {
		return deploy.Deploy{}, err
	}
	return a.deploy.Deploy(ctx, service, ask) //nolint:wrapcheck // it is a Problem
}

// overrideOf is the override that has version run: none where the file says it.
func overrideOf(version, file string) string {
	if version == file {
		return ""
	}
	return version
}

// Rollback implements [api.Deploys].
func (a *agent) Rollback(ctx context.Context, service string, to int, by api.Actor) (api.Deploy, error) {
	a.changing.Lock()
	defer a.changing.Unlock()
	d, err := a.onDeploy(service, func() (deploy.Deploy, error) { return a.deploy.Rollback(ctx, service, to, by.Name) })
	if err == nil {
		a.wantWhatIsBack(ctx, service, d.To, by)
	}
	return d, err
}

// wantWhatIsBack has the version of a release that was gone back to be what is
// wanted, where the file with that version means just that release: else status
// would show for ever that something else is.
func (a *agent) wantWhatIsBack(ctx context.Context, service, id string, by api.Actor) {
	now := a.now.Load()
	back, ok := a.deploy.Release(id)
	if !ok || now == nil {
		return
	}
	rel, err := a.maker.release(now.file, now.secrets, service, back.Version)
	if err != nil || rel.Digest != back.Digest {
		return
	}
	version := overrideOf(back.Version, now.file.Services[service].Version)
	if err := a.overrides.set(service, by.Name, func(o *override) { o.Version = version }); err != nil {
		a.log.WarnContext(ctx, "override not kept", "service", service, "why", err.Error())
		return
	}
	if err := a.againHeld(ctx, service, deploy.Ask{By: by.Name, Why: "rollback"}); err != nil {
		a.log.WarnContext(ctx, "release not wanted that was gone back to", "service", service, "why", err.Error())
	}
}

// Pause implements [api.Deploys].
func (a *agent) Pause(ctx context.Context, service string, by api.Actor) (api.Deploy, error) {
	return a.onDeploy(service, func() (deploy.Deploy, error) { return a.deploy.Pause(ctx, service, by.Name) })
}

// Resume implements [api.Deploys].
func (a *agent) Resume(ctx context.Context, service string, by api.Actor) (api.Deploy, error) {
	return a.onDeploy(service, func() (deploy.Deploy, error) { return a.deploy.Resume(ctx, service, by.Name) })
}

// Abort implements [api.Deploys].
func (a *agent) Abort(ctx context.Context, service string, by api.Actor) (api.Deploy, error) {
	return a.onDeploy(service, func() (deploy.Deploy, error) { return a.deploy.Abort(ctx, service, by.Name) })
}

func (a *agent) onDeploy(service string, do func() (deploy.Deploy, error)) (api.Deploy, error) {
	if _, err := a.service(service); err != nil {
		return api.Deploy{}, err
	}
	d, err := do()
	if err != nil {
		return api.Deploy{}, err
	}
	return a.deployOf(d), nil
}

// Releases implements [api.Viewer].
func (a *agent) Releases(_ context.Context, service string) ([]api.Release, error) {
	all := a.deploy.Releases(service)
	if all == nil {
		if _, err := a.service(service); err != nil {
			return nil, err
		}
	}
	running := map[string]int{}
	for _, i := range a.supervise.Instances() {
		running[i.Release]++
	}
	out := make([]api.Release, 0, len(all))
	for _, r := range all {
		one := api.Release{
			ID: r.ID(), Service: r.Service, Seq: r.Seq, Version: r.Version, Digest: r.Digest, At: r.At, By: r.By, Why: r.Why,
			Current: r.Current, Good: r.Good, RolledBack: r.Undone, Instances: running[r.ID()],
		}
		if err := a.maker.Startable(r.Release); err != nil {
			one.NotRestorable = err.Error()
		}
		out = append(out, one)
	}
	return out, nil
}

// History implements [api.Viewer].
func (a *agent) History(_ context.Context, service string) ([]api.Deploy, error) {
	all := a.deploy.History(service)
	if all == nil {
		if _, err := a.service(service); err != nil {
			return nil, err
		}
	}
	out := make([]api.Deploy, 0, len(all))
	for _, d := range all {
		out = append(out, a.deployOf(d))
	}
	return out, nil
}

// Watch implements [api.Deploys].
func (a *agent) Watch(ctx context.Context, service, id string, after int, line func(api.Progress) error) error {
	lines, err := a.deploy.Watch(ctx, service, id, after)
	if err != nil {
		return err //nolint:wrapcheck // it is a Problem
	}
	for p := range lines {
		d := a.deployOf(p.Deploy)
		if err := line(api.Progress{N: p.N, At: p.At, Text: p.Text, State: string(p.Deploy.State), Final: p.Final, Deploy: &d}); err != nil {
			return err
		}
	}
	return ctx.Err() //nolint:wrapcheck // who asked has gone
}

// deployOf is d as the API shows it.
func (a *agent) deployOf(d deploy.Deploy) api.Deploy {
	out := api.Deploy{
		ID: d.ID, Service: d.Service, To: backstay.ReleaseID(d.Service, d.To), Strategy: d.Strategy,
		State: api.DeployState(d.State), Since: d.Since, Step: d.Waits, Reason: d.Reason, LastLog: d.LastLog,
		Started: d.Started, Deadline: d.Deadline, Ended: d.Ended, By: d.By, Why: d.Why,
		Replaced: d.Replaced, Of: d.Of, Leaving: d.Leaving, Old: met(d.Old), New: met(d.New),
		Version: d.Version, // its release may have been forgotten
	}
	if d.From == d.To { // a restart: both count the same requests
		out.Old = api.Counters{}
	}
	if d.From > 0 {
		out.From = backstay.ReleaseID(d.Service, d.From)
	}
	return out
}

func met(c deploy.Counters) api.Counters { return api.Counters{Requests: c.Sent, Failed: c.Failed} }
