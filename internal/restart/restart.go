// Package restart decides when what has ended starts again. It is the one
// machine for it: the keeper runs it for every instance, agent dead or alive,
// and the agent for what it restarts itself. It is pure, and links nothing but
// the standard library's smallest parts, for the keeper links it.
//
// A lone crash costs nothing: the first start after it is at once. The pauses
// of a run of failures then double up to a bound far below that of Kubernetes,
// for the usual cause is a dependency that comes back; jitter keeps copies from
// starting in step. What ends too often is failed, which people are told of,
// and is tried again slowly: nobody wants a service dead for want of one try.
package restart

import "time"

// Policy says which exits are followed by a start, and how soon.
type Policy struct {
	When       When
	Min, Max   time.Duration // pause before the second start of a run of failures; it doubles up to Max
	ResetAfter time.Duration // ready for so long, and for twice the last pause, ends a run of failures
	Limit      int           // so many failures within Window end in failed; 0 is no limit
	Window     time.Duration
	RetryEvery time.Duration // failed is tried again so often; 0 is never
}

// When is after which exits.
type When uint8

// The policies.
const (
	Always When = iota
	OnFailure
	Never
)
