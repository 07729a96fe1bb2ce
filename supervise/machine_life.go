package supervise

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/backstay/backstay"
)

// run is what the keeper says about a run: its number, and what there is to it.
type run struct {
	starts   uint32
	failures int
	pid      int
	remains  bool      // its main process has ended, its tree may not be empty
	at       time.Time // wall clock
	why      string    // what a back-off waits for, where that is not its pause
}

// begin starts an instance whose dependencies are met.
func (m *machine) begin(now time.Time) {
	if m.state != backstay.Waiting || m.leave != stay {
		return
	}
	m.waits = nil
	because := "it waits for nothing"
	if len(m.conf.DependsOn) > 0 {
		because = "what it depends on is there"
	}
	m.set(now, backstay.Starting, because)
	m.emit(effect{do: doStart})
}

// hold keeps an instance waiting, and says for what.
func (m *machine) hold(services []string, because string) {
	if m.state != backstay.Waiting {
		return
	}
	m.waits, m.because = services, because
}

// begun takes that the keeper has begun a run.
func (m *machine) begun(now time.Time, r run) {
	if r.starts <= m.starts {
		return // an event that is older than the list of slots
	}
	m.setReady(now, false, "started anew")
	m.starts, m.pid, m.remains, m.started, m.up = r.starts, r.pid, false, r.at, now
	m.failures, m.nextStart, m.killing, m.hurry = r.failures, time.Time{}, false, false
	m.aged = false
	m.beginProbes(now)
	m.tell()
	switch {
	case m.leave != stay: // it ended while it drained, and the keeper was quicker than we
		m.signal(now)
		return
	case !m.byAge():
		m.emit(effect{do: doReady}) // or being up would count as being well
	}
	m.set(now, backstay.Starting, fmt.Sprintf("started, pid %d", m.pid))
}

// ended takes that the main process of a run has ended. The registry hears it
// first. The run is over when its tree is: see moved.
func (m *machine) ended(now time.Time, r run, exit backstay.Exit) {
	if r.starts < m.starts || r.starts == m.starts && !m.alive() && m.last != nil && !exit.At.After(m.last.At) {
		return // it is known
	}
	m.starts, m.failures = r.starts, r.failures
	m.cause = m.causeOf(exit)
	m.pid, m.remains, m.killing, m.last, m.lastLog, m.lastRun = 0, r.remains, false, &exit, nil, r.starts
	m.setReady(now, false, m.cause)
	m.stopProbes()
	switch m.leave {
	case stay:
		m.askLines()
		m.fell(now, exit)
	case withdrawing, draining: // nothing of it is left to drain; the keeper must not start it again
		m.signal(now)
	case stopping:
		if m.remains {
			m.set(now, backstay.Stopping, m.remainder())
			return
		}
		m.remove(now)
	case removing:
	}
}

// fell is an end that nobody asked for, but for a job that has done its work.
func (m *machine) fell(now time.Time, exit backstay.Exit) {
	if !exit.OK() || !m.known || m.conf.Restart.Policy == "always" {
		m.set(now, backstay.Crashed, m.cause)
		return
	}
	if m.because = m.cause; !m.remains {
		m.complete(now)
	}
}

// causeOf says in one line how the present run ended.
func (m *machine) causeOf(exit backstay.Exit) string {
	ran := time.Duration(0)
	if m.alive() && exit.At.After(m.started) {
		ran = exit.At.Sub(m.started)
	}
	if exit.Reason == m.leaveWhy {
		exit.Reason = "" // it stands before it
	}
	return cause(exit, ran)
}

// moved takes any other change that the keeper tells of.
func (m *machine) moved(now time.Time, to backstay.InstanceState, r run, next time.Time) {
	if r.starts < m.starts {
		return
	}
	if to != backstay.Stopping && to != backstay.Starting {
		m.remains = false // the keeper says so only then
	}
	if m.leave != stay && to != backstay.Stopped {
		return
	}
	m.failures, m.nextStart = r.failures, next
	switch to {
	case backstay.Backoff:
		m.set(now, to, cmp.Or(r.why, m.cause))
	case backstay.Failed:
		m.healing = time.Time{}
		m.set(now, to, fmt.Sprintf("ended %d times; the last: %s", m.failures, m.cause))
	case backstay.Completed:
		m.complete(now)
	case backstay.Stopped:
		m.halted(now)
	default:
		return
	}
	if m.hurry && !m.alive() && m.leave == stay {
		m.hurry = false
		m.emit(effect{do: doStart})
	}
}

// complete is an end after which the policy wants no further start.
func (m *machine) complete(now time.Time) {
	m.healing = time.Time{}
	if m.last != nil && !m.last.OK() {
		m.set(now, backstay.Failed, m.cause+"; its policy starts it no more")
		return
	}
	m.set(now, backstay.Completed, m.cause)
}

// notByUs is why an instance leaves that the keeper was told to stop by others.
const notByUs = "stopped, and not by us"

// halted takes that nothing runs, and nobody wants it to.
func (m *machine) halted(now time.Time) {
	switch {
	case m.leave == stopping:
		m.pid = 0
		m.remove(now)
	case m.leave == stay && m.starts > 0 && !m.alive(): // somebody else has told the keeper
		m.leaveWhy = notByUs
		m.remove(now)
	}
}

// askLines has the last lines of the run that has ended read.
func (m *machine) askLines() {
	m.lastLog = nil
	m.emit(effect{do: doTail})
}

// logged takes the last lines that the run before this one wrote. The keeper may
// have begun the next one meanwhile.
func (m *machine) logged(run uint32, lines []string) {
	if run != m.lastRun || m.last == nil {
		return
	}
	m.lastLog = append([]string{}, lines...)
	if before, after, ok := strings.Cut(m.because, m.cause); ok && !m.alive() {
		m.because = before + withLast(m.cause, lines) + after
	}
	m.cause = withLast(m.cause, lines)
}

// restart begins a new run at once, by force where there is one.
func (m *machine) restart(now time.Time, reason string) {
	switch {
	case m.state == backstay.Waiting || m.leave != stay || m.killing:
	case m.alive():
		m.hurry = true
		m.kill(now, reason)
	default:
		m.again(reason)
	}
}

// again starts at once what has ended, fails or waits for its next start.
func (m *machine) again(reason string) {
	if m.alive() || m.leave != stay || m.state == backstay.Waiting {
		return
	}
	m.because = reason
	m.emit(effect{do: doStart})
}

// kill has the keeper end the run and begin another. Traffic ends first. Its
// state stays: stopping is for those who leave, and are replaced.
func (m *machine) kill(now time.Time, reason string) {
	m.killing = true
	m.setReady(now, false, reason)
	m.stopProbes()
	m.because = reason
	m.emit(effect{do: doKill, reason: reason})
}

// lost takes that the keeper does not know m any more. A run of it is over, and
// nobody saw how.
func (m *machine) lost(now time.Time) {
	m.remains = false
	if m.leave != stay {
		m.pid = 0
		m.removed(now)
		return
	}
	if m.alive() {
		m.ended(now, run{starts: m.starts}, backstay.Exit{At: now, Reason: "the keeper has lost it"})
	}
	m.base, m.starts = m.base+m.starts, 0
	m.emit(effect{do: doPut})
	if m.state != backstay.Waiting {
		m.emit(effect{do: doStart})
	}
}

// runs returns how many runs there have been.
func (m *machine) runs() int { return int(m.base + m.starts) }

// view returns m as status shows it.
func (m *machine) view() backstay.Instance {
	v := backstay.Instance{
		ID: m.id, Service: m.meta.Service, Release: m.meta.Release, State: m.state, Since: m.since, Because: m.because,
		PID: m.pid, Started: m.started, Starts: m.runs(), Ready: m.ready, Drained: m.drained || m.leave != stay,
		ReadySince: m.readySince, NextStart: m.nextStart, Failures: m.failures, LastLog: slices.Clone(m.lastLog),
		Ports: m.meta.Ports, WaitsFor: slices.Clone(m.waits), LogFile: m.meta.LogFile,
	}
	if m.last != nil {
		last := *m.last
		v.Last = &last
	}
	if m.state == backstay.Starting && m.watched() {
		if yes, why := m.well(); !yes {
			v.Because += "; not ready: " + why
		}
	}
	for i := range m.probes {
		if p := &m.probes[i]; p.there() {
			v.Probes = append(v.Probes, p.status(i, m.meta.Ports))
		}
	}
	return v
}
