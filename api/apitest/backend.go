package apitest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
)

// Backend implements [api.Backend] on what its fields say. It changes them as an
// agent would, one call at a time, and writes down every change that it was asked
// for.
type Backend struct {
	mu sync.Mutex // guards all below

	State    api.Status
	Kept     []api.Release
	Notes    []string         // of every plan
	Also     []string         // the same
	Wants    []api.Wanted     // of every file that is applied
	Outcomes []api.Wanted     // answered one after the other
	Past     []backstay.Event // oldest first
	Lines    []api.LogLine    // oldest first
	Steps    []api.Progress   // of any deploy, and of down
	Changes  []string         // asked for, in order
	Fail     error            // what every call returns, if set
	Panic    any              // what every call panics with, if set
	Mistake  func(name string, text []byte) error
	Broken   int // so many streams end after one line, as if the agent stopped
}

// New returns a backend on which all is well.
func New() *Backend {
	return &Backend{State: World(), Kept: Releases(), Mistake: func(string, []byte) error { return nil }}
}

// Asked returns the changes asked for so far.
func (b *Backend) Asked() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string{}, b.Changes...)
}

// enter begins a call; what it returns ends it.
func (b *Backend) enter() (leave func(), err error) {
	b.mu.Lock()
	if b.Panic != nil {
		v := b.Panic
		b.mu.Unlock()
		panic(v)
	}
	return b.mu.Unlock, b.Fail
}

func (b *Backend) ask(format string, args ...any) {
	b.Changes = append(b.Changes, fmt.Sprintf(format, args...))
}

// Version implements [api.Viewer].
func (b *Backend) Version(context.Context) (api.Version, error) {
	leave, err := b.enter()
	defer leave()
	return api.Version{Version: b.State.Version, API: "v1", Node: b.State.Node, PID: 101, Since: Before(time.Hour)}, err
}

// Status implements [api.Viewer].
func (b *Backend) Status(context.Context) (api.Status, error) {
	leave, err := b.enter()
	defer leave()
	return clone(b.State), err
}

// clone returns a status that shares nothing with st: it is read while the
// backend goes on.
func clone(st api.Status) api.Status {
	text, err := json.Marshal(st)
	var out api.Status
	if err = errors.Join(err, json.Unmarshal(text, &out)); err != nil {
		panic(fmt.Sprintf("clone status: %v", err)) // it goes over the wire as it is
	}
	out.Lines = st.Lines
	return out
}

// Change changes the backend between two calls.
func (b *Backend) Change(f func(b *Backend)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f(b)
}

// Recent implements [api.Viewer].
func (b *Backend) Recent(_ context.Context, _ backstay.Ref, limit int) ([]backstay.Event, error) {
	leave, err := b.enter()
	defer leave()
	var newest []backstay.Event
	for i := len(b.Past) - 1; i >= 0 && len(newest) < limit; i-- {
		newest = append(newest, b.Past[i])
	}
	return newest, err
}

// find returns the service called name.
func (b *Backend) find(name string) (*api.Service, error) {
	for i := range b.State.Services {
		if b.State.Services[i].Name == name {
			return &b.State.Services[i], nil
		}
	}
	return nil, notFound("service/" + name)
}

func notFound(ref string) error {
	return &backstay.Problem{Code: "not_found", What: "there is no " + ref, Where: ref, Do: "backstay status lists what there is"}
}

// Releases implements [api.Viewer].
func (b *Backend) Releases(_ context.Context, service string) ([]api.Release, error) {
	leave, err := b.enter()
	defer leave()
	if _, missing := b.find(service); missing != nil {
		return nil, missing
	}
	if service != "shop" {
		return nil, err
	}
	return b.Kept, err
}

// History implements [api.Viewer].
func (b *Backend) History(_ context.Context, service string) ([]api.Deploy, error) {
	leave, err := b.enter()
	defer leave()
	s, missing := b.find(service)
	if missing != nil || s.Deploy == nil {
		return nil, missing
	}
	return []api.Deploy{*s.Deploy}, err
}

// Diff implements [api.Viewer].
func (b *Backend) Diff(_ context.Context, from, to string) ([]api.Change, error) {
	leave, err := b.enter()
	defer leave()
	if from == to {
		return nil, err
	}
	return []api.Change{{Key: "services.shop.version", From: "v1", To: "v2", Tag: api.Roll, Service: "shop", Text: "shop: version v1 → v2", Traffic: "rolls 3 instances"}}, err
}

// Configs implements [api.Configs].
func (b *Backend) Configs(context.Context) ([]api.Config, error) {
	leave, err := b.enter()
	defer leave()
	return []api.Config{{Digest: b.State.Config.Digest, File: b.State.Config.File, At: b.State.Config.AppliedAt, By: "root", InUse: true}}, err
}

// Validate implements [api.Configs].
func (b *Backend) Validate(_ context.Context, ask api.ConfigAsk) error {
	leave, err := b.enter()
	defer leave()
	if err != nil {
		return err
	}
	return b.Mistake(ask.Name, ask.Text)
}

// Plan implements [api.Configs].
func (b *Backend) Plan(_ context.Context, ask api.ConfigAsk) (api.Plan, error) {
	leave, err := b.enter()
	defer leave()
	if err == nil {
		err = b.Mistake(ask.Name, ask.Text)
	}
	return b.plan(ask), err
}

func (b *Backend) plan(ask api.ConfigAsk) api.Plan {
	p := api.Plan{
		From: b.State.Config.Digest, To: "ffee0011", Generation: b.State.Generation, Changes: []api.Change{},
		Overrides: b.State.Overrides, Notes: b.Notes, Also: b.Also,
	}
	if strings.Contains(string(ask.Text), "version: v3") {
		p.Changes = append(p.Changes, api.Change{
			Key: "services.shop.version", From: "v1", To: "v3", Tag: api.Roll, Service: "shop", Text: "shop: version v1 → v3",
			Traffic: "rolls 3 instances", Where: ask.Name + ":3:1",
		})
	}
	if strings.Contains(string(ask.Text), "replicas: 5") {
		p.Changes = append(p.Changes, api.Change{Key: "services.shop.replicas", From: "3", To: "5", Tag: api.Live, Service: "shop", Text: "shop: replicas 3 → 5", Where: ask.Name + ":9:15"})
	}
	return p
}

// Apply implements [api.Configs].
func (b *Backend) Apply(_ context.Context, ask api.ConfigAsk) (api.Applied, error) {
	leave, err := b.enter()
	defer leave()
	if err == nil {
		err = b.Mistake(ask.Name, ask.Text)
	}
	if err == nil && ask.IfMatch != "" && ask.IfMatch != b.State.Config.Digest {
		err = &backstay.Problem{Code: "changed_meanwhile", What: "another file is in force", Where: "If-Match", Do: "plan again"}
	}
	if err != nil {
		return api.Applied{}, err
	}
	if ask.StopAll {
		ask.Name += ", which may stop all,"
	}
	if ask.Gap {
		ask.Name += ", gap or not,"
	}
	b.ask("apply %s by %s", ask.Name, ask.By.Name)
	p := b.plan(ask)
	b.State.Generation++
	p.Generation = b.State.Generation
	return api.Applied{Plan: p, Unchanged: len(p.Changes) == 0, Wants: b.Wants}, nil
}

// Deploy implements [api.Deploys].
func (b *Backend) Deploy(_ context.Context, service string, ask api.DeployAsk, by api.Actor) (api.Deploy, error) {
	leave, err := b.enter()
	defer leave()
	s, missing := b.find(service)
	switch {
	case err != nil:
		return api.Deploy{}, err
	case missing != nil:
		return api.Deploy{}, missing
	case s.Deploy != nil && !s.Deploy.State.Ended() && !ask.Supersede:
		return api.Deploy{}, &backstay.Problem{Code: "deploy_running", What: "a deploy of " + service + " is under way", Where: "deploy/" + service, Do: "wait with --wait 15m, or take its place with --supersede"}
	}
	b.ask("deploy %s %+v by %s", service, ask, by.Name)
	s.Deploy = &api.Deploy{ID: "shop-d3", Service: service, From: s.Release, To: service + "@3", Version: ask.Version, Strategy: "rolling", State: api.DeployRolling, Since: Now, Started: Now, By: by.Name, Of: s.Replicas}
	return *s.Deploy, nil
}

// Rollback implements [api.Deploys].
func (b *Backend) Rollback(_ context.Context, service string, to int, by api.Actor) (api.Deploy, error) {
	return b.onDeploy(service, fmt.Sprintf("rollback to %d", to), by)
}

// Pause implements [api.Deploys].
func (b *Backend) Pause(_ context.Context, service string, by api.Actor) (api.Deploy, error) {
	return b.onDeploy(service, "pause", by)
}

// Resume implements [api.Deploys].
func (b *Backend) Resume(_ context.Context, service string, by api.Actor) (api.Deploy, error) {
	return b.onDeploy(service, "resume", by)
}

// Abort implements [api.Deploys].
func (b *Backend) Abort(_ context.Context, service string, by api.Actor) (api.Deploy, error) {
	return b.onDeploy(service, "abort", by)
}

func (b *Backend) onDeploy(service, verb string, by api.Actor) (api.Deploy, error) {
	leave, err := b.enter()
	defer leave()
	s, missing := b.find(service)
	switch {
	case err != nil:
		return api.Deploy{}, err
	case missing != nil:
		return api.Deploy{}, missing
	case s.Deploy == nil:
		return api.Deploy{}, &backstay.Problem{Code: "no_deploy", What: "no deploy of " + service + " is under way", Where: "deploy/" + service, Do: "backstay history " + service}
	}
	b.ask("%s %s by %s", verb, service, by.Name)
	return *s.Deploy, nil
}

// Outcome implements [api.Deploys]: the next of Outcomes.
func (b *Backend) Outcome(_ context.Context, service, release, after string) (api.Wanted, error) {
	leave, err := b.enter()
	defer leave()
	if err != nil {
		return api.Wanted{}, err
	}
	b.ask("outcome of %s of %s after %s", release, service, after)
	if len(b.Outcomes) == 0 {
		return api.Wanted{Service: service, Release: release, After: after, Outcome: api.OutcomeInForce}, nil
	}
	next := b.Outcomes[0]
	b.Outcomes = b.Outcomes[1:]
	return next, nil
}

// Metrics implements [api.Backend].
func (b *Backend) Metrics() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, "backstay_up 1") })
}
