package l7

import (
	"errors"
	"sync/atomic"

	"github.com/backstay/backstay/l7/h1"
)

// What the access log calls a refusal that is for no rule of HTTP: by the key that
// sets the limit, where there is one.
const (
	ruleLate  = "timeout.header"
	ruleStall = "timeout.body_stall"
	ruleBody  = "limits.body"
	rulePlain = "no_tls" // a request in the clear where TLS is spoken
)

// refusals count broken rules of HTTP by their codes. Who asks why clients get
// 400 finds the rule here, and docs/reference/http1-policy.md says the rest.
type refusals struct{ requests, answers rulesBroken }

// rulesBroken has all codes from the start: it needs no lock, and a hostile
// client cannot make it grow.
type rulesBroken map[string]*atomic.Uint64

func newRefusals() refusals {
	r := refusals{requests: rulesBroken{}, answers: rulesBroken{}}
	for _, code := range h1.Codes() {
		r.requests[code], r.answers[code] = new(atomic.Uint64), new(atomic.Uint64)
	}
	return r
}

// count counts err if it is a broken rule.
func (r rulesBroken) count(err error) {
	if e, ok := errors.AsType[*h1.Error](err); ok {
		r[e.Code].Add(1)
	}
}

// stats are those that have been broken.
func (r rulesBroken) stats() map[string]uint64 {
	broken := map[string]uint64{}
	for code, n := range r {
		if n := n.Load(); n > 0 {
			broken[code] = n
		}
	}
	return broken
}

// refusedPage says to the client which rule its request has broken.
func refusedPage(e *h1.Error) answer {
	a := page(e.Status)
	a.body = append(a.body, e.What+" ("+e.Code+")\n"...)
	return a
}
