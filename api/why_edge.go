package api

import (
	"fmt"
	"strings"
)

func (f Facts) frontend(name string) (Proof, bool) {
	for _, fe := range f.Status.Frontends {
		if fe.Name == name {
			return f.proveFrontend(fe), true
		}
	}
	return Proof{}, false
}

func (f Facts) proveFrontend(fe Frontend) Proof {
	bound, refused := binds(fe)
	switch {
	case f.Status.AllDown():
		return Proof{
			State: "down", What: "it answers 503: everything is stopped on purpose", Since: f.Status.Down.Since,
			Because: f.stopped(Service{}), Do: []string{"backstay apply " + f.Status.Config.File},
		}
	case len(bound) == 0:
		return Proof{
			State: "not bound", What: "it accepts no connection", Because: f.bindFacts(fe, refused),
			Do: []string{f.edit("frontends."+fe.Name+".bind", "an address that is free and may be bound")},
		}
	case !f.Status.Proxied(), !f.Status.Answered():
		state, word := "no proxy", "serves it"
		if f.Status.Proxied() {
			state, word = "no answer", "answers"
		}
		return Proof{
			State: state, What: "connections wait in its queue: it is bound to " + strings.Join(bound, ", ") + ", but no proxy " + word,
			Because: f.noProxy(), Do: []string{"backstay why role/proxy", "backstay logs backstay/proxy -n 50"},
		}
	}
	p := Proof{State: "serving", What: "it serves on " + strings.Join(bound, ", ") + trafficText(fe.Traffic)}
	f.routesOf(&p, fe)
	if len(refused) > 0 {
		p.State = "partly bound"
		p.Because = append(f.bindFacts(fe, refused), p.Because...)
		p.Do = append(p.Do, f.edit("frontends."+fe.Name+".bind", "an address that is free and may be bound"))
	}
	return p
}

// binds splits the addresses of fe.
func binds(fe Frontend) (bound []string, refused []Bind) {
	for _, b := range fe.Binds {
		if b.Listens() {
			bound = append(bound, b.Address)
		} else {
			refused = append(refused, b)
		}
	}
	return bound, refused
}

func (f Facts) bindFacts(fe Frontend, refused []Bind) []Fact {
	var facts []Fact
	for _, b := range refused {
		facts = append(facts, Fact{Text: b.Address + " is not bound: " + b.Because, Where: f.line("frontends." + fe.Name + ".bind")})
	}
	return facts
}

// routesOf adds each service behind fe, once, and what it answers by itself where
// there is none.
func (f Facts) routesOf(p *Proof, fe Frontend) {
	var dead, why []string // matches that are answered 503, and the reasons
	told := map[string]bool{}
	for _, r := range fe.Routes {
		name, is := strings.CutPrefix(r.To, "service/")
		s, ok := f.service(name)
		if !is || !ok {
			continue
		}
		none := f.ready(name) == 0
		if none {
			dead = append(dead, r.Match)
		}
		if told[name] {
			continue
		}
		told[name] = true
		p.Because = append(p.Because, Fact{Text: fmt.Sprintf("%s → service/%s: %s", r.Match, name, s.What)})
		if none {
			why = append(why, f.noneOf(name))
			p.Because = append(p.Because, s.Because...)
			p.Do = append(append(p.Do, "backstay why service/"+name), s.Do...)
		}
	}
	if len(dead) > 0 {
		p.State, p.What = "503", "requests for "+few(dead, ", ")+" are answered 503: "+few(why, "; ")
	}
	if len(p.Because) == 0 {
		p.Because = f.byItself(fe)
	}
}

// byItself is what fe answers without any service: redirects and pages.
func (f Facts) byItself(fe Frontend) []Fact {
	var facts []Fact
	for _, r := range fe.Routes[:min(len(fe.Routes), maxNamed)] {
		facts = append(facts, Fact{Text: r.Match + " → " + r.To, Where: f.line("frontends." + fe.Name)})
	}
	return facts
}

// few names the first of all, and says how many there are besides.
func few(all []string, between string) string {
	text := strings.Join(all[:min(len(all), maxNamed)], between)
	if more := len(all) - maxNamed; more > 0 {
		text += fmt.Sprintf("%sand %d more", between, more)
	}
	return text
}

// noneOf says why no instance of a service gets requests, in a few words.
func (f Facts) noneOf(service string) string {
	switch s := f.Status.Service(service); {
	case s.Stopped:
		return service + " is stopped on purpose"
	case s.Replicas == 0:
		return "no instance of " + service + " is wanted"
	case s.HandDrained() > 0:
		return "what is ready of " + service + " is drained by hand"
	}
	return "no instance of " + service + " is ready"
}

func (f Facts) ready(service string) int { return f.Status.Service(service).Ready() }

func (f Facts) role(name string) (Proof, bool) {
	r := f.Status.Role(name)
	if r.Name == "" {
		return Proof{}, false
	}
	return f.proveRole(r), true
}

func (f Facts) proveRole(r Role) Proof {
	p := Proof{State: "running", Since: r.Since, Because: roleDeath(r)}
	switch {
	case !r.Running:
		p.State, p.What = "not running", roleCost(r)
		p.Do = []string{"backstay logs backstay/" + r.Name + " -n 50"}
		if r.Name == "keeper" { // it writes no log of its own among those of the roles
			p.Do = []string{"backstay events --tail 20"}
		}
	case f.Status.Silent(r):
		p.State = "no answer"
		p.What = fmt.Sprintf("it runs as pid %d and does not answer: connections wait in the queues of the frontends", r.PID)
		p.Because = append([]Fact{{Text: "it was asked what it does and has not said"}}, p.Because...)
		p.Do = []string{"backstay logs backstay/" + r.Name + " -n 50", fmt.Sprintf("kill -9 %d  # the keeper starts another one, the queues stay", r.PID)}
	case isProxy(r) && r.Generation < r.Newest:
		p.State = "not told"
		p.What = fmt.Sprintf("it runs as pid %d and serves by older orders", r.PID)
		p.Because = append([]Fact{{Text: fmt.Sprintf("it has acknowledged snapshot %d; %d is being sent", r.Generation, r.Newest)}}, p.Because...)
		p.Do = []string{"backstay logs backstay/" + r.Name + " -n 50"}
	default:
		p.What = fmt.Sprintf("it runs as pid %d, run %d", r.PID, max(r.Starts, 1))
		p.Because = append(roleWell(r), p.Because...)
	}
	return p
}

// roleWell is what shows that a role does its work.
func roleWell(r Role) []Fact {
	switch {
	case isProxy(r) && r.Newest > 0:
		return []Fact{{Text: fmt.Sprintf("it has acknowledged the newest snapshot, %d", r.Generation)}}
	case r.Last == nil && r.Starts <= 1:
		return []Fact{{Text: "it has not ended since it was first started", At: r.Since}}
	default:
		return nil
	}
}

// roleCost says what it means that r does not run.
func roleCost(r Role) string {
	switch {
	case r.Name == "keeper":
		return "no keeper runs: services go on, nothing that dies is started again; the agent starts one"
	case isProxy(r):
		return "no proxy runs: connections wait in the queues of the frontends; the keeper starts one"
	default:
		return "it does not run; the keeper starts it"
	}
}

// runBefore is how an agent begins what it says of the last end of a role.
const runBefore = "the run before"

// roleDeath is how the run before ended.
func roleDeath(r Role) []Fact {
	var facts []Fact
	told := strings.HasPrefix(r.Because, runBefore) // by its pid too
	if r.Because != "" && (!told || r.Last == nil) {
		facts = append(facts, Fact{Text: r.Because})
	}
	if r.Last != nil {
		text := runBefore + " " + r.Last.String()
		if told {
			text = r.Because
		}
		if r.Last.Reason != "" {
			text += ": " + r.Last.Reason
		}
		facts = append(facts, Fact{Text: text, At: r.Last.At})
	}
	return facts
}
