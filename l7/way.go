package l7

import (
	"math/rand/v2"
	"net/http"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/l7/h1"
)

// way is where a table sends a request. All of it is of one table: a try, and
// what follows from how it ended, go by one way.
type way struct {
	front  *front
	route  *route
	target *target // nil: the answer is our own, as route says
	status int     // or a page with this status, if there is no route
}

// find returns the way of the request by the table that the connection has seen.
func (c *conn) find() way {
	c.look()
	f := c.front
	switch limit := f.says.Limits.Body; {
	case !f.admits(c.q.client):
		return way{front: f, status: http.StatusForbidden}
	case limit > 0 && c.req.Body.Kind == h1.Length && c.req.Body.Length > int64(limit):
		return way{front: f, status: http.StatusRequestEntityTooLarge}
	case f.says.Redirect == "https":
		return way{front: f, status: http.StatusPermanentRedirect}
	}
	r := f.router.find(&c.q)
	if r == nil {
		return way{front: f, status: http.StatusNotFound}
	}
	return way{front: f, route: r, target: f.leads(r)}
}

// look fills in what routes ask about.
func (c *conn) look() {
	q := &c.q
	q.host = hostName(c.host[:0], c.req.Authority)
	q.path, c.path = cleanPath(c.path, c.req.Path)
	q.method, q.client = c.req.Method, c.addr
	c.fwd.Proto, c.fwd.Trusted = c.proto, false
	if f := c.front; len(f.says.TrustedProxies) > 0 && f.trusts(c.addr) {
		c.fwd.Trusted = true
		q.client = clientOf(f, &c.req, c.addr)
	}
}

// own returns the answer that w has us give.
func (c *conn) own(w way) answer {
	switch {
	case w.status == http.StatusPermanentRedirect:
		return redirectTo(w.status, c.toHTTPS(&c.req))
	case w.route == nil:
		if w.status == http.StatusRequestEntityTooLarge {
			c.ex.refused = ruleBody
		}
		return pageOf(w.status)
	case w.route.redirect != nil:
		return redirectTo(w.route.redirect.Status, w.route.redirect.location(c.req.Path, c.req.Query))
	default:
		r := w.route.respond
		return answer{status: r.status, fields: "Content-Type: " + r.kind + "\r\n", body: r.body}
	}
}

// choose enters a server for the next try, by the table that is in force now: the
// one before may be of a service that has left meanwhile. It returns the way that
// it went by; with no server, the way has none that is ready, or no target.
//
// Only what is still whole here gets to it: nothing of the request is at a server.
func (ex *exchange) choose() (*member, way) {
	c, w := ex.c, ex.way
	for {
		if c.refresh() {
			w = c.find()
			c.bodyLimits()
		}
		if w.target == nil {
			return nil, w
		}
		m := ex.pick(w.target)
		if m != nil && m.enter(c.asks()) {
			return m, w
		}
		switch { // gates close after the table that says so is in force
		case c.stale():
		case m == nil:
			return nil, w
		default:
			ex.tried = append(ex.tried, m.server) // of a frontend that is gone: it gets no news
		}
	}
}

// asks reports whether the request asks for an upgrade.
func (c *conn) asks() bool { return c.req.Upgrade != nil }

// pick returns who of t is to take the next try, or nil.
func (ex *exchange) pick(t *target) *member {
	turn := uint64(0)
	if t.balance == backstay.RoundRobin {
		turn = t.service.turn.Add(1)
	}
	now, draw := ex.c.p.now(), rand.Uint64()
	i := pick(t.balance, t.list, now, draw, turn, ex.tried)
	if i < 0 && ex.fresh && len(ex.tried) > 0 { // nobody else: the same one, on a new connection
		i = pick(t.balance, t.list, now, draw, turn, ex.tried[:len(ex.tried)-1])
	}
	if i < 0 {
		return nil
	}
	return t.list[i]
}
