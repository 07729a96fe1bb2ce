package l7

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/backstay/backstay"
)

// errNoCert is a certificate that the snapshot names and does not hold.
var errNoCert = errors.New("its contents are not in the snapshot")

// kindOfSnapshot is what a [Snapshot] calls itself.
const kindOfSnapshot = "l7 snapshot"

func problem(code, what, where, do string) *backstay.Problem {
	return &backstay.Problem{Code: code, What: what, Where: where, Do: do}
}

func staleProblem(gen, has uint64) *backstay.Problem {
	p := problem("snapshot_stale", fmt.Sprintf("generation %d is older than %d, which is in force", gen, has), "gen", "send a snapshot with a higher generation")
	p.Why = "snapshots may arrive late, and an old one must not undo a new one"
	return p
}

func checkVersion(kind string, v int) error {
	switch {
	case kind != kindOfSnapshot:
		return problem("snapshot_kind", fmt.Sprintf("%q is no %s", kind, kindOfSnapshot), "backstay", "send a snapshot of the proxy")
	case v > SnapshotVersion:
		return problem("snapshot_too_new", fmt.Sprintf("version %d of the snapshot is newer than %d, the newest this proxy knows", v, SnapshotVersion), "v", "restart the proxy with the program that wrote it")
	case v < SnapshotVersion-1 || v < 1:
		return problem("snapshot_too_old", fmt.Sprintf("version %d of the snapshot is older than this proxy knows", v), "v", "have an agent of this version send one")
	}
	return nil
}

// checker finds the first thing that keeps a snapshot from being served. The
// file has been checked line by line before; this keeps a proxy from harm by a
// snapshot that was made in another way.
type checker struct {
	s    *Snapshot
	seen map[string]bool // ids of servers
	read certReader
	err  *backstay.Problem
}

// Check returns why s cannot be served, as a [*backstay.Problem], or nil.
func (s *Snapshot) Check() error { return s.check(readCert) }

func (s *Snapshot) check(read certReader) error {
	if err := checkVersion(s.Backstay, s.V); err != nil {
		return err
	}
	c := checker{s: s, seen: map[string]bool{}, read: read}
	binds := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(s.Frontends)) {
		f := s.Frontends[name]
		c.front("frontends."+name, &f, binds)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Pools)) {
		c.pool("pools."+name, s.Pools[name])
	}
	if c.err != nil {
		return c.err
	}
	return nil
}

// bad keeps the first complaint.
func (c *checker) bad(where, do, format string, args ...any) {
	if c.err == nil {
		c.err = problem("snapshot_invalid", fmt.Sprintf(format, args...), where, do)
		c.err.Why = "a snapshot is served whole or not at all"
	}
}

func (c *checker) front(at string, f *Frontend, binds map[string]string) {
	if f.Mode != "" && f.Mode != "http" {
		c.bad(at+".mode", "use http", "mode %q is not served by this proxy", f.Mode)
	}
	for _, bind := range f.Bind {
		if other, twice := binds[bind]; twice {
			c.bad(at+".bind", "bind it once", "%s is bound by %s already", bind, other)
		}
		binds[bind] = at
	}
	if f.Redirect != "" && f.Redirect != "https" {
		c.bad(at+".redirect", "use https", "cannot redirect to %q", f.Redirect)
	}
	if min(f.Limits.Header, f.Limits.Body) < 0 || min(f.Limits.Fields, f.Limits.Conns, f.Limits.ConnsPerClient) < 0 {
		c.bad(at+".limits", "use 0 for the default", "a limit is below 0")
	}
	c.tls(at+".tls", f.TLS)
	c.prefixes(at, f.Allow, f.Deny, f.TrustedProxies)
	for i := range f.Routes {
		c.route(fmt.Sprintf("%s.routes[%d]", at, i), &f.Routes[i])
	}
}

func (c *checker) prefixes(at string, lists ...[]netip.Prefix) {
	for _, p := range slices.Concat(lists...) {
		if !p.IsValid() {
			c.bad(at, "write it as 10.0.0.0/8", "a prefix is not valid")
		}
	}
}

func (c *checker) tls(at string, t *TLS) {
	if t == nil {
		return
	}
	if len(t.Certs) == 0 {
		c.bad(at+".certs", "name a certificate and its key", "TLS without a certificate")
	}
	if t.MinVersion != "" && t.MinVersion != "1.2" && t.MinVersion != "1.3" {
		c.bad(at+".min_version", "use 1.2 or 1.3", "TLS %q is not spoken", t.MinVersion)
	}
	for _, files := range t.Certs {
		if _, err := c.s.certificate(files, c.read); err != nil {
			c.bad(at+".certs", "have the agent read it again", "certificate %s with key %s: %v", files.Cert, files.Key, err)
		}
	}
}

func (c *checker) route(at string, r *Route) {
	actions := 0
	for _, is := range []bool{r.To != "", r.Redirect != nil, r.Respond != nil} {
		if is {
			actions++
		}
	}
	if actions != 1 {
		c.bad(at, "say one of to, redirect and respond", "a route leads to %d places", actions)
	}
	if _, known := c.s.Pools[r.To]; r.To != "" && !known {
		c.bad(at+".to", "send its pool too", "there is no pool %q", r.To)
	}
	c.answers(at, r)
	c.prefixes(at+".clients", r.Clients)
	if r.Retry.Attempts < 0 || r.Retry.Budget < 0 || min(r.Timeout.Connect, r.Timeout.Response, r.Timeout.Idle, r.Retry.PerTryTimeout) < 0 {
		c.bad(at, "use 0 for the default", "a number is below 0")
	}
	for _, word := range r.Retry.If {
		if n, err := strconv.Atoi(word); !slices.Contains([]string{"connect", "reset", "timeout"}, word) && (err != nil || n < 400 || n > 599) {
			c.bad(at+".retry.if", "use connect, reset, timeout or a status from 400 to 599", "nothing is retried on %q", word)
		}
	}
}

func (c *checker) answers(at string, r *Route) {
	if d := r.Redirect; d != nil {
		if d.Status < 301 || d.Status > 308 {
			c.bad(at+".redirect.status", "use 308", "%d is no redirect", d.Status)
		}
		if d.URL == "" || strings.ContainsFunc(d.URL, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
			c.bad(at+".redirect.url", "write an absolute URL", "%q is no URL", d.URL)
		}
	}
	if d := r.Respond; d != nil {
		if d.Status < http.StatusOK || d.Status > 599 {
			c.bad(at+".respond.status", "use 200 to 599", "%d is no status of an answer", d.Status)
		}
		if _, has := c.s.Pages[d.File]; d.File != "" && !has {
			c.bad(at+".respond.file", "send its contents in pages", "the contents of %s are not in the snapshot", d.File)
		}
	}
}

func (c *checker) pool(at string, p Pool) {
	switch p.Balance {
	case backstay.RoundRobin, backstay.LeastConn, backstay.P2C, "":
	default:
		c.bad(at+".balance", "use p2c", "%q balances nothing", p.Balance)
	}
	for i, s := range p.Servers {
		at := fmt.Sprintf("%s.servers[%d]", at, i)
		if s.ID == "" || c.seen[s.ID] {
			c.bad(at+".id", "give each server its own", "server %q has no name of its own", s.ID)
		}
		c.seen[s.ID] = true
		if _, err := netip.ParseAddr(s.Address); err != nil {
			c.bad(at+".address", "write an IP address", "%q is no IP address", s.Address)
		}
	}
}
