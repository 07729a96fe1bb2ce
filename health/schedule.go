package health

import (
	"time"

	"github.com/backstay/backstay"
)

// Eager is how often a probe is asked until what it asks of is first ready,
// where its period is longer: a start is seen so much sooner.
const Eager = 250 * time.Millisecond

// Schedule says when the next question of a probe is due. At most one is on
// its way. The zero value never asks.
type Schedule struct {
	due    time.Time // of the next question; zero: none
	flying bool      // asked, no answer yet
}

// Begin starts the rounds: the first is due the probe's initial delay after from.
func (s *Schedule) Begin(p backstay.Probe, from time.Time) {
	*s = Schedule{due: from.Add(p.InitialDelay.Std()), flying: s.flying}
}

// Stop ends the rounds. An answer on its way may still come.
func (s *Schedule) Stop() { s.due = time.Time{} }

// Due returns when [Schedule.Take] has something to do, or the zero time.
func (s *Schedule) Due() time.Time {
	if s.flying {
		return time.Time{}
	}
	return s.due
}

// Take reports whether to ask now. A round whose time came more than a period
// ago is left out: the host was asleep or we were starved, and what a target
// said to nobody says nothing about it.
func (s *Schedule) Take(p backstay.Probe, now time.Time, eager bool) bool {
	if s.due.IsZero() || s.flying || now.Before(s.due) {
		return false
	}
	late := now.Sub(s.due) > p.Period.Std()
	s.due = now.Add(Every(p, eager))
	s.flying = !late
	return s.flying
}

// Answered notes that the answer has come, or never will.
func (s *Schedule) Answered() { s.flying = false }

// Flying reports whether an answer is on its way.
func (s *Schedule) Flying() bool { return s.flying }

// Hurry brings the next question forward to now at the latest.
func (s *Schedule) Hurry(now time.Time) {
	if !s.due.IsZero() && s.due.After(now) {
		s.due = now
	}
}

// leastPeriod is the shortest time between two questions, whatever p says.
const leastPeriod = 10 * time.Millisecond

// Every returns how often p is asked.
func Every(p backstay.Probe, eager bool) time.Duration {
	every := max(p.Period.Std(), leastPeriod)
	if eager {
		return min(every, Eager)
	}
	return every
}

// Stale reports whether an answer that took from asked to now says more about
// us than about the target: we were frozen meanwhile.
func Stale(p backstay.Probe, asked, now time.Time) bool {
	return now.Sub(asked) > p.Timeout.Std()+p.Period.Std()
}
