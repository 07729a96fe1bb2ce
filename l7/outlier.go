package l7

import (
	"fmt"
	"time"

	"github.com/backstay/backstay"
)

// Bounds of passive health.
const (
	// rateWindow is how far back the error rate looks, in steps of rateStep.
	rateWindow = 30 * time.Second
	rateSteps  = 10
	rateStep   = rateWindow / rateSteps
	// rateEnough requests in the window make a rate: below, one error in two
	// would be 50 %.
	rateEnough = 50
	// maxEject ends the doubling. A server that is not well after ten minutes
	// is asked again every ten minutes: for one request, with retry.
	maxEject = 10 * time.Minute
)

// outlier is what real requests say about one server. It is a value: now is an
// argument. It begins anew when its server does.
type outlier struct {
	streak int // errors in a row
	steps  [rateSteps]struct {
		at         int64 // number of the step
		total, bad uint32
	}
	times int   // ejections in a row, for the doubling
	since int64 // of the last ejection
	until int64 // end of the last ejection; 0 is none
}

// note counts an answer and returns why the server should be ejected now, or
// "". What comes back while it is ejected was sent before, and tells nothing new.
func (o *outlier) note(c *backstay.Outlier, now int64, bad bool) string {
	if o.ejected(now) {
		return ""
	}
	step := now / int64(rateStep)
	s := &o.steps[step%rateSteps]
	if s.at != step {
		s.at, s.total, s.bad = step, 0, 0
	}
	s.total++
	if !bad {
		o.streak = 0
		return ""
	}
	s.bad++
	o.streak++
	return o.why(c, step)
}

// why returns the rule that the errors so far break, or "".
func (o *outlier) why(c *backstay.Outlier, step int64) string {
	if c.ConsecutiveErrors > 0 && o.streak >= c.ConsecutiveErrors {
		return fmt.Sprintf("%d errors in a row", o.streak)
	}
	total, bad := o.window(step)
	if c.ErrorRate > 0 && total >= rateEnough && float64(bad)*100 >= float64(c.ErrorRate)*float64(total) {
		return fmt.Sprintf("%d of %d requests failed in %s", bad, total, rateWindow)
	}
	return ""
}

func (o *outlier) window(step int64) (total, bad uint32) {
	for _, s := range o.steps {
		if s.at > step-rateSteps {
			total, bad = total+s.total, bad+s.bad
		}
	}
	return total, bad
}

// eject takes the server out: for c.Eject, and twice as long each time it is
// not well for as long as it was out before.
func (o *outlier) eject(c *backstay.Outlier, now int64) (until int64) {
	if o.until == 0 || now-o.until > o.until-o.since {
		o.times = 0
	}
	length := min(c.Eject.Std(), maxEject)
	for range o.times {
		length = min(2*length, maxEject)
	}
	times := o.times + 1
	*o = outlier{times: times, since: now, until: now + int64(length)}
	return o.until
}

func (o *outlier) ejected(now int64) bool { return now < o.until }

// mayEject reports whether one more of size servers may be out when out are.
func mayEject(c *backstay.Outlier, out, size int) bool {
	return float64(out+1)*100 <= float64(c.MaxEjected)*float64(size)
}
