package l7

import "time"

// Stats is what a proxy has counted since it started, and what it holds now.
type Stats struct {
	Gen       uint64                   `json:"gen"` // of the snapshot in force; 0: none yet
	Since     time.Time                `json:"since"`
	Conns     int                      `json:"conns"`                // client connections open now
	Unbound   []string                 `json:"unbound,omitempty"`    // binds of frontends for which no listener has arrived
	Frontends map[string]FrontendStats `json:"frontends"`            // by name
	Services  map[string]ServiceStats  `json:"services"`             // by name
	Releases  map[string]ReleaseStats  `json:"releases"`             // by shop@14; some that have left are kept
	Servers   map[string]ServerStats   `json:"servers"`              // by instance
	AccessLog map[string]LogStats      `json:"access_log,omitempty"` // by path

	// Rules of HTTP that requests and answers have broken, by code: see
	// docs/reference/http1-policy.md.
	BadRequests map[string]uint64 `json:"bad_requests,omitempty"`
	BadAnswers  map[string]uint64 `json:"bad_answers,omitempty"`
}

// Counters count requests.
type Counters struct {
	Requests uint64 `json:"requests"`  // first tries
	Failed   uint64 `json:"failed"`    // ended in a 5xx, a reset, a timeout
	Retried  uint64 `json:"retried"`   // further tries
	InFlight int    `json:"in_flight"` // now; an upgraded connection until it ends
}

// FrontendStats is what a frontend has answered.
type FrontendStats struct {
	Counters

	Conns   int               `json:"conns"`   // open now
	Opened  uint64            `json:"opened"`  // in all
	Refused uint64            `json:"refused"` // by limits, before a request was read
	Bad     uint64            `json:"bad"`     // requests that are no HTTP, or too much of it
	Aborted uint64            `json:"aborted"` // clients that left before their answer was whole
	Classes map[string]uint64 `json:"classes"` // answers by status: 2xx; cut: broken off in the middle; left: not waited for
}

// ServiceStats is what the servers of a service have answered.
type ServiceStats struct {
	Counters

	Servers   int    `json:"servers"`   // known
	Ready     int    `json:"ready"`     // take new requests, ejected ones included
	Ejected   int    `json:"ejected"`   // now
	Nobody    uint64 `json:"nobody"`    // answered 503 because nobody was ready
	Exhausted uint64 `json:"exhausted"` // retries that the budget did not pay for
}

// ReleaseStats is how the instances of one release did.
type ReleaseStats struct {
	Counters

	Service string            `json:"service"`
	Sent    uint64            `json:"sent"`    // first tries: without the help of others
	Lost    uint64            `json:"lost"`    // of those: 5xx, reset, timeout, unreached
	Classes map[string]uint64 `json:"classes"` // answers by status
	P50     float64           `json:"p50"`     // seconds, of good first tries, an upper bound
	P99     float64           `json:"p99"`
}

// ServerStats is one instance as real requests see it.
type ServerStats struct {
	Counters

	Service   string    `json:"service"`
	Release   string    `json:"release"`
	Open      bool      `json:"open"`              // takes new requests: ready and not draining
	Long      int       `json:"long"`              // of those in flight, upgraded connections
	Idle      int       `json:"idle"`              // kept connections to it
	Ejections uint64    `json:"ejections"`         // so far
	Ejected   *Ejection `json:"ejected,omitempty"` // now
}

// Ejection is a server that real requests have taken out.
type Ejection struct {
	Since   time.Time `json:"since"`
	Until   time.Time `json:"until"`
	Because string    `json:"because"` // "5 errors in a row, the last: HTTP 500"
}

// LogStats is the fate of an access log.
type LogStats struct {
	Written uint64 `json:"written"`
	Dropped uint64 `json:"dropped"`           // queue full or file not writable
	Because string `json:"because,omitempty"` // of the last drop
}
