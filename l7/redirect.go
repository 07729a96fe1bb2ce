package l7

import (
	"bytes"
	"maps"
	"slices"
	"strconv"

	"github.com/backstay/backstay/l7/h1"
)

// location returns where r leads the request for path and query: both are kept
// if its URL ends in a slash.
func (r *Redirect) location(path, query []byte) string {
	n := len(r.URL)
	if n == 0 || r.URL[n-1] != '/' {
		return r.URL
	}
	path = bytes.TrimPrefix(plainPath(path), slash)
	if r.URL == "/" {
		path = bytes.TrimLeft(path, "/") // browsers take //name for another host, and /\name, which h1 refuses
	}
	return r.URL + string(path) + string(query)
}

var slash = []byte{'/'}

// plainPath is path, where * of OPTIONS, which is about the whole server, is /.
func plainPath(path []byte) []byte {
	if len(path) == 1 && path[0] == '*' {
		return slash
	}
	return path
}

// toHTTPS returns where the same request is served by HTTPS. A client of
// HTTP/1.0 may not say which host it means: then it is the one it has reached.
func (c *conn) toHTTPS(r *h1.Request) string {
	host := c.q.host
	if len(host) == 0 {
		host = hostName(nil, []byte(c.fwd.Host))
	}
	return "https://" + string(host) + c.front.https + string(plainPath(r.Path)) + string(r.Query)
}

// HTTPSPorts returns the ports that HTTPS is served at, each once and in order.
func HTTPSPorts(frontends map[string]Frontend) []uint16 {
	ports := map[uint16]bool{}
	for _, f := range frontends {
		for _, text := range f.Bind {
			if b, err := ParseBind(text); err == nil && f.TLS != nil && b.Unix == "" {
				ports[b.Port] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(ports))
}

// httpsPort is what redirect: https puts behind the host: nothing if HTTPS has
// its own port, or if no one port is meant, which a file may not leave open.
func httpsPort(frontends map[string]Frontend) string {
	ports := HTTPSPorts(frontends)
	if len(ports) != 1 || ports[0] == ownPort {
		return ""
	}
	return ":" + strconv.Itoa(int(ports[0]))
}

// ownPort is the port of HTTPS (RFC 9110, 4.2.2).
const ownPort = 443

// UnclearHTTPS reports whether redirect: https could mean several ports.
func UnclearHTTPS(ports []uint16) bool { return len(ports) > 1 && !slices.Contains(ports, ownPort) }
