package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/config"
	"github.com/backstay/backstay/supervise"
)

// Bounds of a change of the file.
const (
	// acceptWithin bounds it as a whole: who asked may have gone, and half of it
	// must not be left.
	acceptWithin = 30 * time.Second
	// settleWithin bounds the wait for proxies: one that does not answer is told
	// by itself as soon as it does.
	settleWithin = 5 * time.Second
	// undoWithin bounds the way back.
	undoWithin = 10 * time.Second
)

// take is apply: what the file asks for is in force and durable when it returns.
func (a *agent) take(ctx context.Context, ask api.ConfigAsk) (api.Applied, error) {
	a.changing.Lock()
	defer a.changing.Unlock()
	d, err := a.prepare(ctx, ask.Name, ask.Text)
	if err == nil {
		err = a.matches(ask.IfMatch)
	}
	if err == nil && !ask.StopAll {
		err = a.stopsAll(d)
	}
	if err == nil {
		err = a.takesOwnPort(d)
	}
	if err == nil && !ask.Gap {
		err = a.opensGap(d)
	}
	if err != nil {
		return api.Applied{}, err
	}
	a.work(d, nil, anew) // a file ends down
	if err := d.firstLate(); err != nil {
		return api.Applied{}, err
	}
	before := a.now.Load()
	d.kept.By = ask.By.Name
	d.brought(ask.By.Name, "apply")
	ended := a.endedSoFar(d)
	applied := api.Applied{Plan: a.planOf(before, d), Unchanged: before != nil && before.kept.Digest == d.kept.Digest}
	if err := a.accept(ctx, d); err != nil {
		return api.Applied{}, err
	}
	if err := a.endDown(); err != nil {
		return api.Applied{}, err
	}
	a.overrides.settle(d.file, a.bus)
	a.endRefusal()
	a.tellApplied(before, d, ask.By.Name)
	applied.Generation = d.kept.Gen
	applied.Wants = a.wanted(ctx, d, ended)
	for _, w := range applied.Wants {
		if note := w.Note(); note != "" && !slices.Contains(applied.Notes, note) {
			applied.Notes = append(applied.Notes, note)
		}
		if w.Outcome == "" && w.Deploy != nil {
			applied.Deploys = append(applied.Deploys, *w.Deploy)
		}
	}
	return applied, nil
}

// matches checks that what is in force is what the asker has seen.
func (a *agent) matches(digest string) error {
	now := a.now.Load()
	if digest == "" || now != nil && now.kept.Digest == digest {
		return nil
	}
	inForce := "nothing"
	if now != nil {
		inForce = now.kept.Digest
	}
	return &backstay.Problem{
		Code: "changed_meanwhile", What: "the config in force is " + inForce + ", not " + digest, Where: "If-Match",
		Why: "someone has applied another file", Do: "look at `backstay plan` and apply again",
	}
}

// stopsAll refuses a file without services while there are some in force: it may
// be the beginning of one that is being saved, and all that runs would stop.
func (a *agent) stopsAll(d *desired) error {
	now := a.now.Load()
	if now == nil || len(now.file.Services) == 0 || len(d.file.Services) > 0 {
		return nil
	}
	return &backstay.Problem{
		Code: "stops_everything", What: "the file has no services: it would stop all that runs", Where: d.file.Name(),
		Why: fmt.Sprintf("the file in force, %s, has %d", now.kept.Digest, len(now.file.Services)),
		Do:  "backstay apply --stop-all FILE if that is meant; backstay down stops everything and keeps the file",
	}
}

// accept puts d in force: all of it, or nothing. What can fail for want of room
// or of an address is done before any room hears of it. changing is held.
func (a *agent) accept(ctx context.Context, d *desired) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), acceptWithin)
	defer cancel()
	before := a.now.Load()
	if !d.adopted {
		d.kept = a.configs.dated(d.kept)
		d.kept.Gen = a.configs.nextGen(before)
		if err := a.configs.keepText(d.kept, d.text); err != nil {
			return diskProblem(a.configs.dir, err)
		}
	}
	bound, err := a.link.bind(ctx, d.file.Binds())
	if err != nil && !d.adopted {
		return err
	}
	if err != nil { // what runs is looked after all the same; see [agent.tidy]
		a.log.ErrorContext(ctx, "not all addresses are bound, trying on", "why", err.Error())
	}
	if err := a.change(ctx, d); err != nil {
		return a.undo(ctx, before, d, bound, partProblem(d, err))
	}
	if err := a.keep(d); err != nil {
		return a.undo(ctx, before, d, bound, diskProblem(a.configs.dir, err))
	}
	a.now.Store(d)
	a.settle(ctx, d)
	return nil
}

// keep makes d outlive this agent.
func (a *agent) keep(d *desired) error {
	if d.adopted {
		return nil // it has
	}
	d.kept.Source = d.source
	return a.configs.keep(d.kept)
}

// undo puts back what was in force before d, and returns why.
func (a *agent) undo(ctx context.Context, before, d *desired, bound []string, why error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoWithin)
	defer cancel()
	if before != nil {
		why = errors.Join(why, a.change(ctx, before))
		waiting, stop := context.WithTimeout(ctx, settleWithin)
		defer stop()
		_ = a.registry.Settle(waiting) // a proxy that has a new socket must have closed it before it is free
	}
	a.bus.Record(backstay.Event{Kind: backstay.ConfigUndone, Ref: "config/file", To: d.kept.Digest, Because: why.Error()})
	return errors.Join(why, a.letGo(ctx, bound))
}

func diskProblem(dir string, err error) error {
	if p := new(fs.PathError); errors.As(err, &p) {
		dir = filepath.Dir(p.Path)
	}
	return &backstay.Problem{
		Code: "disk", What: "the file cannot be kept: " + err.Error(), Where: dir, Do: "make room on that disk; nothing has changed",
	}
}

// partProblem is err as a refusal of the whole file.
func partProblem(d *desired, err error) error {
	if p := new(backstay.Problem); errors.As(err, &p) {
		return err
	}
	return &backstay.Problem{
		Code: "refused_by_part", What: err.Error(), Where: d.file.Name(), Do: "all is as it was; the log of the agent says more: backstay logs role/agent",
	}
}

// change has every room take d, in the order of the rooms. Each takes the same
// again without harm.
func (a *agent) change(ctx context.Context, d *desired) error {
	a.secrets.take(d.secrets)
	a.board.set(d.orders)
	if err := a.joinProxy(ctx, d.file); err != nil {
		return fmt.Errorf("apply proxy: %w", err)
	}
	a.registry.Touch()
	if err := a.supervise.Apply(ctx, services(d.file)); err != nil {
		return fmt.Errorf("apply supervise: %w", err)
	}
	if err := a.deploy.Apply(ctx, d.wants); err != nil {
		return fmt.Errorf("apply deploy: %w", err)
	}
	return nil
}

func services(f *config.File) map[string]supervise.Service {
	out := map[string]supervise.Service{}
	for name, s := range f.Services {
		s.MaxUnavailable = s.Deploy.MaxUnavailable
		out[name] = s.Service
	}
	return out
}

// settle waits until proxies serve d, and lets go of addresses that are gone.
func (a *agent) settle(ctx context.Context, d *desired) {
	waiting, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	if err := a.registry.Settle(waiting); err != nil {
		a.log.WarnContext(ctx, "a proxy has not yet taken the file", "why", err.Error())
		return // it may still listen there; see [agent.tidy]
	}
	a.tryLetGo(ctx, a.gone(d))
}

// gone returns the addresses that are held and that d does not name.
func (a *agent) gone(d *desired) (binds []string) {
	keep := d.file.Binds()
	for _, name := range a.link.names() {
		if bind, ok := bindOf(name); ok && !slices.Contains(keep, bind) {
			binds = append(binds, bind)
		}
	}
	return binds
}

func (a *agent) tryLetGo(ctx context.Context, binds []string) {
	if err := a.letGo(ctx, binds); err != nil {
		a.log.WarnContext(ctx, "address not let go", "binds", binds, "why", err.Error())
	}
}

// letGo closes addresses that no frontend in force has: we and the keeper first,
// then the proxy, which serves who has come by then. Were it the other way round,
// the kernel would go on taking clients that nobody serves. The proxy is asked
// again until it has answered; see [agent.tidy].
func (a *agent) letGo(ctx context.Context, binds []string) error {
	if len(binds) == 0 && !a.owes {
		return nil
	}
	a.owes = true
	if err := a.link.unbind(ctx, binds); err != nil {
		return err
	}
	if a.joined {
		if err := a.proxy.unbind(ctx, false); err != nil {
			return err
		}
	}
	a.owes = false
	return unlink(ctx, binds)
}

// tidy does what settle could not, for a proxy did not answer then, and what
// adopt could not, for an address was somebody else's.
func (a *agent) tidy(ctx context.Context) {
	a.changing.Lock()
	defer a.changing.Unlock()
	d := a.now.Load()
	if d == nil {
		return
	}
	if bound, err := a.link.bind(ctx, d.file.Binds()); err == nil && len(bound) > 0 {
		if err := a.joinProxy(ctx, d.file); err != nil {
			a.log.WarnContext(ctx, "proxy not told of a socket", "why", err.Error())
		}
		a.registry.Touch()
	}
	if len(a.gone(d)) == 0 && !a.owes {
		return
	}
	waiting, cancel := context.WithTimeout(ctx, proxyAskWithin)
	defer cancel()
	if a.registry.Settle(waiting) == nil {
		a.tryLetGo(ctx, a.gone(d))
	}
}

// joinProxy has a proxy run as soon as there is a frontend, with the addresses of
// f. It stays when the last one goes: it finishes what is in flight, however
// long that takes, and costs nothing.
func (a *agent) joinProxy(ctx context.Context, f *config.File) error {
	if len(f.Frontends) == 0 {
		if a.roles.runs(proxyID) {
			a.join()
		} else if !a.joined {
			a.registry.Leave("proxy") // it was expected, see [agent.expectProxy]
		}
		return nil
	}
	user := a.proxyUser()
	a.proxyIs = &user
	if err := a.link.holdProxySockets(ctx, a.Dirs.proxy(), user.uid()); err != nil {
		return err
	}
	fds := []string{heldAPI, heldFiles}
	for _, bind := range f.Binds() {
		if a.link.file(heldName(bind)) != nil {
			fds = append(fds, heldName(bind))
		}
	}
	spec, err := a.proxySpec(user, fds)
	if err != nil {
		return err
	}
	a.openLogs(ctx, f, user)
	if err := a.link.Put(ctx, spec); err != nil {
		return err
	}
	if err := a.link.Start(ctx, proxyID); err != nil {
		return err
	}
	a.join()
	return nil
}

// join has the registry tell the proxy of everything.
func (a *agent) join() {
	if !a.joined {
		a.registry.Join("proxy", a.proxy)
		a.joined = true
	}
}

// down returns the mark that down has left, or nil.
func (a *agent) down() *downMark { return readDown(filepath.Join(a.Dirs.Run, "down")) }
