package l7

import (
	"crypto/tls"
	"mime"
	"net"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"time"

	"github.com/backstay/backstay"
)

// table is a [Snapshot], compiled: all that a request needs to be decided, in
// the form it needs it. It never changes. What lives longer hangs on it by
// pointers.
type table struct {
	gen    uint64
	says   Snapshot
	fronts map[string]*front
	binds  map[string]*front

	parting map[string]*front // of binds that have gone, where somebody still comes or is
}

// front is one [Frontend], compiled.
type front struct {
	name    string
	state   *frontState
	says    *Frontend
	router  *router
	targets map[targetKey]*target
	parted  bool    // its routes are of an earlier table, its targets of this one
	local   *series // what we answered by ourselves
	tls     *tls.Config
	https   string // behind the host, for redirect: https
	log     *accessLog

	header, idle, stall time.Duration
}

// targetKey is a service and a port of it.
type targetKey struct{ service, port string }

// target is where routes of one front lead to.
type target struct {
	key       targetKey
	service   *service
	balance   backstay.Balance
	outlier   *backstay.Outlier
	keepalive int
	list      []*member // ready and not draining
}

// member is a server in a target.
type member struct {
	*server

	addr    string // host:port
	idle    *idlePool
	release *release
	series  *series
}

// action is what is done with a request that a route has matched: one of
// target, redirect and respond.
type action struct {
	target   *target
	redirect *Redirect
	respond  *response

	connect, response, idle time.Duration
	retry                   retry
	budget                  *budget
}

// response is a [Respond] with its contents.
type response struct {
	status int
	kind   string // media type
	body   []byte
}

// compile makes the table of s, which has been checked, and binds it to what
// lasts. It changes nothing that requests see.
func (p *Proxy) compile(s Snapshot) *table {
	t := &table{gen: s.Gen, says: s, fronts: map[string]*front{}, binds: map[string]*front{}}
	p.lasting.mu.Lock()
	defer p.lasting.mu.Unlock()
	for name := range s.Frontends {
		says := s.Frontends[name]
		says.fill()
		f := p.compileFront(&s, name, &says)
		t.fronts[name] = f
		for _, bind := range says.Bind {
			t.binds[bind] = f
		}
	}
	return t
}

func (p *Proxy) compileFront(s *Snapshot, name string, says *Frontend) *front {
	f := &front{
		name: name, says: says, state: p.lasting.front(name), targets: map[targetKey]*target{},
		header: says.Timeout.Header.Std(), idle: says.Timeout.Idle.Std(), stall: says.Timeout.BodyStall.Std(),
	}
	f.local, f.https = f.state.of("", ""), httpsPort(s.Frontends)
	routes := make([]*route, len(says.Routes))
	for i := range says.Routes {
		routes[i] = newRoute(i, &says.Routes[i])
		routes[i].action = p.compileAction(s, f, &says.Routes[i])
	}
	f.router = newRouter(says.Routes, routes)
	if says.TLS != nil {
		f.tls = compileTLS(s, says.TLS, p.shelf.read)
	}
	if says.AccessLog != nil {
		f.log = p.logs.open(says.AccessLog.Path)
	}
	return f
}

func (p *Proxy) compileAction(s *Snapshot, f *front, r *Route) action {
	a := action{
		redirect: r.Redirect, connect: r.Timeout.Connect.Std(), response: r.Timeout.Response.Std(), idle: r.Timeout.Idle.Std(),
		retry: r.Retry.compile(),
	}
	if r.Respond != nil {
		a.respond = r.Respond.compile(s)
	}
	if r.To != "" {
		a.target = p.compileTarget(s, f, targetKey{service: r.To, port: r.Port})
		a.budget = a.target.service.budget(a.retry.ratio)
	}
	return a
}

func (r *Respond) compile(s *Snapshot) *response {
	if r.File == "" {
		return &response{status: r.Status, kind: "text/plain; charset=utf-8", body: []byte(r.Body)}
	}
	kind := mime.TypeByExtension(path.Ext(r.File))
	if kind == "" {
		kind = "application/octet-stream"
	}
	return &response{status: r.Status, kind: kind, body: s.Pages[r.File]}
}

// compileTarget returns the target of key, made once for each front.
func (p *Proxy) compileTarget(s *Snapshot, f *front, key targetKey) *target {
	if t := f.targets[key]; t != nil {
		return t
	}
	pool := s.Pools[key.service]
	t := &target{
		key: key, service: p.lasting.service(key.service), balance: pool.Balance,
		outlier: pool.Outlier, keepalive: pool.Keepalive,
	}
	f.targets[key] = t
	for _, say := range pool.Servers {
		if !say.Ready || say.Drain {
			continue
		}
		if port, ok := say.port(key.port); ok {
			t.list = append(t.list, p.compileMember(f, key.service, say, port))
		}
	}
	return t
}

func (p *Proxy) compileMember(f *front, serviceName string, say Server, port uint16) *member {
	m := &member{
		server: p.lasting.server(serviceName, say), addr: net.JoinHostPort(say.Address, strconv.Itoa(int(port))),
		release: p.lasting.release(serviceName, say.Release), series: f.state.of(serviceName, say.Release),
	}
	m.idle = m.pool(m.addr)
	return m
}

// port returns the port called name: the only one, else http, if name is empty.
func (s *Server) port(name string) (uint16, bool) {
	if name == "" && len(s.Ports) == 1 {
		for _, only := range s.Ports {
			return only, true
		}
	}
	if name == "" {
		name = "http"
	}
	port, ok := s.Ports[name]
	return port, ok
}

// fill puts the defaults where a zero has no meaning, so that a snapshot by
// hand may leave them out.
func (f *Frontend) fill() {
	var limits Limits
	var timeout ClientTimeout
	limits.SetDefaults()
	timeout.SetDefaults()
	orElse(&f.Limits.Header, limits.Header)
	orElse(&f.Limits.Fields, limits.Fields)
	orElse(&f.Limits.Conns, limits.Conns)
	orElse(&f.Timeout.Header, timeout.Header)
	orElse(&f.Timeout.Idle, timeout.Idle)
	orElse(&f.Timeout.BodyStall, timeout.BodyStall)
	f.Routes = slices.Clone(f.Routes)
	for i := range f.Routes {
		var server ServerTimeout
		server.SetDefaults()
		orElse(&f.Routes[i].Timeout.Connect, server.Connect)
		orElse(&f.Routes[i].Timeout.Response, server.Response)
		orElse(&f.Routes[i].Timeout.Idle, server.Idle)
	}
}

func orElse[T comparable](v *T, otherwise T) {
	var zero T
	if *v == zero {
		*v = otherwise
	}
}

// leads returns where r, which is one of f's routes, leads to; nil if it answers
// by itself.
func (f *front) leads(r *route) *target {
	if !f.parted || r.target == nil {
		return r.target
	}
	return f.targets[r.target.key]
}

// proto is what is spoken where f listens.
func (f *front) proto() string {
	if f.tls != nil {
		return "https"
	}
	return "http"
}

// trusts reports whether a may say where requests come from.
func (f *front) trusts(a netip.Addr) bool { return anyContains(f.says.TrustedProxies, a) }

// admits reports whether requests of a are served.
func (f *front) admits(a netip.Addr) bool {
	return !anyContains(f.says.Deny, a) && (len(f.says.Allow) == 0 || anyContains(f.says.Allow, a))
}
