package registry

import (
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/internal/backoff"
)

// applyWithin bounds one call of Apply. A proxy swaps a pointer; one that has
// not done so by then is asked anew, perhaps over a new connection.
const applyWithin = 5 * time.Second

// retry slows down asking a balancer that fails. The first pause is short,
// since a proxy that has just died is usually back within 100 ms; the longest
// is still soon enough for a person who watches a withdrawal hang.
var retry = backoff.Doubling{Min: 10 * time.Millisecond, Max: time.Second}

// Options are what a [Registry] is made with. The zero value works.
type Options struct {
	Log     *slog.Logger          // nil is slog.Default
	Events  backstay.Recorder     // nil is backstay.Discard
	Metrics prometheus.Registerer // nil is none
	// Gen is the generation of the last snapshot of an earlier process, if a
	// balancer may still have it: the first one here is higher.
	Gen uint64
}

func (o Options) withDefaults() Options {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Events == nil {
		o.Events = backstay.Discard
	}
	return o
}
