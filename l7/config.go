package l7

import (
	"net/netip"

	"github.com/backstay/backstay"
)

// Frontend is what a file says about addresses that accept traffic, and the
// routes from them.
type Frontend struct {
	Bind           []string       `yaml:"bind" change:"live" json:"bind"`                                 // ":8080", "127.0.0.1:8080", "[::1]:8080", "unix:/run/x.sock"
	Mode           string         `yaml:"mode" change:"live" json:"mode"`                                 // http
	TLS            *TLS           `yaml:"tls" change:"live" json:"tls,omitempty"`                         // this frontend speaks HTTPS
	Routes         []Route        `yaml:"routes" change:"live" json:"routes,omitempty"`                   // first match in file order
	Redirect       string         `yaml:"redirect" change:"live" json:"redirect,omitempty"`               // https: 308 to the same URL on https, with the port of the frontends that have tls
	Allow          []netip.Prefix `yaml:"allow" change:"live" json:"allow,omitempty"`                     // only clients in these; empty is all; 403 else
	Deny           []netip.Prefix `yaml:"deny" change:"live" json:"deny,omitempty"`                       // wins over allow
	TrustedProxies []netip.Prefix `yaml:"trusted_proxies" change:"live" json:"trusted_proxies,omitempty"` // whose X-Forwarded-For says who the client is
	Limits         Limits         `yaml:"limits" change:"live" json:"limits"`                             // what is more is refused
	Timeout        ClientTimeout  `yaml:"timeout" change:"live" json:"timeout"`                           // of clients
	AccessLog      *AccessLog     `yaml:"access_log" change:"live" json:"access_log,omitempty"`           // a JSON object a request
}

// SetDefaults fills in what a file leaves out.
func (f *Frontend) SetDefaults() {
	*f = Frontend{Mode: "http"}
	f.Limits.SetDefaults()
	f.Timeout.SetDefaults()
}

// TLS is TLS towards clients.
type TLS struct {
	Certs      []CertFiles `yaml:"certs" change:"live" json:"certs"`             // SNI picks; the first is the default
	MinVersion string      `yaml:"min_version" change:"live" json:"min_version"` // 1.2, 1.3
}

// SetDefaults fills in what a file leaves out.
func (t *TLS) SetDefaults() { *t = TLS{MinVersion: "1.2"} }

// CertFiles are PEM files of a chain and its key. The agent reads them; the
// contents go to the proxy in the [Snapshot].
type CertFiles struct {
	Cert string `yaml:"cert" change:"live" json:"cert"` // PEM: the certificate, and behind it those of the chain
	Key  string `yaml:"key" change:"live" json:"key"`   // PEM; not world-readable
}

// Route is which requests go where.
type Route struct {
	Host    []string          `yaml:"host" change:"live" json:"host,omitempty"`       // example.com, *.example.com
	Path    string            `yaml:"path" change:"live" json:"path,omitempty"`       // trailing / = prefix, else exact
	Methods []string          `yaml:"methods" change:"live" json:"methods,omitempty"` // GET, POST; empty is all
	Headers map[string]string `yaml:"headers" change:"live" json:"headers,omitempty"` // all of these; * = present
	Clients []netip.Prefix    `yaml:"clients" change:"live" json:"clients,omitempty"` // the client is in one of these

	To       string    `yaml:"to" change:"live" json:"to,omitempty"`             // a service
	Port     string    `yaml:"port" change:"live" json:"port,omitempty"`         // of the service: the only one, else http, else required
	Redirect *Redirect `yaml:"redirect" change:"live" json:"redirect,omitempty"` // instead of to: a redirect
	Respond  *Respond  `yaml:"respond" change:"live" json:"respond,omitempty"`   // instead of to: an answer by Backstay itself

	Timeout ServerTimeout `yaml:"timeout" change:"live" json:"timeout"` // of servers
	Retry   Retry         `yaml:"retry" change:"live" json:"retry"`     // when a failed try is followed by another
}

// SetDefaults fills in what a file leaves out.
func (r *Route) SetDefaults() {
	*r = Route{}
	r.Timeout.SetDefaults()
	r.Retry.SetDefaults()
}

// Redirect answers with a redirect.
type Redirect struct {
	URL    string `yaml:"url" change:"live" json:"url"`       // path and query are kept if it ends in /
	Status int    `yaml:"status" change:"live" json:"status"` // 301 302 303 307 308
}

// SetDefaults fills in what a file leaves out.
func (r *Redirect) SetDefaults() { *r = Redirect{Status: 308} }

// Respond answers by itself.
type Respond struct {
	Status int    `yaml:"status" change:"live" json:"status"`       // 200 to 599
	Body   string `yaml:"body" change:"live" json:"body,omitempty"` // the text of it
	File   string `yaml:"file" change:"live" json:"file,omitempty"` // its body, read by the agent; at most 1 MiB
}

// Retry is when a failed try is followed by another: idempotent methods, or
// nothing of the request was sent.
type Retry struct {
	If            []string          `yaml:"if" change:"live" json:"if"`                           // connect reset timeout, or a status: "502"
	Attempts      int               `yaml:"attempts" change:"live" json:"attempts"`               // further tries of one request
	Budget        backstay.Percent  `yaml:"budget" change:"live" json:"budget"`                   // retries among all requests
	PerTryTimeout backstay.Duration `yaml:"per_try_timeout" change:"live" json:"per_try_timeout"` // to the first byte, if another try may follow; 0 is none of its own
	NonIdempotent bool              `yaml:"non_idempotent" change:"live" json:"non_idempotent"`   // repeat POST and PATCH too once they were sent
}

// SetDefaults fills in what a file leaves out.
func (r *Retry) SetDefaults() {
	*r = Retry{If: []string{"connect", "reset"}, Attempts: 1, Budget: 20}
}

// ServerTimeout bounds what a server may stretch.
type ServerTimeout struct {
	Connect  backstay.Duration `yaml:"connect" change:"live" json:"connect"`   // to be connected to a server
	Response backstay.Duration `yaml:"response" change:"live" json:"response"` // to take the next 32 KiB of a body, and then to the first byte of its answer
	Idle     backstay.Duration `yaml:"idle" change:"live" json:"idle"`         // a pause in the body of its answer; upgraded connections
}

// SetDefaults fills in what a file leaves out.
func (t *ServerTimeout) SetDefaults() {
	*t = ServerTimeout{Connect: backstay.Duration(2e9), Response: backstay.Duration(60e9), Idle: backstay.Duration(3600e9)}
}

// ClientTimeout bounds what a client may stretch.
type ClientTimeout struct {
	Header    backstay.Duration `yaml:"header" change:"live" json:"header"`         // until the head is complete
	Idle      backstay.Duration `yaml:"idle" change:"live" json:"idle"`             // between requests
	BodyStall backstay.Duration `yaml:"body_stall" change:"live" json:"body_stall"` // a client that sends, or takes, no byte of a body
}

// SetDefaults fills in what a file leaves out.
func (t *ClientTimeout) SetDefaults() {
	*t = ClientTimeout{Header: backstay.Duration(10e9), Idle: backstay.Duration(75e9), BodyStall: backstay.Duration(20e9)}
}

// Limits are refused above.
type Limits struct {
	Header         backstay.Size `yaml:"header" change:"live" json:"header"`                     // request head: 431 above
	Fields         int           `yaml:"fields" change:"live" json:"fields"`                     // of a head: 431 above
	Body           backstay.Size `yaml:"body" change:"live" json:"body"`                         // 413 above; 0 is no limit
	Conns          int           `yaml:"conns" change:"live" json:"conns"`                       // above, the longest idle one is closed, else 503
	ConnsPerClient int           `yaml:"conns_per_client" change:"live" json:"conns_per_client"` // 429 above; 0 is no limit
}

// SetDefaults fills in what a file leaves out.
func (l *Limits) SetDefaults() { *l = Limits{Header: 64 << 10, Fields: 200, Conns: 20000} }

// AccessLog is JSON lines, one a request.
type AccessLog struct {
	Path   string           `yaml:"path" change:"live" json:"path"`     // of the file
	Sample backstay.Percent `yaml:"sample" change:"live" json:"sample"` // of all requests
	Errors backstay.Percent `yaml:"errors" change:"live" json:"errors"` // of 5xx and resets
}

// SetDefaults fills in what a file leaves out.
func (a *AccessLog) SetDefaults() { *a = AccessLog{Sample: 100, Errors: 100} }
