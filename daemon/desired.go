package daemon

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/config"
	"github.com/backstay/backstay/deploy"
	"github.com/backstay/backstay/l7"
)

// desired is a file with all that follows from it: worked out before anything
// changes.
type desired struct {
	kept    kept
	source  string // file, or last_good
	text    []byte
	file    *config.File
	orders  orders
	secrets *secrets
	wants   map[string]deploy.Want
	// late are services whose release cannot be made just now. They keep what
	// runs; only at a boot is such a file taken.
	late map[string]error
	// lost is what the file names and cannot be read any more, by where: what was
	// read of it before stays in force. Only a file that is adopted has such.
	lost map[string]error
	// adopted says that an agent before this one had it in force.
	adopted bool
}

// prepare works out what text asks for: all that it names is read now. It
// changes nothing.
func (a *agent) prepare(ctx context.Context, name string, text []byte) (*desired, error) {
	f, err := config.Parse(name, text)
	if err != nil {
		return nil, refusalOf(err)
	}
	return a.workOut(ctx, f, nil)
}

// prepareKept is prepare for a file that was good before: what the host has lost
// since does not make it bad.
func (a *agent) prepareKept(ctx context.Context, name string, text []byte) (*desired, error) {
	f, err := config.ParseIn(nil, name, text)
	if err != nil {
		return nil, refusalOf(err)
	}
	return a.workOut(ctx, f, a.lastSnapshot())
}

// workOut reads what f names. Where kept is given, it stands for what cannot be
// read any more.
func (a *agent) workOut(ctx context.Context, f *config.File, kept *l7.Snapshot) (*desired, error) {
	d := &desired{kept: keptOf(f), source: "file", text: f.Text(), file: f}
	var err error
	if d.orders, d.lost, err = readOrders(f, kept); err != nil {
		return nil, &backstay.Problem{Code: "file_unreadable", What: err.Error(), Where: f.Name(), Do: "put the file right; nothing has changed"}
	}
	var unread map[string]error
	d.secrets, unread = a.secrets.read(ctx, f)
	for _, name := range sortedKeys(unread) {
		if kept == nil {
			return nil, unread[name]
		}
		d.lost[secretAt+name] = unread[name]
	}
	return d, nil
}

func keptOf(f *config.File) kept { return kept{Digest: f.Digest(), Name: f.Name()} }

// known finds the release that is wanted of a service without making it: none
// where it has to be made of what is on the disk now.
type known func(service string, o override) (backstay.Release, bool)

// anew has every release made of what is on the disk.
func anew(string, override) (backstay.Release, bool) { return backstay.Release{}, false }

// still has what d wants stay, but for one service. What is on the disk counts
// when a file is applied and when a service is deployed, and at no other time: a
// program that is half copied must not roll because something else was scaled.
func (d *desired) still(but string) known {
	return func(service string, _ override) (backstay.Release, bool) {
		w, ok := d.wants[service]
		return w.Release, ok && service != but
	}
}

// before finds the release that the agent before this one wanted: the one of the
// definition that f has.
func (a *agent) before(f *config.File) known {
	return func(service string, o override) (backstay.Release, bool) {
		want, err := config.ReleaseOf(f, service, o.Version)
		if err != nil {
			return want, false
		}
		for _, rel := range a.candidates(service) {
			if sameDefinition(rel, want) {
				return rel, true
			}
		}
		return want, false
	}
}

// candidates are the kept releases of a service, the likeliest to be wanted
// first: that of a deploy under way, the one in force, the newest.
func (a *agent) candidates(service string) (all []backstay.Release) {
	if d, ok := a.deploy.Status(service); ok && d.Live() {
		if rel, ok := a.deploy.Release(backstay.ReleaseID(service, d.To)); ok {
			all = append(all, rel)
		}
	}
	if rel, ok := a.deploy.Current(service); ok {
		all = append(all, rel)
	}
	for _, k := range a.deploy.Releases(service) {
		all = append(all, k.Release)
	}
	return all
}

// sameDefinition reports whether a file says of both releases the same,
// whatever the contents of what it names.
func sameDefinition(a, b backstay.Release) bool {
	for _, r := range []*backstay.Release{&a, &b} {
		r.Executable, r.EnvFiles, r.Secrets = "", nil, nil
	}
	x, errX := digest(a)
	y, errY := digest(b)
	return x == y && errors.Join(errX, errY) == nil
}

// work works out what deploys are to bring about. Overrides stand over the file.
func (a *agent) work(d *desired, down *downMark, have known) {
	wants, late := map[string]deploy.Want{}, map[string]error{}
	for name, s := range d.file.Services {
		o := a.overrides.of(name)
		w := deploy.Want{Replicas: s.Replicas, Config: s.Deploy, Stopped: o.Stopped || down.stops(name), FixedPorts: d.file.FixedPorts(name)}
		if o.Replicas != nil {
			w.Replicas = *o.Replicas
		}
		if w.Stopped || w.Replicas == 0 {
			w.StoppedBy = stopper(name, o, down, d.kept.By)
		}
		var ok bool
		w.Release, ok = have(name, o)
		if ok && d.late[name] != nil {
			late[name] = d.late[name]
		}
		if !ok {
			w.Release, ok = a.makeRelease(d, name, o, late)
		}
		if ok {
			wants[name] = w
		}
	}
	d.wants, d.late = wants, late
}

// stopper is who wants no instance of a service: by stop or down, by scale, or
// by the file, which applier has applied.
func stopper(name string, o override, down *downMark, applier string) string {
	switch {
	case o.Stopped:
		return o.madeBy(ofStopped).By
	case down.stops(name):
		return down.By
	case o.Replicas != nil:
		return o.madeBy(ofReplicas).By
	default:
		return applier
	}
}

// makeRelease makes the release of a service, or takes the one there is where
// that cannot be: what runs must not be stopped for it.
func (a *agent) makeRelease(d *desired, name string, o override, late map[string]error) (backstay.Release, bool) {
	rel, err := a.maker.release(d.file, d.secrets, name, o.Version)
	if err == nil {
		return rel, true
	}
	late[name] = err
	if now := a.now.Load(); now != nil {
		if w, ok := now.wants[name]; ok {
			return w.Release, true
		}
	}
	if all := a.candidates(name); len(all) > 0 {
		return all[0], true
	}
	return backstay.Release{}, false
}

// brought says who wanted the releases that are new with d, and why.
func (d *desired) brought(by, why string) {
	for name, w := range d.wants {
		w.Release.By, w.Release.Why = by, why
		d.wants[name] = w
	}
}

// firstLate returns why a release of d cannot be made, if one cannot.
func (d *desired) firstLate() error {
	for _, name := range sortedKeys(d.late) {
		return d.late[name]
	}
	return nil
}

// with returns a copy of d that o is part of.
func (d *desired) with(o orders) *desired {
	next := *d
	next.orders, next.lost = o, maps.Clone(d.lost)
	return &next
}

// refusalOf returns every mistake of a file.
func refusalOf(err error) error {
	var e *config.Error
	if !errors.As(err, &e) {
		return err
	}
	r := &api.Refusal{Mistakes: e.Problems(), Text: e.Error()}
	r.Problem = backstay.Problem{
		Code: "invalid_file", What: fmt.Sprintf("%s has %s", e.File, plural(len(r.Mistakes), "mistake")), Where: e.File,
		Why: r.Mistakes[0].What, Do: "mend them and apply again; nothing has changed",
	}
	return r
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
