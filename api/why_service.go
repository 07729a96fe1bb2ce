package api

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/backstay/backstay"
)

// Ready returns how many instances of s get or could get traffic, or have done
// what they were there for.
func (s Service) Ready() int {
	n := 0
	for _, i := range s.Instances {
		if i.Serves() {
			n++
		}
	}
	return n
}

// Serves reports whether i is as it should be: ready and not on its way out, or
// completed.
func (i Instance) Serves() bool {
	return i.Ready && !i.Drained && i.State == backstay.Running || i.State == backstay.Completed
}

// Well reports whether s is as it should be.
func (s Service) Well() bool {
	if s.Stopped {
		return true // somebody wants it so, and status says who
	}
	d := s.Deploy
	held := s.Wanted != "" && s.Wanted != s.Release
	ill := d != nil && (d.State == DeployStuck || d.State == DeployPaused || held && (d.State == DeployRolledBack || d.State == DeployRefused && d.To == s.Wanted))
	return !ill && s.Ready() >= s.Replicas
}

func (f Facts) service(name string) (Proof, bool) {
	s := f.Status.Service(name)
	if s.Name == "" {
		return Proof{}, false
	}
	return f.proveService(s), true
}

func (f Facts) proveService(s Service) Proof {
	p := Proof{State: s.State(), Since: f.sinceService(s)}
	p.What = p.State
	switch {
	case s.Stopped || f.Status.AllDown():
		p.State, p.What = "stopped", "it is stopped on purpose"
		p.Because, p.Do = f.stopped(s), []string{"backstay start " + s.Name}
		if len(p.Because) > 0 {
			p.Since = p.Because[0].At
		}
	case s.Replicas == 0:
		p.What = "no instance is wanted"
		p.Because, p.Do = f.zero(s)
	case s.Deploy != nil && !s.Deploy.State.Ended():
		f.deploying(&p, s)
	case s.HandDrained() > 0 && s.Ready() < s.Replicas && s.Ready()+s.HandDrained() >= s.Replicas:
		f.handDrained(&p, s)
	case s.Ready() < s.Replicas:
		f.lacking(&p, s)
	case s.Wanted != "" && s.Wanted != s.Release:
		f.heldBack(&p, s)
	default:
		f.serving(&p, s)
	}
	return p
}

// State returns s in a word or two.
func (s Service) State() string {
	switch {
	case s.Stopped:
		return "stopped"
	case s.Completes && s.Ready() >= s.Replicas && s.Replicas > 0:
		return "completed"
	case s.HandDrained() > 0:
		return s.drainText()
	default:
		return fmt.Sprintf("%d of %d ready", s.Ready(), s.Replicas)
	}
}

// HandDrained returns how many instances of s are ready and drained by hand.
func (s Service) HandDrained() int {
	n := 0
	for _, i := range s.Instances {
		if i.Ready && i.ByHand() {
			n++
		}
	}
	return n
}

// drainText is s in a word or two where instances are drained by hand.
func (s Service) drainText() string {
	n, ready := s.HandDrained(), s.Ready()+s.HandDrained()
	text := fmt.Sprintf("%d of %d ready, %d drained by hand", ready, s.Replicas, n)
	if s.Ready() == 0 && n >= s.Replicas {
		text = fmt.Sprintf("%d ready, all drained by hand", ready)
	}
	if by := s.Drainers(); by != "" {
		text += " (" + by + ")"
	}
	return text
}

// Drainers returns who has drained instances of s by hand.
func (s Service) Drainers() string {
	var all []string
	for _, i := range s.Instances {
		if i.Ready && i.ByHand() && i.Drainer() != "" && !slices.Contains(all, i.Drainer()) {
			all = append(all, i.Drainer())
		}
	}
	return strings.Join(all, ", ")
}

// maxNamed is how many instances a proof names one by one.
const maxNamed = 4

// handDrained proves why too few get traffic: what is ready was taken out by
// people.
func (f Facts) handDrained(p *Proof, s Service) {
	if s.Ready() == 0 && s.Balanced {
		p.What += ": requests are answered 503"
	}
	p.Since = time.Time{}
	for _, i := range s.Instances {
		if !i.Ready || !i.ByHand() {
			continue
		}
		by, since := f.drain(i)
		if since.After(p.Since) {
			p.Since = since
		}
		if len(p.Because) < maxNamed {
			p.Because = append(p.Because, Fact{Text: i.ID + " is ready and drained by hand", By: by, At: since})
			p.Do = append(p.Do, "backstay undrain "+i.ID)
		}
	}
	if s.Ready() == 0 {
		p.Do = []string{"backstay undrain " + s.Name}
	}
}

// sinceService is when s last became what it is, as its instances know.
func (f Facts) sinceService(s Service) (since time.Time) {
	for _, i := range s.Instances {
		at := i.Since
		if i.Serves() && !i.ReadySince.IsZero() {
			at = i.ReadySince
		}
		if at.After(since) {
			since = at
		}
	}
	return since
}

// zero is why no instance is wanted.
func (f Facts) zero(s Service) ([]Fact, []string) {
	for _, o := range f.Status.Overrides {
		if o.Ref == backstay.NewRef("service", s.Name) && o.What == "replicas" {
			return []Fact{{Text: "replicas is overridden: " + o.Value + " (the file says " + o.File + ")", By: o.By, At: o.Since}}, []string{o.Ending}
		}
	}
	key := "services." + s.Name + ".replicas"
	return []Fact{{Text: "replicas is 0", Where: f.line(key)}}, []string{f.edit(key, "1 or more"), "backstay scale " + s.Name + " 1"}
}

func (f Facts) deploying(p *Proof, s Service) {
	d, ok := f.deploy(s.Name)
	if !ok {
		return
	}
	p.Since = d.Since
	p.What = p.State + "; deploy " + d.What
	p.Because, p.Do = d.Because, append([]string{"backstay why deploy/" + s.Name}, d.Do...)
}

// lacking proves why too few are ready, by the one instance that is worst off.
func (f Facts) lacking(p *Proof, s Service) {
	worst := worst(s)
	if s.NoStart != "" && len(s.Instances) < s.Replicas {
		p.Because = []Fact{{Text: fmt.Sprintf("%d of %d instances are there; another cannot be started: %s; it is tried again", len(s.Instances), s.Replicas, s.NoStart)}}
		p.Do = []string{"backstay logs role/agent -n 50", fmt.Sprintf("backstay scale %s %d", s.Name, len(s.Instances))}
		return
	}
	if worst == nil {
		p.Because = []Fact{{Text: fmt.Sprintf("%d instances are there, %d are wanted; the rest are being started", len(s.Instances), s.Replicas)}}
		p.Do = []string{"backstay events --tail 20"}
		return
	}
	i, _ := f.instance(worst.ID)
	p.Since = i.Since
	p.Because = append([]Fact{{Text: worst.ID + " " + strings.TrimPrefix(i.What, "it ")}}, i.Because...)
	p.Do = i.Do
	if s.Ready() == 0 && s.Balanced {
		p.What += ": requests are answered 503"
	}
}

// badness orders states by how much they need somebody.
var badness = map[backstay.InstanceState]int{
	backstay.Failed: 9, backstay.Backoff: 8, backstay.Crashed: 7, backstay.Running: 6, backstay.Starting: 5,
	backstay.Waiting: 4, backstay.Stopping: 3, backstay.Draining: 2, backstay.Stopped: 1,
}

// badness is how much i needs somebody; one that a person has drained is as that
// person wants it.
func (i Instance) badness() int {
	if i.Ready && i.ByHand() {
		return 0
	}
	return badness[i.State]
}

// worst returns the instance of s that is furthest from serving.
func worst(s Service) *Instance {
	var found *Instance
	for n := range s.Instances {
		i := &s.Instances[n]
		if !i.Serves() && (found == nil || i.badness() > found.badness()) {
			found = i
		}
	}
	return found
}

// heldBack proves why another release runs than the file wants.
func (f Facts) heldBack(p *Proof, s Service) {
	p.What = fmt.Sprintf("%s; %s, %s runs", p.State, f.Status.Wants(s), s.Release)
	if d := s.Deploy; d != nil && d.To == s.Wanted {
		p.Since = d.Since
		p.Because = deployFacts(*d)
	}
	again := "backstay deploy " + s.Name
	if s.Deploy == nil || s.Deploy.State != DeployRefused { // what was refused was never tried
		again += " --again"
	}
	p.Do = append([]string{again}, f.otherRelease(s, "the release that runs, or a better one")...)
}

// Wants says who wants another release of s than the one that runs: the file, or
// a version that stands over it.
func (st Status) Wants(s Service) string {
	if o, ok := st.version(s.Name); ok {
		return fmt.Sprintf("deploy --version %s by %s wants %s", o.Value, o.By, s.Wanted)
	}
	return "the file wants " + s.Wanted
}

// version returns the override of version: of a service.
func (st Status) version(service string) (Override, bool) {
	for _, o := range st.Overrides {
		if o.Ref == backstay.NewRef("service", service) && o.What == "version" {
			return o, true
		}
	}
	return Override{}, false
}

// otherRelease is how another release of s comes to be wanted: by the file, if
// nothing stands over what it says.
func (f Facts) otherRelease(s Service, which string) []string {
	o, ok := f.Status.version(s.Name)
	if !ok {
		return []string{f.edit("services."+s.Name+".version", which)}
	}
	do := []string{o.Ending}
	if s.Version != "" && s.Version != o.Value {
		do = append([]string{"backstay deploy " + s.Name + " --version " + s.Version}, do...)
	}
	return do
}

func (f Facts) serving(p *Proof, s Service) {
	p.What = p.State
	if !s.Balanced {
		p.Because = []Fact{{Text: "every instance is " + wellWord(s) + "; no route leads here, so none gets requests", Where: f.line("services." + s.Name)}}
		return
	}
	for _, i := range s.Instances {
		if facts, do := f.noTraffic(s, i); len(facts) > 0 && i.Serves() {
			p.What += ", but " + f.unserved(i)
			p.Because, p.Do = facts, do
			if since := f.blockedSince(i); !since.IsZero() {
				p.Since = since
			}
			return
		}
	}
	p.What += " and serving"
	p.Because = []Fact{{Text: "behind frontend " + strings.Join(s.Frontends, ", ") + triesText(s.Traffic)}}
}

// unserved says that i, which is ready, gets no traffic; or that nobody does.
func (f Facts) unserved(i Instance) string {
	switch {
	case !f.Status.Proxied():
		return "no proxy serves it"
	case !f.Status.Answered():
		return "no proxy answers: connections wait"
	default:
		return i.ID + " gets no traffic"
	}
}

func wellWord(s Service) string {
	if s.Completes {
		return "completed"
	}
	return "ready"
}

func triesText(c *Counters) string {
	if c == nil {
		return ""
	}
	return ": " + c.TriesText()
}

func trafficText(c *Counters) string {
	if c == nil {
		return ""
	}
	return ": " + c.String()
}
