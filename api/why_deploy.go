package api

import (
	"fmt"
	"slices"
	"strings"

	"github.com/backstay/backstay"
)

func (f Facts) deploy(service string) (Proof, bool) {
	s := f.Status.Service(service)
	if s.Deploy == nil {
		return Proof{}, false
	}
	return f.proveDeploy(s, *s.Deploy), true
}

func (f Facts) proveDeploy(s Service, d Deploy) Proof {
	p := Proof{State: string(d.State), Since: d.Since, Because: deployFacts(d)}
	move := d.To
	if d.From != "" {
		move = d.From + " → " + d.To
	}
	p.What = move + " " + deployWords[d.State]
	switch {
	case d.State == DeployDone && d.From == "":
		p.What = move + " is done: every instance is there"
	case d.State == DeployStuck && d.From == "":
		p.What = move + " is stuck: it is ill and there is none to go back to; it is waited for, and a person is needed if it does not mend itself"
	}
	switch d.State {
	case DeployChecking, DeployRolling, DeployFinishing, DeployRollingBack:
		f.underWay(&p, s, d)
	case DeployPaused:
		p.Because = append(p.Because, f.waitsFor(s, d)...)
		p.Do = slices.Concat(f.look(s, waitedFor(s, d)), []string{"backstay resume " + s.Name}, s.abort())
	case DeployRolledBack:
		p.Do = append([]string{"backstay diff " + d.From + " " + d.To, d.Again()}, f.otherRelease(s, "a better release")...)
	case DeployStuck:
		p.Do = f.unstick(s, d)
	case DeployRefused, DeployFailed:
		p.Do = []string{"backstay deploy " + s.Name}
	case DeployDone:
		p.Do = f.rollback(s.Name)
	case DeploySuperseded:
		p.Do = []string{"backstay history " + s.Name}
	}
	return p
}

// unstick is what a person may do about a deploy of which both releases are ill:
// look, go to one that is neither, or try one of the two once it is mended.
func (f Facts) unstick(s Service, d Deploy) []string {
	do := []string{"backstay why service/" + s.Name, "backstay logs " + s.Name + " -n 50"}
	other := slices.IndexFunc(f.Releases, func(r Release) bool { // the newest comes first
		return r.Service == s.Name && r.Good && r.RolledBack == "" && r.NotRestorable == "" && r.ID != d.From && r.ID != d.To
	})
	if other >= 0 {
		do = append(do, fmt.Sprintf("backstay rollback %s --to %d", s.Name, f.Releases[other].Seq))
	}
	if _, seq, ok := strings.Cut(d.From, "@"); ok {
		do = append(do, fmt.Sprintf("backstay rollback %s --to %s  # once %s is mended", s.Name, seq, d.From))
	}
	return append(do, fmt.Sprintf("%s  # once %s is mended", d.Again(), d.To))
}

// deployWords say what a state means.
var deployWords = map[DeployState]string{
	DeployChecking:    "is being checked; nothing has changed yet",
	DeployRolling:     "is rolling",
	DeployFinishing:   "has moved all traffic; old instances leave",
	DeployPaused:      "is paused and waits for a person",
	DeployDone:        "is done: traffic has moved, the old instances are gone",
	DeployRollingBack: "is being undone: traffic first, instances second",
	DeployRolledBack:  "was rolled back and is not tried again by itself",
	DeployStuck:       "is stuck: both releases are ill, what is ready is kept, a person is needed",
	DeployRefused:     "was refused before anything was changed",
	DeploySuperseded:  "gave way to another deploy",
	DeployFailed:      "ended before anything was changed",
}

func (f Facts) underWay(p *Proof, s Service, d Deploy) {
	if d.Of > 0 && d.State != DeployChecking {
		verb := "replaced"
		if d.From == "" {
			verb = "there"
		}
		p.What += fmt.Sprintf(", %d of %d %s", d.Replaced, d.Of, verb)
	}
	p.Because = append(f.waitsFor(s, d), p.Because...)
	p.Do = f.look(s, waitedFor(s, d))
	switch d.State {
	case DeployRollingBack, DeployFinishing:
		p.Do = append(p.Do, "backstay events --tail 20")
	default:
		p.Do = append(append(p.Do, "backstay pause "+s.Name), s.abort()...)
	}
}

// deployFacts are the reason and what stands behind it.
func deployFacts(d Deploy) []Fact {
	var facts []Fact
	if d.Reason != "" {
		facts = append(facts, Fact{Text: d.Reason})
	}
	if line := backstay.LastText(d.LastLog); line != "" {
		facts = append(facts, Fact{Text: "its last line: " + line})
	}
	if d.New.Requests > 0 && d.State != DeployDone {
		facts = append(facts, Fact{Text: "first tries: " + d.Met()})
	}
	if d.Why != "" {
		facts = append(facts, Fact{Text: "asked for: " + d.Why, By: d.By, At: d.Started})
	}
	return facts
}

func (f Facts) release(id string) (Proof, bool) {
	for _, r := range f.Releases {
		if r.ID == id {
			return f.proveRelease(r), true
		}
	}
	return Proof{}, false
}

func (f Facts) proveRelease(r Release) Proof {
	made := Fact{Text: "made by " + orUnknown(r.Why), By: r.By, At: r.At}
	if r.By == r.Why { // made by boot, by boot
		made.By = ""
	}
	p := Proof{State: r.State(), Since: r.At, Because: []Fact{made}}
	switch d, s, ok := f.bringing(r); {
	case ok:
		moved := f.proveDeploy(s, d)
		p.What, p.Since = "its deploy "+deployWords[d.State], d.Since
		p.Because, p.Do = append(moved.Because, p.Because...), append([]string{"backstay why deploy/" + r.Service}, moved.Do...)
	case r.Current:
		p.What = "it is the one that should run; " + counted(r.Instances, "instance") + " " + does(r.Instances)
		p.Do = f.rollback(r.Service)
	case r.RolledBack != "":
		p.What = "it was rolled back and is not tried again by itself"
		p.Because = append([]Fact{{Text: r.RolledBack}}, p.Because...)
		p.Do = []string{again(r.Service, r.Version)}
	case r.NotRestorable != "":
		p.What = "it cannot be started again"
		p.Because = append([]Fact{{Text: r.NotRestorable}}, p.Because...)
		p.Do = []string{f.edit("services."+r.Service+".run.exec", "keep the program of each release under a path with ${version}")}
	case r.Good:
		p.What = "it was good and can be gone back to"
		p.Do = []string{fmt.Sprintf("backstay rollback %s --to %d", r.Service, r.Seq)}
	default:
		p.What = "no deploy to it has ended well"
		p.Do = []string{"backstay history " + r.Service}
	}
	return p
}

// State returns r in a word or two.
func (r Release) State() string {
	switch {
	case r.Current:
		return "current"
	case r.RolledBack != "":
		return "rolled_back"
	case r.NotRestorable != "":
		return "not_restorable"
	case r.Good:
		return "good"
	default:
		return "unproved"
	}
}

func orUnknown(s string) string {
	if s == "" {
		return "an unknown command"
	}
	return s
}
