package supervise

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/backstay/backstay"
)

// aliveEnough is how long an instance without a probe must have run to count
// as ready: most of what cannot start has ended by then.
const aliveEnough = time.Second

// step is how far an instance is on its way out.
type step uint8

// The steps, in their order. Each is in the note before it is taken.
const (
	stay        step = iota
	withdrawing      // proxies are being told
	draining         // proxies finish what they have
	stopping         // the keeper signals, waits, kills
	removing         // nothing runs; the slot goes, then the endpoint
)

var stepNames = []string{"stay", "withdrawing", "draining", "stopping", "removing"}

// String returns the name of s.
func (s step) String() string { return stepNames[s] }

// machine is one instance: what happened goes into its methods, with the time;
// what is to be done comes out of take. It holds no clock and waits for nothing.
//
//	waiting ──► starting ──ready──► running ──stop──► draining ──► stopping ──► stopped, gone
//	              ▲  │                │ │                (withdrawn, in flight 0)
//	  keeper says │  └─────exit───────┘ └─liveness─► stopping
//	              │          ▼                           │
//	 backoff, failed ◄── crashed ◄───────────────────────┘
//	                         └──► completed, stopped (its policy)
type machine struct {
	id   string
	meta meta
	conf Service // as the file said last

	state   backstay.InstanceState
	since   time.Time // of state
	because string
	cause   string // how the last run ended
	waits   []string

	pid       int  // 0: no main process that we know of
	remains   bool // it has ended, and its tree is not known to be empty: the run is not over
	starts    uint32
	base      uint32    // runs in slots that the keeper has lost
	started   time.Time // wall clock, of this run
	up        time.Time // when we saw it run
	failures  int
	nextStart time.Time
	last      *backstay.Exit
	lastLog   []string // nil until they have been read
	lastRun   uint32   // the run that last and lastLog are of

	ready      bool
	readySince time.Time
	aged       bool // has run for aliveEnough
	known      bool // the file, or the one before it, says how to probe and stop it
	probes     [3]probe
	kept       [3]probeNote // what the agent before us found

	drained  bool // by a person
	killing  bool // a kill was asked for; its exit has not come
	hurry    bool // a restart was asked for: no pause
	healing  time.Time
	leave    step
	leaveWhy string
	leaveAt  time.Time // when this step began
	chain    int       // counts ways out, so that an old answer is known as such
	open     [2]bool   // drains that have not answered: short, long
	forced   bool      // a bound was reached on the way out

	turn          *turn // in the fleet's queue
	touched, seen bool  // on the fleet's lists
	noted         note  // as last written
	out           []effect
}

// newMachine returns an instance that has not been started.
func newMachine(id string, m meta, now time.Time) *machine {
	return &machine{id: id, meta: m, state: backstay.Waiting, since: now, because: "new"}
}

// take returns what is to be done and begins anew. A note goes first when it
// has changed and something irrevocable follows: an agent that dies in between
// must know how far it was.
func (m *machine) take() []effect {
	out := m.out
	m.out = nil
	if n := m.note(); m.state != "" && n != m.noted {
		m.noted = n
		out = slices.Insert(out, firstOfKeeper(out), effect{do: doNote, note: n})
	}
	return out
}

// firstOfKeeper returns where the first effect is that the note must precede.
func firstOfKeeper(out []effect) int {
	i := slices.IndexFunc(out, func(e effect) bool {
		return e.do == doStart || e.do == doStop || e.do == doKill || e.do == doRemove || e.do == doWithdraw
	})
	if i < 0 {
		return len(out)
	}
	return i
}

func (m *machine) emit(e effect) { m.out = append(m.out, e) }

func (m *machine) alive() bool { return m.pid != 0 }

// busy reports whether a process of m may be there, of whichever kind: one that
// its main process has left behind holds ports and files as well as that did.
func (m *machine) busy() bool { return m.alive() || m.remains }

func (m *machine) ref() backstay.Ref { return backstay.NewRef("service", m.meta.Service, m.id) }

func (m *machine) record(kind backstay.Kind, from, to, because string) {
	m.emit(effect{do: doRecord, event: backstay.Event{
		Kind: kind, Ref: m.ref(), From: from, To: to, Because: because, Actor: "supervise",
	}})
}

// set moves to state s. The one place where a change of state is told.
func (m *machine) set(now time.Time, s backstay.InstanceState, because string) {
	from := m.state
	m.because = because
	if s == from {
		return
	}
	m.state, m.since = s, now
	if s != backstay.Waiting {
		m.waits = nil
	}
	m.record(backstay.StateChanged, string(from), string(s), because)
}

// tell has the registry know what m is now.
func (m *machine) tell() { m.emit(effect{do: doSet, end: m.endpoint()}) }

func (m *machine) endpoint() Endpoint {
	return Endpoint{
		Service: m.meta.Service, Instance: m.id, Release: m.meta.Release, Address: loopback,
		Ports: maps.Clone(m.meta.Ports), Ready: m.ready, Drain: m.drained || m.leave != stay,
		Starts: int(m.base + m.starts),
	}
}

// loopback is where instances listen: the proxy is the way in.
const loopback = "127.0.0.1"

// setReady turns readiness. The registry hears it before anyone else.
func (m *machine) setReady(now time.Time, yes bool, why string) {
	if yes == m.ready {
		return
	}
	m.ready, m.readySince = yes, time.Time{}
	if yes {
		m.readySince, m.healing = now, time.Time{}
	}
	m.tell()
	words := map[bool]string{true: "ready", false: "not ready"}
	m.record(backstay.ReadyChanged, words[!yes], words[yes], why)
	if m.alive() && !m.killing { // else the keeper learns more than that
		m.emit(effect{do: doReady, yes: yes})
	}
	if yes && m.state == backstay.Starting || m.state == backstay.Running {
		m.set(now, backstay.Running, words[yes]+": "+why)
	}
}

// judge turns readiness if the facts have turned. On its way out an instance is
// neither well nor ill: its endpoint takes nothing new anyway.
func (m *machine) judge(now time.Time) {
	if m.watched() {
		yes, why := m.well()
		m.setReady(now, yes, why)
	}
}

// watched reports whether m runs as it should for now, and is to be probed.
func (m *machine) watched() bool { return m.known && m.alive() && !m.killing && m.leave == stay }

// well says whether the run deserves traffic, and the fact behind it.
func (m *machine) well() (yes bool, why string) {
	start, ready := &m.probes[startup], &m.probes[readiness]
	switch {
	case start.there() && !start.t.Good:
		return false, start.said(startup)
	case ready.there() && !ready.t.Good:
		return false, ready.said(readiness)
	case m.byAge() && !m.aged:
		return false, "has not run for " + span(aliveEnough)
	case ready.there() && !ready.answered.IsZero():
		return true, ready.said(readiness)
	case start.there() && !start.answered.IsZero():
		return true, start.said(startup)
	default:
		return true, "has run for " + span(aliveEnough)
	}
}

// byAge reports whether readiness is about having run for a while.
func (m *machine) byAge() bool {
	return m.meta.Ready == "started" || !m.probes[startup].there() && !m.probes[readiness].there()
}

// due returns when tick has something to do, or the zero time.
func (m *machine) due() (t time.Time) {
	if !m.watched() {
		return t
	}
	if !m.aged && m.byAge() {
		t = m.up.Add(aliveEnough)
	}
	for i := range m.probes {
		t = sooner(t, m.probes[i].schedule.Due())
	}
	return t
}

// tick does what is due.
func (m *machine) tick(now time.Time) {
	if !m.watched() {
		return
	}
	if !m.aged && now.Sub(m.up) >= aliveEnough {
		m.aged = true
		m.judge(now)
	}
	for i := range m.probes {
		p := &m.probes[i]
		if p.there() && p.schedule.Take(*p.conf, now, m.eager(i)) {
			m.emit(effect{do: doProbe, probe: i})
		}
	}
}

func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// note returns what must outlive the agent. Of a run that nothing has been found
// out about the slot tells as much: one that dies all the time must not cost a
// note each time.
func (m *machine) note() note {
	if m.told() {
		return note{drained: m.drained, state: backstay.Starting}
	}
	n := note{
		drained: m.drained, leave: m.leave, state: m.state, starts: m.starts,
		since: milli(m.since), readySince: milli(m.readySince), leaveAt: milli(m.leaveAt),
		text: cmp.Or(m.leaveWhy, m.badAnswer()),
	}
	for i := range m.probes {
		n.probes[i] = m.probes[i].note()
	}
	if !m.known {
		n.probes = m.kept
	}
	return n
}

// told reports whether the slot alone says all there is to know, but whether a
// person has drained it.
func (m *machine) told() bool {
	switch m.state {
	case backstay.Starting, backstay.Crashed, backstay.Backoff, backstay.Failed, backstay.Completed:
	default:
		return false
	}
	found := slices.ContainsFunc(m.probes[:], func(p probe) bool { return p.t.Streak > 0 }) || m.kept != [3]probeNote{}
	return m.leave == stay && (!found || !m.alive())
}

// milli is t as a note can hold it: two that look the same are the same.
func milli(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return time.UnixMilli(t.UnixMilli())
}
