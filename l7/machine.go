package l7

import (
	"slices"
	"strconv"
	"time"
)

// outcome is how one try of a request ended, before any byte of an answer went
// to the client.
type outcome uint8

const (
	answered   outcome = iota // with a status
	unreached                 // no connection came about
	cut                       // the connection ended before a byte of an answer
	late                      // nothing came in time
	unreadable                // what came is no HTTP answer
)

// outcomes are the outcomes as people read them.
var outcomes = [...]string{answered: "answered", unreached: "connect", cut: "reset", late: "timeout", unreadable: "bad answer"}

func (o outcome) String() string { return outcomes[o] }

// try is what the retry decision knows about the try that just ended.
type try struct {
	outcome outcome
	status  int  // with answered
	reused  bool // the connection had carried requests before
	wrote   bool // at least one byte of the request was written to it
	kept    bool // all of the request is still here
}

// verdict is what follows a try.
type verdict uint8

const (
	settle    verdict = iota // the client gets what came, or what stands for it
	elsewhere                // another try, at another server
	afresh                   // another try at once, on a new connection
)

// retry is a route's rules about a failed try, compiled.
type retry struct {
	on            [unreadable]bool // by outcome; answered is not used
	statuses      []int
	attempts      int
	ratio         float64 // retries that a first try pays for
	perTry        time.Duration
	nonIdempotent bool
}

// compile returns the rules of r.
func (r *Retry) compile() retry {
	c := retry{
		attempts: min(r.Attempts, maxAttempts), ratio: float64(r.Budget) / 100,
		perTry: r.PerTryTimeout.Std(), nonIdempotent: r.NonIdempotent,
	}
	for _, word := range r.If {
		if status, err := strconv.Atoi(word); err == nil {
			c.statuses = append(c.statuses, status)
		}
		for o := unreached; o < unreadable; o++ {
			c.on[o] = c.on[o] || word == o.String()
		}
	}
	return c
}

// maxAttempts bounds the retries of one request, whatever the file says: more
// servers than this failing one after the other is not about this request.
const maxAttempts = 10

// tries is what has been spent on one request.
type tries struct {
	retries int  // that were paid for
	afresh  bool // the free one has been used
}

// after decides what follows t, in this order: a request that is not whole here
// any more, or that may have been carried out, is never sent again; a kept
// connection that its server had closed is no fault of anyone, and costs
// nothing; the rest is asked for by the route, bounded by attempts, and paid
// for.
func (r *retry) after(t try, so *tries, idempotent bool, pay func() bool) verdict {
	harmless := idempotent || !t.wrote || r.nonIdempotent
	switch {
	case !t.kept || !harmless:
		return settle
	case t.outcome == cut && t.reused && !so.afresh:
		so.afresh = true
		return afresh
	case !r.asks(t) || so.retries >= r.attempts || !pay():
		return settle
	}
	so.retries++
	return elsewhere
}

// mayFollow reports whether a try that comes to nothing in its time may be
// followed by another, if the budget pays.
func (r *retry) mayFollow(so *tries, idempotent bool) bool {
	return r.on[late] && so.retries < r.attempts && (idempotent || r.nonIdempotent)
}

// asks reports whether the route wants a retry after t.
func (r *retry) asks(t try) bool {
	if t.outcome == answered {
		return slices.Contains(r.statuses, t.status)
	}
	return t.outcome < unreadable && r.on[t.outcome]
}

// idempotent reports whether method may be carried out twice with the effect of
// once (RFC 9110, 9.2.2). Methods we do not know may not.
func idempotent(method []byte) bool {
	switch string(method) {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
		return true
	}
	return false
}
