package l7

import (
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/backstay/backstay"
)

// The forms of what a file names.
var (
	hostForm   = regexp.MustCompile(`^(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	methodForm = regexp.MustCompile(`^[A-Z]{3,20}$`)
	laterBind  = regexp.MustCompile(`^(vip/|fwmark/)|/udp$|:[0-9]+-[0-9]+$`)
)

// Bounds of what a file may ask for.
const (
	leastHeader  = backstay.Size(1 << 10) // a browser's own fields take about this
	mostHeader   = backstay.Size(1 << 20) // each connection may hold so much
	mostFields   = 10_000
	mostRoutes   = 2_000 // of one frontend: each is compared with each
	mostBinds    = 100
	mostCerts    = 1_000
	mostConns    = 10_000_000
	leastTimeout = backstay.Duration(10e6) // less than a slow disk takes
	mostRetries  = 10
	longestHost  = 253 // of a host in DNS
)

// mistakes is what a check of this room has found so far.
type mistakes struct{ backstay.Mistakes }

// Check returns what is wrong with f by itself: nothing here asks about
// services, other frontends or files.
func (f *Frontend) Check() []backstay.Mistake {
	var m mistakes
	m.bind(f.Bind)
	m.OneOf("mode", f.Mode, "http")
	if f.TLS != nil {
		m.tls(f.TLS)
	}
	m.action(f)
	m.limits(f)
	for i := range f.Routes {
		m.Under(fmt.Sprintf("routes[%d]", i), f.Routes[i].Check())
	}
	if len(f.Routes) > mostRoutes {
		m.Say("too_many", "routes", "", "more than %d routes", mostRoutes)
		return m.Mistakes
	}
	m.reach(f.Routes)
	return m.Mistakes
}

func (m *mistakes) bind(all []string) {
	if len(all) == 0 {
		m.Say("missing_key", "bind", `[":8080"]`, "is missing: where it listens")
	}
	if len(all) > mostBinds {
		m.Say("too_many", "bind", "", "more than %d addresses", mostBinds)
		return
	}
	for i, b := range all {
		key := fmt.Sprintf("bind[%d]", i)
		if slices.Contains(all[:i], b) {
			m.Say("twice_in_list", key, "", "%q is in the list already", b)
		} else if _, err := ParseBind(b); err != nil {
			m.badBind(key, b)
		}
	}
}

func (m *mistakes) badBind(key, b string) {
	path, unix := strings.CutPrefix(b, "unix:")
	_, err := strconv.ParseUint(b, 10, 16)
	host, port, _ := strings.Cut(b, ":")
	switch {
	case laterBind.MatchString(b):
		m.Say("not_in_this_version", key, "", "%s: not in this version", b)
	case unix:
		m.Say("bad_bind", key, "unix:/run/shop.sock", "%q is not the absolute path of a socket", path)
	case err == nil:
		m.Say("bad_bind", key, bindOr(":8080", ":"+b), "%q has no colon before its port", b)
	case host == "*":
		m.Say("bad_bind", key, bindOr(":8080", ":"+port), "%q: every address is written without a star", b)
	case hostForm.MatchString(host) && port != "" && !strings.Contains(port, ":") && strings.Trim(host, "0123456789.") != "":
		m.Say("bad_bind", key, bindOr("127.0.0.1:8080", "127.0.0.1:"+port), "%q: a name could change its address; write the address", b)
	default:
		m.Say("bad_bind", key, ":8080", "%q is not an address and port: :8080, 127.0.0.1:8080, [::1]:8080, unix:/run/shop.sock", b)
	}
}

// bindOr returns try if a frontend can be bound to it, else plain.
func bindOr(plain, try string) string {
	if _, err := ParseBind(try); err != nil {
		return plain
	}
	return try
}

// Bind is where a frontend listens: Unix, or Port at Addr.
type Bind struct {
	Unix string     // path of a socket
	Addr netip.Addr // zero is every address of both families
	Port uint16
}

// ParseBind returns s, an element of [Frontend.Bind].
func ParseBind(s string) (Bind, error) {
	if path, unix := strings.CutPrefix(s, "unix:"); unix {
		const maxSocket = 107 // sun_path less its zero byte: unix(7)
		if !strings.HasPrefix(path, "/") || strings.ContainsRune(path, 0) || len(path) > maxSocket {
			return Bind{}, fmt.Errorf("%q is not the absolute path of a socket", path)
		}
		return Bind{Unix: path}, nil
	}
	if port, ok := strings.CutPrefix(s, ":"); ok {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 || port[0] == '0' {
			return Bind{}, fmt.Errorf("%q is not a port", port)
		}
		return Bind{Port: uint16(n)}, nil
	}
	a, err := netip.ParseAddrPort(s)
	if err != nil || a.Port() == 0 || a.Addr().Zone() != "" {
		return Bind{}, fmt.Errorf("%q is not an address and port", s)
	}
	return Bind{Addr: a.Addr().Unmap(), Port: a.Port()}, nil
}

// Overlaps reports whether one listening socket cannot be bound beside the other.
func (b Bind) Overlaps(c Bind) bool {
	if b.Unix != "" || c.Unix != "" {
		return b.Unix == c.Unix
	}
	every := func(a netip.Addr) bool { return !a.IsValid() || a.IsUnspecified() }
	return b.Port == c.Port && (b.Addr == c.Addr || every(b.Addr) || every(c.Addr))
}

func (m *mistakes) tls(t *TLS) {
	m.OneOf("tls.min_version", t.MinVersion, "1.2", "1.3")
	if len(t.Certs) == 0 {
		m.Say("missing_key", "tls.certs", "", "is missing: a chain and its key")
	}
	if len(t.Certs) > mostCerts {
		m.Say("too_many", "tls.certs", "", "more than %d certificates", mostCerts)
		return
	}
	for i, c := range t.Certs {
		key := fmt.Sprintf("tls.certs[%d]", i)
		m.file(key+".cert", c.Cert, "is missing: the chain, as PEM")
		m.file(key+".key", c.Key, "is missing: the private key, as PEM")
		if slices.Contains(t.Certs[:i], c) {
			m.Say("twice_in_list", key, "", "%q is in the list already", c.Cert)
		}
	}
}

// file refuses a path that is not there or not absolute.
func (m *mistakes) file(key, path, missing string) {
	if path == "" {
		m.Say("missing_key", key, "", "%s", missing)
		return
	}
	m.Path(key, path)
}

// action refuses a frontend that does nothing with a request, or two things.
func (m *mistakes) action(f *Frontend) {
	switch {
	case len(f.Routes) == 0 && f.Redirect == "":
		m.Say("no_action", "", "", "has neither routes nor redirect: what happens to a request?")
	case len(f.Routes) > 0 && f.Redirect != "":
		m.Say("several_actions", "redirect", "", "goes without routes: every request is redirected")
	case f.Redirect != "":
		m.OneOf("redirect", f.Redirect, "https")
	}
	if f.Redirect != "" && f.TLS != nil {
		m.Say("redirect_loop", "redirect", "", "%s would redirect to itself: the frontend has tls", f.Redirect)
	}
}

func (m *mistakes) limits(f *Frontend) {
	l := f.Limits
	switch {
	case l.Header < leastHeader:
		m.Say("out_of_range", "limits.header", leastHeader.String(), "%s is smaller than %s", l.Header, leastHeader)
	case l.Header > mostHeader:
		m.Say("out_of_range", "limits.header", mostHeader.String(), "%s is larger than %s", l.Header, mostHeader)
	}
	m.Within("limits.fields", l.Fields, 1, mostFields)
	m.Within("limits.conns", l.Conns, 1, mostConns)
	m.Within("limits.conns_per_client", l.ConnsPerClient, 0, mostConns)
	m.AtLeast("timeout.header", f.Timeout.Header, leastTimeout)
	m.AtLeast("timeout.idle", f.Timeout.Idle, leastTimeout)
	m.AtLeast("timeout.body_stall", f.Timeout.BodyStall, leastTimeout)
	if f.AccessLog != nil {
		m.file("access_log.path", f.AccessLog.Path, "is missing: the file to write to")
	}
	m.prefixes("allow", f.Allow)
	m.prefixes("deny", f.Deny)
	m.prefixes("trusted_proxies", f.TrustedProxies)
}

// prefixes refuses networks that stand there twice or have bits behind their
// length, which hide a mistyped length.
func (m *mistakes) prefixes(key string, all []netip.Prefix) {
	seen := make(map[netip.Prefix]bool, len(all))
	for i, p := range all {
		at := fmt.Sprintf("%s[%d]", key, i)
		switch {
		case !p.IsValid():
		case p != p.Masked():
			m.Say("host_bits", at, p.Masked().String(), "%s has bits set behind its length", p)
		case seen[p]:
			m.Say("twice_in_list", at, "", "%q is in the list already", p)
		}
		seen[p] = true
	}
}

// Check returns what is wrong with r by itself.
func (r *Route) Check() []backstay.Mistake {
	var m mistakes
	m.hosts(r.Host)
	if r.Path != "" {
		m.path(r.Path)
	}
	m.Once("methods", r.Methods)
	for i, method := range r.Methods {
		if !methodForm.MatchString(method) {
			m.Say("bad_method", fmt.Sprintf("methods[%d]", i), "GET", "%q is not a method: three to twenty of A-Z", method)
		}
	}
	m.Headers("headers", r.Headers)
	m.prefixes("clients", r.Clients)
	m.target(r)
	m.retry(r)
	m.AtLeast("timeout.connect", r.Timeout.Connect, leastTimeout)
	m.AtLeast("timeout.response", r.Timeout.Response, leastTimeout)
	m.AtLeast("timeout.idle", r.Timeout.Idle, leastTimeout)
	return m.Mistakes
}

func isHost(s string) bool { return hostForm.MatchString(s) && len(s) <= longestHost }

func (m *mistakes) hosts(all []string) {
	m.Once("host", all)
	for i, h := range all {
		key := fmt.Sprintf("host[%d]", i)
		name, _, port := strings.Cut(h, ":")
		switch lower := strings.ToLower(h); {
		case h == "*":
			m.Say("bad_host", key, "", "* is what a route without host: takes")
		case isHost(h):
		case port && isHost(name):
			m.Say("bad_host", key, name, "%q has a port; bind says which", h)
		case isHost(lower):
			m.Say("bad_host", key, lower, "%q is not in lower case", h)
		default:
			m.Say("bad_host", key, "shop.example.com", "%q is not a host: a name, or *. and a name", h)
		}
	}
}

func (m *mistakes) path(p string) {
	plain, _, query := strings.Cut(p, "?")
	prefix, _, star := strings.Cut(p, "*")
	bad := backstay.BadTarget(p)
	switch {
	case bad != "":
		m.Say("bad_path", "path", pathOr("/img/", "/"+strings.Trim(p, "/ ")+"/"), "%q %s", p, bad)
	case query:
		m.Say("bad_path", "path", pathOr("/img/", plain), "%q has a query; routes look at the path alone", p)
	case star:
		m.Say("bad_path", "path", pathOr("/img/", prefix), "%q: a star has no meaning; a trailing / is a prefix", p)
	case dotSegment.MatchString(p):
		m.Say("bad_path", "path", "", "%q has a . or .. in it and matches no request", p)
	}
}

// pathOr returns try if a route can have it, else plain.
func pathOr(plain, try string) string {
	if backstay.BadTarget(try) != "" || strings.ContainsAny(try, "?*") || dotSegment.MatchString(try) {
		return plain
	}
	return try
}

var dotSegment = regexp.MustCompile(`/\.\.?(/|$)`)

// target refuses a route that does nothing with a request, or two things.
func (m *mistakes) target(r *Route) {
	var have []string
	for _, k := range []struct {
		key string
		set bool
	}{{"to", r.To != ""}, {"redirect", r.Redirect != nil}, {"respond", r.Respond != nil}} {
		if k.set {
			have = append(have, k.key)
		}
	}
	switch {
	case len(have) == 0:
		m.Say("no_action", "", "", "has none of to, redirect, respond: what happens to a request?")
	case len(have) > 1:
		m.Say("several_actions", have[1], "", "goes without %s: one thing happens to a request", have[0])
	case r.Port != "" && r.To == "":
		m.Say("useless_key", "port", "", "belongs to to, not to %s", have[0])
	}
	if r.Redirect != nil {
		m.redirect(r.Redirect)
	}
	if r.Respond != nil {
		m.respond(r.Respond)
	}
}

func (m *mistakes) redirect(r *Redirect) {
	if r.URL == "" {
		m.Say("missing_key", "redirect.url", "", "is missing: where to")
	} else if bad := badURL(r.URL); bad != "" {
		try := "https://" + strings.Trim(r.URL, "/") + "/"
		if bad != noScheme || badURL(try) != "" {
			try = "https://shop.example.com/"
		}
		m.Say("bad_url", "redirect.url", try, "%q %s", r.URL, bad)
	}
	if !slices.Contains(redirectStatuses, r.Status) {
		m.Unknown("bad_redirect_status", "redirect.status", []string{"301", "302", "303", "307", "308"}, "%d is not a redirect with a place to go", r.Status)
	}
}

const noScheme = "has neither https:// nor a / in front"

// badURL returns what is wrong with s as where a redirect leads, or "".
func badURL(s string) string {
	u, err := url.Parse(s)
	switch {
	case err != nil || strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c > '~' }):
		return "is not a URL"
	case u.IsAbs() && (u.Scheme != "http" && u.Scheme != "https" || u.Host == ""):
		return "is not a URL of http or https"
	case !u.IsAbs() && !strings.HasPrefix(s, "/") || strings.HasPrefix(s, "//"):
		return noScheme
	default:
		return ""
	}
}

// redirectStatuses are the statuses that have a Location (RFC 9110, 15.4).
var redirectStatuses = []int{301, 302, 303, 307, 308}

func (m *mistakes) respond(r *Respond) {
	if r.Status == 0 {
		m.Say("missing_key", "respond.status", "503", "is missing")
	} else {
		m.Within("respond.status", r.Status, 200, 599)
	}
	switch {
	case r.Body != "" && r.File != "":
		m.Say("several_bodies", "respond.file", "", "goes without body: an answer has one")
	case (r.Body != "" || r.File != "") && (r.Status == 204 || r.Status == 304):
		m.Say("useless_key", "respond.status", "200", "%d is an answer without a body", r.Status)
	case r.File != "":
		m.Path("respond.file", r.File)
	}
}

func (m *mistakes) retry(r *Route) {
	m.Once("retry.if", r.Retry.If)
	for i, why := range r.Retry.If {
		status, err := strconv.Atoi(why)
		switch {
		case slices.Contains(retryWords, why):
		case err != nil:
			m.Unknown("bad_retry", fmt.Sprintf("retry.if[%d]", i), retryWords, "%q is none of %s, and no status", why, strings.Join(retryWords, ", "))
		case status < 400 || status > 599:
			m.Say("bad_retry", fmt.Sprintf("retry.if[%d]", i), "503", "%s is no status of an error: 400 to 599", why)
		}
	}
	m.Within("retry.attempts", r.Retry.Attempts, 0, mostRetries)
	if t := r.Retry.PerTryTimeout; t != 0 {
		m.AtLeast("retry.per_try_timeout", t, leastTimeout)
		if t > r.Timeout.Response {
			m.Say("timeout_order", "retry.per_try_timeout", r.Timeout.Response.String(), "%s is longer than timeout.response, %s: it never strikes", t, r.Timeout.Response)
		}
	}
}

// retryWords are what a retry may follow, besides a status.
var retryWords = []string{"connect", "reset", "timeout"}
