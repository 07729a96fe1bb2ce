package health

import "time"

// Threshold turns answers into good and bad: bad after fall bad answers in a
// row, good after rise good ones (Kubernetes' meaning). The zero value is bad
// and has heard nothing.
type Threshold struct {
	Good   bool      // what it has come to
	Streak int       // answers in a row like the last one
	Last   bool      // whether the last one was good; meaningless with Streak 0
	Since  time.Time // of Good; zero before the first change
}

// Add counts an answer and reports whether Good has changed. A rise or fall
// below 1 is 1.
func (t *Threshold) Add(good bool, rise, fall int, now time.Time) (changed bool) {
	if t.Streak == 0 || t.Last != good {
		t.Last, t.Streak = good, 0
	}
	t.Streak++
	need := fall
	if good {
		need = rise
	}
	if good == t.Good || t.Streak < need {
		return false
	}
	t.Good, t.Since = good, now
	return true
}
