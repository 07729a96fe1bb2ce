package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/config"
	"github.com/backstay/backstay/deploy"
	"github.com/backstay/backstay/internal/nearest"
)

// Scale implements [api.Operator].
func (a *agent) Scale(ctx context.Context, service string, replicas *int, by api.Actor) (api.Done, error) {
	ref := backstay.NewRef("service", service)
	f, err := a.service(service)
	if err != nil {
		return api.Done{}, err
	}
	text := fmt.Sprintf("%s: %s wanted, as the file says", service, plural(f.Replicas, "instance"))
	if replicas != nil {
		if *replicas < 0 || *replicas > maxReplicas || *replicas > 1 && a.now.Load().file.FixedPorts(service) {
			return api.Done{}, &backstay.Problem{
				Code: "bad_replicas", What: fmt.Sprintf("%s cannot have %d instances", service, *replicas), Where: string(ref),
				Why: "a service with a fixed port has one, any other up to 1000", Do: "ask for a number that it can have, or give it ports: auto",
			}
		}
		text = fmt.Sprintf("%s: %s wanted (the file says %d)", service, plural(*replicas, "instance"), f.Replicas)
		if *replicas == f.Replicas {
			replicas = nil
		}
	}
	return a.override(ctx, service, by, text, func(o *override) { o.Replicas = replicas })
}

// maxReplicas is that of the file.
const maxReplicas = 1000

// service returns what the file in force says about name.
func (a *agent) service(name string) (config.Service, error) {
	d := a.now.Load()
	if d == nil {
		return config.Service{}, &backstay.Problem{Code: "no_config", What: "there is no file in force", Where: a.File, Do: "mend it and apply it: backstay apply " + a.File}
	}
	s, ok := d.file.Services[name]
	if !ok {
		known := "there are none"
		if len(d.file.Services) > 0 {
			known = "known: " + strings.Join(sortedKeys(d.file.Services), ", ")
			if near := nearest.Of(name, sortedKeys(d.file.Services)); near != "" {
				known = "did you mean " + near + "? " + known
			}
		}
		return s, &backstay.Problem{Code: "not_found", What: "there is no service " + name, Where: "service/" + name, Do: known}
	}
	return s, nil
}

// override changes the override of a service, durably, and brings about what
// follows. On an error it is as before.
func (a *agent) override(ctx context.Context, service string, by api.Actor, text string, change func(*override)) (api.Done, error) {
	a.changing.Lock()
	defer a.changing.Unlock()
	return a.overrideHeld(ctx, service, by, text, change)
}

// overrideHeld is override with changing held.
func (a *agent) overrideHeld(ctx context.Context, service string, by api.Actor, text string, change func(*override)) (api.Done, error) {
	before := a.overrides.of(service)
	if err := a.overrides.set(service, by.Name, change); err != nil {
		return api.Done{}, err
	}
	after := a.overrides.of(service)
	done := api.Done{Ref: backstay.NewRef("service", service), Text: text, Changed: !sameOverride(before, after)}
	if !done.Changed {
		return done, nil
	}
	if err := a.againHeld(ctx, "", deploy.Ask{}); err != nil {
		return api.Done{}, errors.Join(err, a.overrides.restore(service, before))
	}
	kind := backstay.OverrideSet
	if after.empty() {
		kind = backstay.OverrideGone
	}
	a.bus.Record(backstay.Event{Kind: kind, Ref: done.Ref, Because: text, Actor: by.Name})
	return done, nil
}

func sameOverride(a, b override) bool {
	return a.Stopped == b.Stopped && a.Version == b.Version && sameNumber(a.Replicas, b.Replicas)
}

func sameNumber(a, b *int) bool { return (a == nil) == (b == nil) && (a == nil || *a == *b) }

// Start implements [api.Operator]: it ends a stop, and tries again at once what
// waits or has failed.
func (a *agent) Start(ctx context.Context, ref backstay.Ref, by api.Actor) (api.Done, error) {
	name := ref.Name()
	if ref.Kind() == "instance" {
		if err := a.supervise.StartAgain(ctx, name); err != nil {
			return api.Done{}, problemOf(ref, err)
		}
		return api.Done{Ref: ref, Changed: true, Text: name + " starts"}, nil
	}
	done, err := a.startService(ctx, name, by)
	if err != nil {
		return done, err
	}
	for _, i := range a.supervise.Instances() {
		if i.Service != name || i.State != backstay.Failed && i.State != backstay.Backoff {
			continue
		}
		done.Changed = true
		// One that has gone meanwhile needs no start.
		if err := a.supervise.StartAgain(ctx, i.ID); err != nil && !isCode(err, "not_found") && !isCode(err, "instance_stopping") {
			return done, problemOf(ref, err)
		}
	}
	return done, nil
}

// startService ends what keeps a service from running: its stop, and down, which
// goes on keeping all others stopped.
func (a *agent) startService(ctx context.Context, name string, by api.Actor) (api.Done, error) {
	a.changing.Lock()
	defer a.changing.Unlock()
	if _, err := a.service(name); err != nil {
		return api.Done{}, err
	}
	down := a.down().stops(name)
	if down {
		if err := a.startInDown(ctx, name, by); err != nil {
			return api.Done{}, err
		}
	}
	text := name + " is wanted"
	if a.down() != nil {
		text += "; what backstay down has stopped besides stays so until backstay start NAME or backstay apply"
	}
	done, err := a.overrideHeld(ctx, name, by, text, func(o *override) { o.Stopped = false })
	done.Changed = done.Changed || down
	return done, err
}

// Stop implements [api.Operator].
func (a *agent) Stop(ctx context.Context, ref backstay.Ref, by api.Actor) (api.Done, error) {
	name := ref.Name()
	if ref.Kind() == "instance" {
		return api.Done{}, &backstay.Problem{
			Code: "not_for_instances", What: "one instance cannot be stopped for good", Where: string(ref),
			Why: "its service keeps its number of instances", Do: "use backstay restart " + name + ", backstay drain " + name + ", or backstay scale",
		}
	}
	if _, err := a.service(name); err != nil {
		return api.Done{}, err
	}
	done, err := a.override(ctx, name, by, name+" is stopped until backstay start "+name, func(o *override) { o.Stopped = true })
	if err != nil {
		return done, err
	}
	return done, a.awaitStopped(ctx, name)
}

// awaitStopped returns when nothing of a service runs any more, or is to stop.
func (a *agent) awaitStopped(ctx context.Context, name string) error {
	for {
		changed := a.supervise.Changed()
		left := 0
		for _, i := range a.supervise.Of(name) {
			if i.State.Live() {
				left++
			}
		}
		switch {
		case left == 0:
			return nil
		case !a.overrides.of(name).Stopped:
			return &backstay.Problem{
				Code: "changed_meanwhile", What: "somebody has started " + name + " again before all of it had stopped", Where: "service/" + name,
				Do: "see backstay events for who, and stop it again if it is to be stopped",
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return &backstay.Problem{
				Code: "timeout", What: fmt.Sprintf("%s of %s drain or stop yet", plural(left, "instance"), name), Where: "service/" + name,
				Why: "stop.drain, stop.drain_long and stop.grace of the file", Do: "nothing: it goes on; backstay status shows how far it is",
			}
		}
	}
}

// Restart implements [api.Operator].
func (a *agent) Restart(ctx context.Context, ref backstay.Ref, by api.Actor) (api.Done, error) {
	name := ref.Name()
	if ref.Kind() == "instance" {
		if err := a.supervise.Restart(ctx, name, "restart by "+by.Name); err != nil {
			return api.Done{}, problemOf(ref, err)
		}
		return api.Done{Ref: ref, Changed: true, Text: name + " starts anew"}, nil
	}
	if _, err := a.service(name); err != nil {
		return api.Done{}, err
	}
	d, err := a.deploy.Restart(ctx, name, by.Name)
	if err != nil {
		return api.Done{}, err //nolint:wrapcheck // it is a Problem
	}
	deploy := a.deployOf(d)
	return api.Done{Ref: ref, Changed: true, Text: name + " is replaced by new instances of " + deploy.To, Deploy: &deploy}, nil
}

// Drain implements [api.Operator].
func (a *agent) Drain(ctx context.Context, ref backstay.Ref, by api.Actor) (api.Done, error) {
	all, err := a.instancesOf(ref)
	if err != nil {
		return api.Done{}, err
	}
	if err := a.overrides.noteDrains(ids(undrained(all)), ids(a.supervise.Instances()), by.Name); err != nil {
		return api.Done{}, err
	}
	done := api.Done{Ref: ref, Changed: len(undrained(all)) > 0, Text: ofAll(all, "takes", "take") + " no new requests"}
	return done, a.each(ctx, ref, all, func(id string) error { return a.supervise.Drain(ctx, id, by.Name) })
}

// Undrain implements [api.Operator].
func (a *agent) Undrain(ctx context.Context, ref backstay.Ref, _ api.Actor) (api.Done, error) {
	all, err := a.instancesOf(ref)
	if err != nil {
		return api.Done{}, err
	}
	done := api.Done{Ref: ref, Changed: len(undrained(all)) < len(all), Text: ofAll(all, "takes", "take") + " requests again"}
	if err := a.each(ctx, ref, all, func(id string) error { return a.supervise.Undrain(ctx, id) }); err != nil {
		return done, err
	}
	return done, a.overrides.forgetDrains(ids(all))
}

// ids names instances.
func ids(all []backstay.Instance) (names []string) {
	for _, i := range all {
		names = append(names, i.ID)
	}
	return names
}

// undrained are those of all that nobody has drained.
func undrained(all []backstay.Instance) []backstay.Instance {
	return slices.DeleteFunc(slices.Clone(all), drainedByHand)
}

// ofAll says what one instance does, or what several do.
func ofAll(all []backstay.Instance, one, several string) string {
	if len(all) == 1 {
		return all[0].ID + " " + one
	}
	return strings.Join(ids(all), ", ") + " " + several
}

// each does do for all, which ref means, and returns when every live proxy has
// acknowledged what that made of them.
func (a *agent) each(ctx context.Context, ref backstay.Ref, all []backstay.Instance, do func(id string) error) error {
	for _, i := range all {
		if err := do(i.ID); err != nil && (ref.Kind() == "instance" || !leaves(err)) {
			return problemOf(ref, err)
		}
	}
	return a.acknowledged(ctx, ref)
}

// leaves reports whether an instance takes no orders because it is on its way
// out, which is as good as done to a service.
func leaves(err error) bool { return isCode(err, "not_found") || isCode(err, "instance_stopping") }

// acknowledged waits until every live proxy has the newest word.
func (a *agent) acknowledged(ctx context.Context, ref backstay.Ref) error {
	waiting, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	err := a.registry.Settle(waiting)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err() //nolint:wrapcheck // who asked has gone
	}
	return &backstay.Problem{
		Code: "not_acknowledged", What: "it is done, but a proxy has not acknowledged it within " + settleWithin.String(), Where: string(ref),
		Why: err.Error(), Do: "see backstay status; the proxy is told as soon as it answers",
	}
}

// instancesOf returns the instances that ref means, by id.
func (a *agent) instancesOf(ref backstay.Ref) (all []backstay.Instance, err error) {
	for _, i := range a.supervise.Instances() {
		if ref.Kind() == "instance" && i.ID == ref.Name() || ref.Kind() == "service" && i.Service == ref.Name() {
			all = append(all, i)
		}
	}
	if len(all) == 0 {
		return nil, &backstay.Problem{Code: "not_found", What: "there is no " + strings.Replace(string(ref), "/", " ", 1), Where: string(ref), Do: "see backstay status for what there is"}
	}
	slices.SortFunc(all, func(x, y backstay.Instance) int { return strings.Compare(x.ID, y.ID) })
	return all, nil
}
