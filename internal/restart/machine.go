package restart

import "time"

// slices is into how many parts Window is cut: a failure is forgotten at most
// one part early, and a limit of 100000 costs no more memory than one of 10.
const slices = 20

// jitter is how far a pause may be from the plan, either way.
const jitter = 0.2

// Bounds that hold whatever the policy says.
const (
	// least is the shortest second pause: with none at all a program that ends at
	// once would take a whole CPU.
	least = 10 * time.Millisecond
	// shortest is the shortest run that ends a run of failures, for the same
	// reason: with less, each failure would be a first one, and cost no pause.
	shortest = time.Second
	// longest keeps sums of times far from overflow.
	longest = 365 * 24 * time.Hour
)

// Event is what happened to the instance.
type Event uint8

// The events. An exit that a stop asked for is Exited as well.
const (
	Start    Event = iota + 1 // somebody wants it to run
	Stop                      // nobody wants it to run any more
	Started                   // it runs
	Ready                     // it serves, as its probes say
	NotReady                  // it does not
	Exited                    // it ended by itself, with success
	Crashed                   // it ended otherwise
	Undone                    // its start was not carried out, and not for its own fault
	Tick                      // time has passed; at Machine.Due something is to be done
)

// Do is what is to be done.
type Do uint8

// The effects.
const (
	Nothing     Do = iota
	StartNow       //
	StartAt        // back-off: a Tick at Effect.At starts it
	FailUntil      // failed: a Tick at Effect.At tries again, 0 is never
	BeStopped      // it does not run, and need not
	BeCompleted    // it ended, and its policy wants no further start
)

// Effect is the answer to an event.
type Effect struct {
	Do Do
	At time.Duration // for StartAt and FailUntil: when, by the clock of `now`
}

// Machine is the memory of one instance. Its fields are exported so that they
// can be kept on disk; only Step changes them. The zero Machine is stopped.
//
//	           Start            Crashed, first        Tick at Due
//	stopped ────────► running ───────────────► (now) ◄──────────── back-off
//	   ▲                │ │ └── Crashed, again ────────────────────►  ▲
//	   │ Stop, Exited   │ └──── Crashed, the Limit-th in Window ──► failed ─┐
//	   └────────────────┘                             Tick: one try ◄───────┘
type Machine struct {
	Wanted   bool          // Start came last, not Stop
	Running  bool          // between Started and its end
	Failed   bool          // the limit was hit, and it has not been well since
	Told     bool          // in this run somebody said Ready or NotReady
	Failures uint32        // in the present run of failures
	Pause    time.Duration // before the present run
	Up       time.Duration // when the present run began
	ReadyAt  time.Duration // since when it is ready; 0: it is not
	Due      time.Duration // when Tick has something to do; 0: never

	Counts [slices]uint32 // failures in each part of the window, a circle
	Part   int64          // which part of all time the newest is
}

// Step takes ev at now (of a clock that only grows, and counts sleep: boot
// time) and says what is to be done. chance, 0 ≤ chance < 1, is the jitter's.
//
// When nobody said a word about readiness during a run, because the agent is
// dead, being up counts as being ready: a service must not pay for the agent's
// absence with ever longer pauses. Once somebody did, only readiness counts.
func (m *Machine) Step(p Policy, ev Event, now time.Duration, chance float64) Effect {
	switch ev {
	case Start:
		return m.start()
	case Stop:
		return m.stop()
	case Started:
		m.Running, m.Told, m.ReadyAt, m.Up, m.Due = true, false, 0, now, 0
	case Ready, NotReady:
		m.ready(ev == Ready, now)
	case Exited, Crashed:
		return m.ended(p, ev == Crashed, now, chance)
	case Undone:
		return m.undone()
	case Tick:
		return m.tick(now)
	}
	return Effect{}
}

// start forgives what is stopped or failed. What is in back-off starts at once,
// but the run of failures goes on: asking often does not make it well.
func (m *Machine) start() Effect {
	if m.Running || (m.Wanted && m.Due == 0 && !m.Failed) {
		m.Wanted = true
		return Effect{}
	}
	if !m.Wanted || m.Failed {
		*m = Machine{}
	}
	m.Wanted, m.Due = true, 0
	return Effect{Do: StartNow}
}

func (m *Machine) stop() Effect {
	m.Wanted, m.Due = false, 0
	if m.Running {
		return Effect{}
	}
	return Effect{Do: BeStopped}
}

// undone asks for the same start again; when is the caller's to say. One that is
// still to come does not come sooner.
func (m *Machine) undone() Effect {
	m.Running = false
	switch {
	case !m.Wanted:
		return Effect{Do: BeStopped}
	case m.Due != 0:
		return Effect{}
	}
	return Effect{Do: StartNow}
}

func (m *Machine) ready(yes bool, now time.Duration) {
	m.Told = true
	switch {
	case !yes:
		m.ReadyAt = 0
	case m.ReadyAt == 0:
		m.ReadyAt = max(now, 1)
	}
}

func (m *Machine) tick(now time.Duration) Effect {
	if m.Due == 0 || now < m.Due || m.Running || !m.Wanted {
		return Effect{}
	}
	m.Due = 0
	return Effect{Do: StartNow}
}

// ended is the one place where a run's end is judged.
func (m *Machine) ended(p Policy, crashed bool, now time.Duration, chance float64) Effect {
	ran, well := m.Running, m.well(p, now)
	m.Running, m.ReadyAt = false, 0
	switch {
	case !m.Wanted:
		return Effect{Do: BeStopped}
	case !ran: // told twice: judged once
		return Effect{}
	case p.When == Never, p.When == OnFailure && !crashed:
		m.Wanted = false
		return Effect{Do: BeCompleted}
	}
	if well {
		m.Failures = 0
		if m.Failed {
			m.Failed, m.Counts = false, [slices]uint32{}
		}
	}
	m.Failures++
	if m.count(p, now) || m.Failed {
		return m.fail(p, now)
	}
	m.Pause = p.pause(m.Failures, chance)
	if m.Pause == 0 {
		return Effect{Do: StartNow}
	}
	m.Due = now + m.Pause
	return Effect{Do: StartAt, At: m.Due}
}

// well says whether the run that ends at now ends the failures before it.
func (m *Machine) well(p Policy, now time.Duration) bool {
	since := m.ReadyAt
	if !m.Told {
		since = m.Up
	}
	return m.Running && (since > 0 || !m.Told) && now-since >= max(p.ResetAfter, 2*m.Pause, shortest)
}

func (m *Machine) fail(p Policy, now time.Duration) Effect {
	m.Failed, m.Pause, m.Due = true, 0, 0
	if p.RetryEvery > 0 {
		m.Due = now + min(p.RetryEvery, longest)
	}
	return Effect{Do: FailUntil, At: m.Due}
}

// count adds a failure and says whether the limit is reached.
func (m *Machine) count(p Policy, now time.Duration) bool {
	if p.Limit <= 0 || p.Window <= 0 {
		return false
	}
	part := int64(now / max(p.Window/slices, 1))
	if part < m.Part { // the window was made longer
		m.Counts = [slices]uint32{}
	}
	for i := max(m.Part+1, part-slices+1); i <= part; i++ {
		m.Counts[i%slices] = 0
	}
	m.Part = part
	m.Counts[part%slices]++
	sum := 0
	for _, n := range m.Counts {
		sum += int(n)
	}
	return sum >= p.Limit
}

// pause is how long to wait before start n of a run of failures: 0, Min, 2·Min
// … Max, each ± jitter. What the jitter puts above Max is mirrored below it:
// merely cut off, half of all copies would start in step.
func (p Policy) pause(n uint32, chance float64) time.Duration {
	if n <= 1 {
		return 0
	}
	wait := min(max(p.Min, least), longest)
	most := max(min(p.Max, longest), wait)
	for i := uint32(2); i < n && wait < most; i++ {
		wait *= 2
	}
	wait = min(wait, most)
	wait += time.Duration(float64(wait) * jitter * (2*chance - 1))
	if wait > most {
		return most - (wait - most)
	}
	return wait
}
