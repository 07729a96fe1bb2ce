package registry

import "context"

// Endpoint is an instance as everybody else sees it.
type Endpoint struct {
	Service  string
	Instance string
	Release  string
	Address  string            // 127.0.0.1
	Ports    map[string]uint16 // by name
	Ready    bool
	Drain    bool // takes no new work, finishes the old; final when on its way to stop
	Starts   int  // runs so far
}

// Snapshot is all endpoints at one moment.
type Snapshot struct {
	Gen       uint64
	Endpoints []Endpoint // by service, then instance
}

// Balancer is whoever spreads requests over endpoints: a live proxy generation.
// The registry calls it and waits for the answers; both calls end with ctx.
type Balancer interface {
	// Apply returns when every request that arrives from now on sees s.
	Apply(ctx context.Context, s Snapshot) error
	// Drain returns when nothing is in flight at instance and idle connections
	// to it are closed; long tells whether upgraded connections count too.
	Drain(ctx context.Context, instance string, long bool) error
}
