package daemon

import (
	"errors"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/config"
	"github.com/backstay/backstay/internal/statefile"
)

// override is what was changed at run time about one service: it stands over
// the file until it is reset or the file says the same.
type override struct {
	Replicas *int      `json:"replicas,omitempty"` // scale
	Stopped  bool      `json:"stopped,omitempty"`  // stop
	Version  string    `json:"version,omitempty"`  // deploy --version
	By       string    `json:"by,omitempty"`
	At       time.Time `json:"at"`
	// Who made each of them, by its name. By and At are of the newest: of all of
	// them, where an earlier agent has kept no more than that.
	Who map[string]who `json:"who,omitempty"`
}

// The names of overrides.
const (
	ofReplicas = "replicas"
	ofStopped  = "stopped"
	ofVersion  = "version"
)

// who is who did something when: who took an instance out of traffic, for one.
type who struct {
	By string    `json:"by,omitempty"`
	At time.Time `json:"at"`
}

type drain = who

// madeBy returns who made the override called what.
func (o override) madeBy(what string) who {
	if w, ok := o.Who[what]; ok {
		return w
	}
	return who{o.By, o.At}
}

// signed is o, which was made of before by a change: what is new in it is by w.
func (o override) signed(before override, w who) override {
	signs := map[string]who{}
	for what, is := range map[string]struct{ set, same bool }{
		ofReplicas: {o.Replicas != nil, sameNumber(o.Replicas, before.Replicas)},
		ofStopped:  {o.Stopped, o.Stopped == before.Stopped},
		ofVersion:  {o.Version != "", o.Version == before.Version},
	} {
		switch {
		case is.set && is.same:
			signs[what] = before.madeBy(what)
		case is.set:
			signs[what] = w
		}
	}
	o.Who, o.By, o.At = signs, w.By, w.At
	return o
}

func (o override) empty() bool { return o.Replicas == nil && !o.Stopped && o.Version == "" }

// overrides is the file of them, by service.
type overrides struct {
	path    string
	foreign error // the file is of a newer version, or the disk does not give it: it is left as it is

	mu     sync.Mutex // guards all below
	by     map[string]override
	drains map[string]drain // by instance; that of one that is gone goes with the next change
}

// overridesFile is how they lie on disk.
type overridesFile struct {
	statefile.Head

	Services map[string]override `json:"services"`
	Drains   map[string]drain    `json:"drains,omitempty"`
}

var overridesFormat = statefile.Format{Kind: "overrides", V: 1}

// openOverrides reads what an earlier agent has kept. A file that is broken is put
// aside: what runs must be looked after, whatever becomes of it.
func openOverrides(path string) *overrides {
	o := &overrides{path: path, by: map[string]override{}, drains: map[string]drain{}}
	var f overridesFile
	switch err := overridesFormat.Load(path, &f); {
	case err == nil:
		maps.Copy(o.by, f.Services)
		maps.Copy(o.drains, f.Drains)
	case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, statefile.ErrBroken):
		o.foreign = err
	}
	return o
}

// problem is that the file is not ours to read or write; nil where it is.
func (o *overrides) problem() *backstay.Problem {
	if o.foreign == nil {
		return nil
	}
	return newerProblem(o.path, o.foreign)
}

// of returns the override of a service.
func (o *overrides) of(service string) override {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.by[service]
}

// all returns every service that has one, sorted.
func (o *overrides) all() (names []string, by map[string]override) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Sorted(maps.Keys(o.by)), maps.Clone(o.by)
}

// set changes the override of a service and returns when it is on disk; on an
// error nothing has changed. What is the same already is not touched: it is
// still by whom it was.
func (o *overrides) set(service, by string, change func(*override)) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	v := o.by[service]
	change(&v)
	if sameOverride(v, o.by[service]) {
		return nil
	}
	return o.write(service, v.signed(o.by[service], who{by, time.Now()}))
}

// write puts v on disk and in force. mu is held.
func (o *overrides) write(service string, v override) error {
	next := maps.Clone(o.by)
	if next[service] = v; v.empty() {
		delete(next, service)
	}
	if err := o.save(next, o.drains); err != nil {
		return err
	}
	o.by = next
	return nil
}

// drainOf returns who drained an instance; nobody known if it is zero.
func (o *overrides) drainOf(id string) drain {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.drains[id]
}

// noteDrains remembers who drained instances, those that nobody had before, and
// forgets those that are not live.
func (o *overrides) noteDrains(ids, live []string, by string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	next := maps.Clone(o.drains)
	maps.DeleteFunc(next, func(id string, _ drain) bool { return !slices.Contains(live, id) })
	for _, id := range ids {
		if next[id].At.IsZero() {
			next[id] = drain{by, time.Now()}
		}
	}
	return o.putDrains(next)
}

// forgetDrains forgets who drained instances.
func (o *overrides) forgetDrains(ids []string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	next := maps.Clone(o.drains)
	maps.DeleteFunc(next, func(id string, _ drain) bool { return slices.Contains(ids, id) })
	return o.putDrains(next)
}

// putDrains puts next on disk and in force. mu is held.
func (o *overrides) putDrains(next map[string]drain) error {
	if maps.Equal(next, o.drains) {
		return nil
	}
	if err := o.save(o.by, next); err != nil {
		return err
	}
	o.drains = next
	return nil
}

// save writes the file.
func (o *overrides) save(by map[string]override, drains map[string]drain) error {
	if p := o.problem(); p != nil {
		return p
	}
	if err := overridesFormat.Write(o.path, &overridesFile{Services: by, Drains: drains}, 0o600); err != nil {
		return &backstay.Problem{
			Code: "disk", What: "the override cannot be kept: " + err.Error(), Where: o.path, Do: "make room on that disk; nothing has changed",
		}
	}
	return nil
}

// settle ends the overrides that f says the same as, and those of services that
// it no longer has, and tells of it.
func (o *overrides) settle(f *config.File, tell backstay.Recorder) {
	names, by := o.all()
	for _, name := range names {
		s, there := f.Services[name]
		before := by[name]
		err := o.set(name, before.By, func(v *override) {
			if !there || v.Replicas != nil && *v.Replicas == s.Replicas {
				v.Replicas = nil
			}
			if !there || v.Version == s.Version {
				v.Version = ""
			}
			v.Stopped = v.Stopped && there
		})
		if err != nil {
			return // it stands a little longer, and is shown
		}
		if !sameOverride(before, o.of(name)) {
			tell.Record(backstay.Event{Kind: backstay.OverrideGone, Ref: backstay.NewRef("service", name), Because: "the file says what is to be"})
		}
	}
}

// restore puts back what was before a change that was refused, as it was.
func (o *overrides) restore(service string, before override) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if sameOverride(o.by[service], before) {
		return nil
	}
	return o.write(service, before)
}
