package l7

import (
	"net/netip"
	"slices"
	"strings"
)

// query is what a route may ask about a request. The slices are of the
// connection's buffer and nothing keeps them.
type query struct {
	host   []byte // lower case, without port
	path   []byte // as match sees it, see cleanPath
	method []byte
	client netip.Addr
	fields fieldReader
}

// fieldReader answers for the header fields of a request. Each is called by
// route while the request's head is in the buffer; it must not block.
type fieldReader interface {
	// HasField reports whether a field called name, in lower case, is there; with
	// a value other than "", whether one of them has it.
	HasField(name, value string) bool
}

// router finds the first route in file order that a request matches. Hosts are
// looked up; the routes of one host, with those for all hosts among them, are
// gone through in order.
type router struct {
	exact map[string][]*route
	below map[string][]*route // by the suffix of *.suffix
	rest  []*route            // that say nothing about hosts
}

// route is one [Route], compiled.
type route struct {
	number  int // in file order, from 0
	path    string
	prefix  bool
	methods []string
	fields  []fieldRule
	clients []netip.Prefix

	action
}

type fieldRule struct{ name, value string } // value "" is: present

// find returns the route of q, or nil.
func (r *router) find(q *query) *route {
	for _, c := range r.candidates(q.host) {
		if c.matches(q) {
			return c
		}
	}
	return nil
}

// candidates returns the routes that may be about host, in file order.
func (r *router) candidates(host []byte) []*route {
	if list, ok := r.exact[string(host)]; ok {
		return list
	}
	for i := 0; len(r.below) > 0 && i < len(host); i++ {
		if host[i] != '.' {
			continue
		}
		if list, ok := r.below[string(host[i+1:])]; ok { // from the longest suffix on
			return list
		}
	}
	return r.rest
}

func (c *route) matches(q *query) bool {
	if c.prefix && !hasPrefix(q.path, c.path) || !c.prefix && c.path != "" && string(q.path) != c.path {
		return false
	}
	if len(c.methods) > 0 && !holds(c.methods, q.method) {
		return false
	}
	for i := range c.fields {
		if !q.fields.HasField(c.fields[i].name, c.fields[i].value) {
			return false
		}
	}
	return len(c.clients) == 0 || anyContains(c.clients, q.client)
}

func hasPrefix(b []byte, prefix string) bool {
	return len(b) >= len(prefix) && string(b[:len(prefix)]) == prefix
}

func holds(list []string, b []byte) bool {
	return slices.ContainsFunc(list, func(s string) bool { return string(b) == s }) // b is not copied
}

func anyContains(list []netip.Prefix, a netip.Addr) bool {
	for _, p := range list {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// newRouter returns the router of routes, whose hosts are those of says, index
// by index.
func newRouter(says []Route, routes []*route) *router {
	r := &router{exact: map[string][]*route{}, below: map[string][]*route{}}
	for _, s := range says {
		for _, host := range s.Host {
			host = strings.ToLower(host)
			if suffix, ok := strings.CutPrefix(host, "*."); ok {
				r.below[suffix] = nil
			} else {
				r.exact[host] = nil
			}
		}
	}
	r.rest = those(says, routes, func(string) bool { return false })
	for host := range r.exact {
		r.exact[host] = those(says, routes, func(h string) bool { return hostMatches(h, host) })
	}
	for suffix := range r.below {
		r.below[suffix] = those(says, routes, func(h string) bool { return hostMatches(h, "\x00."+suffix) })
	}
	return r
}

// those returns the routes that say nothing about hosts or about one that about
// wants.
func those(says []Route, routes []*route, about func(string) bool) []*route {
	var list []*route
	for i, s := range says {
		if len(s.Host) == 0 || slices.ContainsFunc(s.Host, about) {
			list = append(list, routes[i])
		}
	}
	return list
}

// hostMatches reports whether host, in lower case, is what pattern says:
// itself, or anything below the suffix of *.suffix at any depth.
func hostMatches(pattern, host string) bool {
	pattern = strings.ToLower(pattern)
	if suffix, ok := strings.CutPrefix(pattern, "*"); ok {
		return len(host) > len(suffix) && strings.HasSuffix(host, suffix)
	}
	return pattern == host
}

// newRoute compiles what r asks of a request.
func newRoute(number int, r *Route) *route {
	clean, _ := cleanPath(nil, []byte(r.Path))
	c := &route{
		number: number, path: string(clean), prefix: strings.HasSuffix(r.Path, "/"),
		methods: r.Methods, clients: r.Clients,
	}
	if c.path == "/" { // any path, and the * of OPTIONS too
		c.path, c.prefix = "", false
	}
	for name, value := range r.Headers {
		rule := fieldRule{name: strings.ToLower(name), value: value}
		if value == "*" {
			rule.value = ""
		}
		c.fields = append(c.fields, rule)
	}
	slices.SortFunc(c.fields, func(a, b fieldRule) int { return strings.Compare(a.name, b.name) })
	return c
}
