package api

import (
	"fmt"
	"time"

	"github.com/backstay/backstay"
)

// Status is the whole state of a node at one moment.
type Status struct {
	Node       string             `json:"node"`
	Version    string             `json:"version"`
	At         time.Time          `json:"at"`             // when this was read
	Generation uint64             `json:"generation"`     // of the config in force
	Down       *Down              `json:"down,omitempty"` // all is stopped on purpose
	Config     ConfigStatus       `json:"config"`
	Off        []Off              `json:"off,omitempty"` // what this host or user cannot do
	Services   []Service          `json:"services"`      // by name
	Frontends  []Frontend         `json:"frontends"`     // by name
	Roles      []Role             `json:"roles"`         // keeper, agent, proxy
	Overrides  []Override         `json:"overrides,omitempty"`
	Problems   []backstay.Problem `json:"problems,omitempty"` // that none of the above shows
	// Lines says in which line of the file in force a key stands, by its dotted
	// path: services.shop.replicas. It is for [Why] and not on the wire.
	Lines map[string]int `json:"-"`
}

// Down says that backstay down has stopped everything.
type Down struct {
	Since time.Time `json:"since"`
	By    string    `json:"by"`
	Done  bool      `json:"done"` // nothing of it runs any more
	// Except are the services that were started since.
	Except []string `json:"except,omitempty"`
}

// AllDown reports whether down keeps every service stopped.
func (s Status) AllDown() bool { return s.Down != nil && len(s.Down.Except) == 0 }

// ConfigStatus is about the file.
type ConfigStatus struct {
	File      string    `json:"file"`             // path it came from
	Digest    string    `json:"digest"`           // of the text in force, first 8 of its sha256
	AppliedAt time.Time `json:"applied_at"`       // since when it is in force
	By        string    `json:"by,omitempty"`     // who applied it
	Source    string    `json:"source,omitempty"` // file, or last_good: the file at boot was broken
	LastGood  string    `json:"last_good"`        // digest that a boot with a broken file would use
	// Refused is why the file of this host is not in force: it was broken at boot
	// or at SIGHUP. An apply that is refused is told to who asked, and is no state.
	// Empty once a file has been taken.
	Refused   *Refusal  `json:"refused,omitempty"`
	RefusedAt time.Time `json:"refused_at,omitzero"`
}

// Off is something that does not work here, and why.
type Off struct {
	What string `json:"what"` // cgroups, other users, ports below 1024
	Why  string `json:"why"`
}

// Service is one service as it is.
type Service struct {
	Name         string     `json:"name"`
	Release      string     `json:"release"`                 // in force: shop@14
	Version      string     `json:"version,omitempty"`       // of that release
	NoStart      string     `json:"no_start,omitempty"`      // why instances that are wanted cannot be started; they are tried again
	Wanted       string     `json:"wanted,omitempty"`        // release the file wants, if it is another one
	Replicas     int        `json:"replicas"`                // wanted now, overrides included
	FileReplicas int        `json:"file_replicas"`           // wanted by the file
	Stopped      bool       `json:"stopped"`                 // by stop, or by down
	StoppedBy    string     `json:"stopped_by,omitempty"`    // who
	StoppedSince time.Time  `json:"stopped_since,omitzero"`  // when
	Completes    bool       `json:"completes,omitempty"`     // runs to its end: completed is well
	Balanced     bool       `json:"balanced"`                // some route leads here
	Frontends    []string   `json:"frontends,omitempty"`     // whose routes lead here
	Balance      string     `json:"balance,omitempty"`       // round_robin, least_conn, p2c
	Deploy       *Deploy    `json:"deploy,omitempty"`        // running, else the last one
	Instances    []Instance `json:"instances"`               // by id
	Traffic      *Counters  `json:"traffic,omitempty"`       // nil: no proxy could say
	ReadyProbe   bool       `json:"ready_probe,omitempty"`   // readiness is asked, not assumed
	StartLimited bool       `json:"start_limited,omitempty"` // an instance failed for good in the present release
}

// Instance is an instance and what the proxies know of it.
type Instance struct {
	backstay.Instance

	DrainedBy    string    `json:"drained_by,omitempty"` // who, if by drain
	DrainedSince time.Time `json:"drained_since,omitzero"`
	Server       *Server   `json:"server,omitempty"` // nil: no proxy knows of it
}

// Server is an instance as the proxies see it.
type Server struct {
	Told     bool      `json:"told"` // every live proxy has the newest word on it
	Traffic  Counters  `json:"traffic"`
	Ejected  *Ejection `json:"ejected,omitempty"`
	Ejection int       `json:"ejections,omitempty"` // times so far
}

// Ejection is a server taken out by real requests.
type Ejection struct {
	Since   time.Time `json:"since"`
	Until   time.Time `json:"until"`
	Because string    `json:"because"` // "5 errors in a row, the last: HTTP 500"
}

// Counters count requests. They begin anew when a proxy crashes. Of a frontend
// they are what clients got; of services, instances and releases they are tries,
// and one that failed may have been repeated elsewhere without any client seeing it.
type Counters struct {
	Requests uint64 `json:"requests"`  // first tries
	Failed   uint64 `json:"failed"`    // answered 5xx by the server or by us, reset or timed out: of all tries
	Retried  uint64 `json:"retried"`   // second and further tries
	InFlight int    `json:"in_flight"` // now; an upgraded connection until it ends
}

// String returns c in words: "300 requests, 2 failed, 6 in flight".
func (c Counters) String() string {
	return c.text(c.Requests, "request", "requests")
}

// Tries is all tries, and not what clients asked for.
func (c Counters) Tries() uint64 { return c.Requests + c.Retried }

// TriesText is String of a server: "300 tries, 2 failed, 6 in flight".
func (c Counters) TriesText() string { return c.text(c.Tries(), "try", "tries") }

func (c Counters) text(n uint64, one, several string) string {
	if n != 1 {
		one = several
	}
	return fmt.Sprintf("%d %s, %d failed, %d in flight", n, one, c.Failed, c.InFlight)
}

// Frontend is addresses that accept traffic.
type Frontend struct {
	Name    string    `json:"name"`
	Binds   []Bind    `json:"binds"`
	Routes  []Route   `json:"routes,omitempty"`  // in file order
	Traffic *Counters `json:"traffic,omitempty"` // nil: no proxy could say
	Conns   int       `json:"conns"`             // open now
	Files   []string  `json:"files,omitempty"`   // certificates and pages that it serves
}

// Bind is one address of a frontend.
type Bind struct {
	Address string `json:"address"` // as the file says it
	Bound   bool   `json:"bound"`
	Because string `json:"because,omitempty"` // why not: "bind :80: permission denied"
}

// Route is where requests go, in words.
type Route struct {
	Match string `json:"match"` // "example.com /api/", "*"
	To    string `json:"to"`    // service/shop, redirect https, respond 404
}

// Role is a process of Backstay.
type Role struct {
	Name    string         `json:"name"` // keeper, agent, proxy
	PID     int            `json:"pid,omitempty"`
	Running bool           `json:"running"`
	Since   time.Time      `json:"since,omitzero"` // of this run, or of not running
	Starts  int            `json:"starts,omitempty"`
	Version string         `json:"version,omitempty"`
	Last    *backstay.Exit `json:"last,omitempty"` // how the run before ended
	Because string         `json:"because,omitempty"`
	// Generation is that of the snapshot a proxy has acknowledged, Newest that of
	// the one it should have.
	Generation uint64 `json:"generation,omitempty"`
	Newest     uint64 `json:"newest,omitempty"`
}

// Override is a run-time change that stands over the file.
type Override struct {
	Ref    backstay.Ref `json:"ref"`            // service/shop, instance/shop-7f3a9c
	What   string       `json:"what"`           // replicas, version, stopped, drained
	Value  string       `json:"value"`          // "5"
	File   string       `json:"file,omitempty"` // what the file says: "3"
	By     string       `json:"by"`
	Since  time.Time    `json:"since"`
	Ending string       `json:"ending"` // the command that ends it: "backstay scale shop --reset"
}
