package supervise

import (
	"reflect"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/health"
)

// The probes of an instance, in the order of machine.probes.
const (
	startup = iota
	readiness
	liveness
)

var probeNames = [3]string{"startup", "readiness", "liveness"}

// probe is one probe of an instance and what it has found in this run.
type probe struct {
	conf     *backstay.Probe // nil: there is none
	t        health.Threshold
	schedule health.Schedule
	output   string
	answered time.Time // the last time there was an answer
	counted  time.Time // the last failure that counted
}

func (p *probe) there() bool { return p.conf != nil }

// said is the last answer, in words.
func (p *probe) said(i int) string {
	if p.answered.IsZero() {
		return probeNames[i] + " has not been heard yet"
	}
	return probeNames[i] + ": " + p.output
}

func (p *probe) status(i int, ports map[string]uint16) backstay.ProbeStatus {
	return backstay.ProbeStatus{
		Name: probeNames[i], Target: health.Describe(*p.conf, target(p.conf, ports)), Good: p.t.Good, Since: p.t.Since,
		Streak: p.t.Streak, Output: p.output, Checked: p.answered,
	}
}

// note keeps no more of a streak than decides, so that an instance that is well
// is not written down again and again.
func (p *probe) note() probeNote {
	if !p.there() {
		return probeNote{}
	}
	most := p.conf.FailureThreshold
	if p.t.Last {
		most = p.conf.SuccessThreshold
	}
	return probeNote{
		there: true, good: p.t.Good, last: p.t.Last, streak: uint16(min(p.t.Streak, max(most, 1), 1<<15)), since: milli(p.t.Since),
	}
}

// target says whom p asks.
func target(p *backstay.Probe, ports map[string]uint16) health.Target {
	return health.Target{Address: loopback, Port: portOf(p.Port, ports)}
}

// portOf returns the port that ref means: its number, the one of that name, the
// only one, else the one named http; 0 if there is none such.
func portOf(ref backstay.PortRef, ports map[string]uint16) uint16 {
	if n, ok := ref.Number(); ok {
		return n
	}
	if ref != "" {
		return ports[string(ref)]
	}
	if len(ports) == 1 {
		for _, n := range ports {
			return n
		}
	}
	return ports["http"]
}

// beginProbes forgets what the run before was found to be. Liveness is good and
// readiness bad until shown otherwise.
func (m *machine) beginProbes(now time.Time) {
	for i := range m.probes {
		p := &m.probes[i]
		p.t = health.Threshold{Good: i == liveness || i == readiness && m.meta.Ready == "started", Since: now}
		p.output, p.answered, p.counted = "", time.Time{}, time.Time{}
		p.schedule = health.Schedule{} // what is still asked of the run before does not hold this one up
	}
	m.schedule(now, 0)
}

// schedule begins the rounds of those probes whose time has come: startup alone
// until it has passed, then the others. phase spreads the rounds of instances
// that were all found at once.
func (m *machine) schedule(now time.Time, phase float64) {
	first := &m.probes[startup]
	for i := range m.probes {
		p := &m.probes[i]
		waits := i != startup && first.there() && !first.t.Good
		passed := i == startup && first.t.Good
		if !p.there() || waits || passed || !p.schedule.Due().IsZero() || p.schedule.Flying() {
			continue
		}
		from := m.up
		if delay := p.conf.InitialDelay.Std(); now.Sub(m.up) > delay {
			from = now.Add(-delay) // a delay that is over is not a round that was missed
		}
		p.schedule.Begin(*p.conf, from.Add(time.Duration(phase*float64(p.conf.Period))))
	}
}

func (m *machine) stopProbes() {
	for i := range m.probes {
		m.probes[i].schedule.Stop()
	}
}

// eager reports whether probe i is asked more often than it says: until the run
// is first ready.
func (m *machine) eager(i int) bool { return i != liveness && m.state == backstay.Starting }

// question is what a probe asked, of which run, and when.
type question struct {
	probe  int
	conf   *backstay.Probe
	starts uint32
	at     time.Time
}

func (m *machine) question(now time.Time, i int) question {
	return question{probe: i, conf: m.probes[i].conf, starts: m.starts, at: now}
}

// answer takes what a probe found. An answer about an earlier run, or to a
// question that the file no longer asks, says nothing.
func (m *machine) answer(now time.Time, q question, r health.Result) {
	i := q.probe
	p := &m.probes[i]
	if !m.watched() || q.starts != m.starts || q.conf != p.conf {
		return
	}
	p.schedule.Answered()
	if r.Unknown || health.Stale(*p.conf, q.at, now) {
		return
	}
	p.output, p.answered = r.Output, now
	if !r.Good && m.uncounted(i, now) {
		return
	}
	p.t.Add(r.Good, p.conf.SuccessThreshold, p.conf.FailureThreshold, now)
	if i == startup && p.t.Good {
		p.schedule.Stop()
		m.schedule(now, 0)
	}
	m.judge(now)
	m.condemn(now, i, r)
}

// uncounted reports whether a failure does not count: while probes are eager,
// only one in each period does, so that failure_threshold × period stays the
// time a slow start has.
func (m *machine) uncounted(i int, now time.Time) bool {
	p := &m.probes[i]
	if m.eager(i) && !p.counted.IsZero() && now.Sub(p.counted) < p.conf.Period.Std() {
		return true
	}
	p.counted = now
	return false
}

// condemn ends a run whose startup or liveness probe has failed. Liveness asks
// first whether it is this instance's turn.
func (m *machine) condemn(now time.Time, i int, r health.Result) {
	p := &m.probes[i]
	if r.Good || i == readiness {
		return
	}
	if i == startup && !p.t.Good && p.t.Streak >= p.conf.FailureThreshold {
		m.kill(now, "startup failed: "+r.Output)
	}
	if i == liveness && !p.t.Good {
		m.emit(effect{do: doAskKill, reason: "liveness failed: " + r.Output})
	}
}

// condemned is doAskKill, granted.
func (m *machine) condemned(now time.Time, reason string) {
	m.kill(now, reason)
	m.healing = now
}

// badAnswer is the last answer of a probe that fails.
func (m *machine) badAnswer() string {
	for i := range m.probes {
		if p := &m.probes[i]; p.there() && p.t.Streak > 0 && !p.t.Last {
			return p.output
		}
	}
	return ""
}

// configure takes what the file says now about a service. What a probe that has
// not changed has found stays found; a new readiness probe begins with what is.
func (m *machine) configure(now time.Time, s Service, phase float64) {
	m.conf, m.known = s, true
	for i, conf := range [3]*backstay.Probe{s.Probes.Startup, s.Probes.Readiness, s.Probes.Liveness} {
		m.setProbe(now, i, conf)
	}
	if m.watched() {
		m.schedule(now, phase)
		m.judge(now)
	}
	if p := policyFrom(s); p != m.meta.policy && m.meta.Release != "" {
		m.meta.policy = p
		m.emit(effect{do: doPut})
	}
}

func (m *machine) setProbe(now time.Time, i int, conf *backstay.Probe) {
	p := &m.probes[i]
	if p.conf == nil && conf == nil || p.conf != nil && conf != nil && reflect.DeepEqual(*p.conf, *conf) {
		return
	}
	t := health.Threshold{Good: p.t.Good, Since: p.t.Since}
	if !p.there() {
		t = m.found(now, i)
	}
	*p = probe{conf: conf, t: t}
}

// found is what a probe that is new here begins with: what the agent before us
// had found, else what the instance is.
func (m *machine) found(now time.Time, i int) health.Threshold {
	kept := m.kept[i]
	m.kept[i] = probeNote{}
	running := m.state == backstay.Running
	t := health.Threshold{Good: i == liveness || running && (i == startup || m.ready), Since: now}
	if kept.there {
		t = health.Threshold{Good: kept.good, Last: kept.last, Streak: int(kept.streak), Since: kept.since}
	}
	if i == readiness && t.Good != m.ready { // who is ready stays so until shown otherwise
		t = health.Threshold{Good: m.ready || m.meta.Ready == "started", Since: now}
	}
	return t
}
