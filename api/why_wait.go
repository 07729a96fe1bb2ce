package api

import (
	"fmt"
	"slices"
	"strings"

	"github.com/backstay/backstay"
)

// waitsFor is what a deploy cannot do without, and why it is not there.
func (f Facts) waitsFor(s Service, d Deploy) []Fact {
	var facts []Fact
	if d.Step != "" {
		facts = append(facts, Fact{Text: "it waits for " + d.Step})
	}
	if i := waitedFor(s, d); i != nil {
		facts = append(facts, f.holds(*i)...)
	}
	switch {
	case d.Leaving == 1:
		facts = append(facts, Fact{Text: "one old instance is draining or stopping"})
	case d.Leaving > 1:
		facts = append(facts, Fact{Text: fmt.Sprintf("%d old instances are draining or stopping", d.Leaving)})
	}
	if !d.Deadline.IsZero() {
		facts = append(facts, Fact{Text: "the step has to be over " + f.until(d.Deadline), Where: f.line("services." + s.Name + ".deploy.progress_deadline")})
	}
	return facts
}

// look is where to look further into an instance of s that does not serve. One
// that has never run has printed nothing.
func (f Facts) look(s Service, i *Instance) []string {
	switch {
	case i == nil || i.Serves():
		return nil
	case i.State == backstay.Waiting && len(i.WaitsFor) > 0:
		var do []string
		for _, name := range i.WaitsFor {
			do = append(do, "backstay why service/"+name, f.dependence(s, name))
		}
		return do
	default:
		return []string{"backstay why " + i.ID, "backstay logs " + i.ID + " -n 50"}
	}
}

// waitedFor returns the instance that d waits for: the one its step names, else
// the one furthest from serving of the release it is to bring in, or to go back
// to. It is nil if d waits for none.
func waitedFor(s Service, d Deploy) *Instance {
	id, _, _ := strings.Cut(d.Step, " ")
	coming := d.To
	if d.State == DeployRollingBack {
		coming = d.From
	}
	var found *Instance
	for n := range s.Instances {
		i := &s.Instances[n]
		if i.ID == id && (i.Release == coming || !i.Serves()) {
			return i
		}
		if i.Release == coming && !i.Serves() && (found == nil || i.badness() > found.badness()) {
			found = i
		}
	}
	return found
}

// holds says what i is about that a deploy waits for, and what stands behind it.
func (f Facts) holds(i Instance) []Fact {
	if i.Serves() && !i.ReadySince.IsZero() {
		return []Fact{{Text: i.ID + " has been ready for " + Age(f.Status.At.Sub(i.ReadySince)), At: i.ReadySince}}
	}
	p, _ := f.instance(i.ID)
	return append([]Fact{{Text: i.ID + " " + strings.TrimPrefix(p.What, "it ")}}, p.Because...)
}

// bringing returns the deploy that is bringing r in now, and its service.
func (f Facts) bringing(r Release) (d Deploy, s Service, ok bool) {
	s = f.Status.Service(r.Service)
	if s.Deploy == nil || s.Deploy.To != r.ID || s.Deploy.State.Ended() {
		return Deploy{}, Service{}, false
	}
	return *s.Deploy, s, true
}

// abort is the command that undoes the deploy of s, if there is a release to go
// back to.
func (s Service) abort() []string {
	if s.Deploy == nil || s.Deploy.From == "" {
		return nil
	}
	return []string{"backstay abort " + s.Name}
}

// rollback is the command that goes back to the last good release of service, if
// there is one. Where the releases are not known the last deploy says.
func (f Facts) rollback(service string) []string {
	do := []string{"backstay rollback " + service}
	mine := slices.DeleteFunc(slices.Clone(f.Releases), func(r Release) bool { return r.Service != service })
	if slices.ContainsFunc(mine, func(r Release) bool { return r.Good && !r.Current && r.NotRestorable == "" }) {
		return do
	}
	if d := f.Status.Service(service).Deploy; len(mine) == 0 && d != nil && d.From != "" {
		return do
	}
	return nil
}

// counted returns n things in words.
func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// does is the verb of n things.
func does(n int) string {
	if n == 1 {
		return "does"
	}
	return "do"
}
