package daemon

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/config"
	"github.com/backstay/backstay/l7"
)

// gap is a route that a file takes from a service that answers and gives to one
// that does not yet.
type gap struct {
	frontend, from, to string
	route              int
	port               uint16 // which both must have; 0 if there is none
}

// opensGap refuses a file by which requests would be answered 503 that are served
// now: a service under a new name, with the route to it, all in one step.
func (a *agent) opensGap(d *desired) error {
	now := a.now.Load()
	if now == nil {
		return nil
	}
	ready := map[string]int{}
	for _, i := range a.supervise.Instances() {
		if i.Ready && !i.Drained {
			ready[i.Service]++
		}
	}
	g, ok := firstGap(now.file, d.file, func(service string) bool { return ready[service] > 0 })
	if !ok {
		return nil
	}
	p := &backstay.Problem{
		Code:  "opens_gap",
		What:  fmt.Sprintf("frontend %s would lead from %s, which answers, to %s, which has no ready instance: 503 until it has one", g.frontend, g.from, g.to),
		Where: d.file.Where(fmt.Sprintf("frontends.%s.routes[%d]", g.frontend, g.route)),
		Why:   fmt.Sprintf("%d of %d instances of %s are ready", ready[g.to], d.file.Services[g.to].Replicas, g.to),
		Do:    fmt.Sprintf("apply a file with both services and the old route first, and this one once %s is ready; or take the gap: backstay apply --gap FILE", g.to),
	}
	if g.port != 0 {
		p.Why += fmt.Sprintf("; it has port %d in common with %s, so that one must be gone before the other comes", g.port, g.from)
		p.Do = "give it a port of its own (auto) to have both for a while, or take the gap: backstay apply --gap FILE"
	}
	return p
}

// firstGap returns the first route of is that leads to a service that is not
// ready, where was led the same requests to one that is.
func firstGap(was, is *config.File, ready func(service string) bool) (gap, bool) {
	for _, name := range sortedKeys(is.Frontends) {
		before, ok := inPlaceOf(was, name, is.Frontends[name])
		if !ok {
			continue
		}
		for i, r := range is.Frontends[name].Routes {
			at := slices.IndexFunc(before.Routes, func(o l7.Route) bool { return sameRequests(o, r) })
			if r.To == "" || at < 0 || ready(r.To) {
				continue
			}
			from := before.Routes[at].To
			if from != "" && from != r.To && ready(from) {
				return gap{frontend: name, from: from, to: r.To, route: i, port: samePort(was, from, is, r.To)}, true
			}
		}
	}
	return gap{}, false
}

// inPlaceOf returns the frontend whose clients come to f in is: that of its
// name, else one that has an address of it.
func inPlaceOf(was *config.File, name string, f l7.Frontend) (l7.Frontend, bool) {
	if before, ok := was.Frontends[name]; ok {
		return before, true
	}
	for _, other := range sortedKeys(was.Frontends) {
		before := was.Frontends[other]
		if slices.ContainsFunc(before.Bind, func(bind string) bool { return slices.Contains(f.Bind, bind) }) {
			return before, true
		}
	}
	return l7.Frontend{}, false
}

// sameRequests reports whether a and b are for the same requests.
func sameRequests(a, b l7.Route) bool {
	of := func(r l7.Route) l7.Route {
		return l7.Route{Host: r.Host, Path: r.Path, Methods: r.Methods, Headers: r.Headers, Clients: r.Clients}
	}
	return reflect.DeepEqual(of(a), of(b))
}

// samePort returns a fixed port that two services have in common, or 0.
func samePort(was *config.File, from string, is *config.File, to string) uint16 {
	for _, a := range was.Services[from].Ports {
		for _, b := range is.Services[to].Ports {
			if a == b && a.Number != 0 {
				return a.Number
			}
		}
	}
	return 0
}

// takesOwnPort refuses a file by which a service gets the port of a frontend that
// leaves with it: it would be started first, and could not listen.
func (a *agent) takesOwnPort(d *desired) error {
	now := a.now.Load()
	if now == nil {
		return nil
	}
	was, is := now.file.ParsedBinds(), d.file.ParsedBinds()
	for _, bind := range sortedKeys(was) {
		if _, stays := is[bind]; stays || was[bind].Unix != "" {
			continue
		}
		for _, service := range d.file.ServiceNames() {
			for name, p := range d.file.Services[service].Ports {
				if p.Number == was[bind].Port {
					return portMoves(d.file, bind, "services."+service+".ports."+name)
				}
			}
		}
	}
	return nil
}

func portMoves(f *config.File, bind, key string) error {
	return &backstay.Problem{
		Code: "port_moves", What: key + " is the port of a frontend, " + bind + ", until this file is in force", Where: f.Where(key),
		Why: "the service would be started before the port is free", Do: "apply the file without " + bind + " and without the service first, then this one",
	}
}
