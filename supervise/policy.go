package supervise

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/internal/keeperwire"
	"github.com/backstay/backstay/internal/restart"
)

// retryEvery is how often what has failed is tried again: seldom enough to cost
// nothing, and nobody has to come in at night for want of one more try.
const retryEvery = 5 * time.Minute

// policyOf is what the file says about restarts, as the keeper wants it.
func policyOf(r Restart) restart.Policy {
	p := restart.Policy{
		When: restart.Always, Min: r.Backoff.Min.Std(), Max: r.Backoff.Max.Std(), ResetAfter: r.ResetAfter.Std(),
		Limit: r.Limit.Count, Window: r.Limit.Window.Std(), RetryEvery: retryEvery,
	}
	switch r.Policy {
	case "on_failure":
		p.When = restart.OnFailure
	case "never":
		p.When = restart.Never
	}
	return p
}

// dress puts what applies as an instance runs into its spec.
func dress(spec keeperwire.Spec, s Service) (keeperwire.Spec, error) {
	signal, ok := backstay.SignalNumber(s.Stop.Signal)
	if !ok {
		return spec, fmt.Errorf("stop signal %q is not a signal", s.Stop.Signal)
	}
	spec.Restart, spec.Signal, spec.GraceMS = policyOf(s.Restart), int32(signal), s.Stop.Grace.Std().Milliseconds()
	spec.LogMaxSize, spec.LogMaxFiles, spec.LogDrop = int64(s.Logs.MaxSize), uint32(max(s.Logs.MaxFiles, 1)), s.Logs.OnFull == "drop"
	return spec, nil
}

// policyFrom is what of s lies in the keeper's slots.
func policyFrom(s Service) policy {
	return policy{Policy: fingerprint(s), Drain: s.Stop.Drain, DrainLong: s.Stop.DrainLong}
}

// fingerprint tells whether the keeper must hear of a change: of what the file
// says, only these parts lie in its slots.
func fingerprint(s Service) uint64 {
	b, err := json.Marshal([]any{s.Restart, s.Stop, s.Logs})
	if err != nil {
		panic(fmt.Sprintf("supervise: policy cannot be written: %v", err)) // plain values
	}
	h := fnv.New64a()
	_, _ = h.Write(b)
	return h.Sum64()
}
