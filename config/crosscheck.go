package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/l7"
	"github.com/backstay/backstay/supervise"
)

// dependencies refuses waiting for what never comes.
func (c *check) dependencies() {
	services := slices.Sorted(maps.Keys(c.file.Services))
	for name, s := range inOrder(c.file.Services) {
		for other, what := range inOrder(s.DependsOn) {
			key := "services." + name + ".depends_on." + other
			target, there := c.file.Services[other]
			switch {
			case other == name:
				c.say("waits_for_itself", key, "", "waits for itself")
			case !there && c.told["services."+other]:
			case !there:
				others := slices.DeleteFunc(slices.Clone(services), func(s string) bool { return s == name })
				c.unknown("no_such_service", key, other, others, "there is no service %s", other)
			case what == supervise.Completed && target.Restart.Policy == "always":
				c.say("never_completes", key, "", "%s never completes: its restart policy is always", other)
			case target.Replicas == 0:
				c.say("no_replicas", key, "", "%s has no replicas to wait for", other)
			}
		}
	}
	c.cycles()
}

// cycles tells each ring of services that wait for each other, where it closes.
func (c *check) cycles() {
	w := walk{c: c, state: map[string]int{}}
	for name := range inOrder(c.file.Services) {
		w.visit(name)
	}
}

// walk goes along depends_on, into each service once.
type walk struct {
	c     *check
	state map[string]int // 0 not seen, 1 on path, 2 done
	path  []string
}

func (w *walk) visit(name string) {
	if w.state[name] != 0 {
		return
	}
	w.state[name] = 1
	w.path = append(w.path, name)
	for other := range inOrder(w.c.file.Services[name].DependsOn) {
		if w.state[other] == 1 && other != name {
			ring := append(slices.Clone(w.path[slices.Index(w.path, other):]), other)
			w.c.say("waits_for_itself", "services."+name+".depends_on."+other, "", "%s waits for itself: %s", other, shorten(strings.Join(ring, " → "), 200))
		}
		w.visit(other)
	}
	w.path = w.path[:len(w.path)-1]
	w.state[name] = 2
}

// holder is whose a fixed port is.
type holder struct{ service, port string }

// fixedPorts refuses a port that two instances would need at once.
func (c *check) fixedPorts() {
	held := map[backstay.Port]holder{}
	for name, s := range inOrder(c.file.Services) {
		for port, wish := range inOrder(s.Ports) {
			if wish.Number == 0 {
				continue
			}
			key := "services." + name + ".ports." + port
			switch first, twice := held[backstay.Port(wish)]; {
			case twice && first.service != name:
				c.say("port_clash", key, "auto", "port %d is %s of service %s already", wish.Number, first.port, first.service)
			case s.Replicas > 1:
				c.say("fixed_port_replicas", key, "auto", "a fixed port and %d replicas: one of them can listen", s.Replicas)
			case s.Deploy.Strategy == "rolling" && !isNone(s.Deploy.MaxSurge):
				c.say("fixed_port_overlap", key, "", "a fixed port cannot overlap: the new instance would start beside the old one")
			}
			held[backstay.Port(wish)] = holder{name, port}
		}
		if s.Deploy.Strategy == "recreate" {
			c.useless(name, "max_surge", "max_unavailable")
		}
	}
	c.held = held
}

// useless refuses keys of deploy that recreate has no use for.
func (c *check) useless(service string, keys ...string) {
	for _, k := range keys {
		key := "services." + service + ".deploy." + k
		if _, there := c.d.at[key]; there {
			c.say("useless_key", key, "", "belongs to rolling, not to recreate")
		}
	}
}

func isNone(n backstay.Count) bool { return n.N == 0 && n.Share == 0 }

// routes looks the services up that routes lead to, and their ports.
func (c *check) routes() {
	services := slices.Sorted(maps.Keys(c.file.Services))
	for name, f := range inOrder(c.file.Frontends) {
		for i, r := range f.Routes {
			key := fmt.Sprintf("frontends.%s.routes[%d]", name, i)
			_, there := c.file.Services[r.To]
			switch {
			case r.To == "", !there && c.told["services."+r.To]:
			case strings.Contains(r.To, "("):
				c.say("not_in_this_version", key+".to", "", "%s: not in this version", r.To)
			case !there:
				c.unknown("no_such_service", key+".to", "", services, "there is no service %s", r.To)
			default:
				c.port(key, r)
			}
		}
	}
}

// port finds the port of the service that r leads to.
func (c *check) port(key string, r l7.Route) {
	ports := c.file.Services[r.To].Ports
	names := slices.Sorted(maps.Keys(ports))
	name, ok := supervise.PortOf(ports, backstay.PortRef(r.Port))
	switch {
	case len(ports) == 0:
		c.say("no_port", key+".to", "", "service %s has no ports", r.To)
	case !ok && r.Port == "":
		c.say("port_needed", key+".port", "port: "+names[0], "is missing: service %s has %s", r.To, strings.Join(names, ", "))
	case !ok:
		c.unknown("no_such_port", key+".port", "", names, "service %s has no port %s", r.To, r.Port)
	case ports[name].UDP:
		c.say("udp_port", key+".port", "", "port %s of service %s is UDP; a frontend speaks HTTP", name, r.To)
	}
}

// binds refuses an address that is bound twice, and a redirect to nowhere.
func (c *check) binds() {
	type bound struct {
		l7.Bind
		frontend, text string
	}
	const most = 1000 // listening sockets; each is compared with each
	var before []bound
	encrypted := false
	for name, f := range inOrder(c.file.Frontends) {
		encrypted = encrypted || f.TLS != nil
		for i, text := range f.Bind {
			b, err := l7.ParseBind(text)
			if err != nil || slices.Contains(f.Bind[:min(i, most)], text) || len(before) > most {
				continue // told by the room, or below
			}
			key := fmt.Sprintf("frontends.%s.bind[%d]", name, i)
			if j := slices.IndexFunc(before, func(o bound) bool { return o.Overlaps(b) }); j >= 0 {
				c.say("bound_twice", key, "", "%s is bound by frontend %s already: %s", text, before[j].frontend, before[j].text)
			}
			c.bindAndPorts(key, text, b)
			before = append(before, bound{b, name, text})
		}
	}
	if len(before) > most {
		c.say("too_many", "frontends", "", "bind more than %d addresses", most)
	}
	for name, f := range inOrder(c.file.Frontends) {
		switch ports := l7.HTTPSPorts(c.file.Frontends); {
		case f.Redirect != "https":
		case !encrypted:
			c.say("tls_missing", "frontends."+name+".redirect", "", "https: no frontend has tls; the redirect would lead nowhere")
		case l7.UnclearHTTPS(ports):
			c.say("https_port_unclear", "frontends."+name+".redirect", "", "https: it is served at the ports %s, and none is 443", strings.Trim(fmt.Sprint(ports), "[]"))
		}
	}
}

// bindAndPorts refuses to bind the fixed port of a service, whose instances
// listen on the loopback address.
func (c *check) bindAndPorts(key, text string, b l7.Bind) {
	if b.Unix != "" || b.Addr.IsValid() && !b.Addr.IsUnspecified() && !b.Addr.IsLoopback() {
		return
	}
	if h, taken := c.held[backstay.Port{Number: b.Port}]; taken {
		c.say("port_clash", key, "", "%s: port %d is %s of service %s", text, b.Port, h.port, h.service)
	}
}
