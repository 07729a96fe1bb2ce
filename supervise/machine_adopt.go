package supervise

import (
	"bytes"
	"strings"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/internal/keeperwire"
)

// adopt returns the instance that slot holds, as the agent before us left it.
// Nothing is guessed: what it did not write down is begun anew.
func adopt(now time.Time, slot keeperwire.Slot) *machine {
	m := newMachine(slot.ID, meta{}, now)
	var err error
	if m.meta, err = decodeMeta(slot.Meta); err != nil {
		m.meta = meta{Service: serviceOf(slot.ID)}
	}
	m.conf.Stop.Drain, m.conf.Stop.DrainLong = m.meta.Drain, m.meta.DrainLong // until the file says otherwise; it may not have it any more
	n, noteErr := decodeNote(slot.Note)
	if noteErr != nil {
		n = note{}
	}
	m.starts, m.failures, m.nextStart = slot.Starts, int(slot.Failures), nextOf(slot)
	m.drained, m.leave, m.leaveAt = n.drained, n.leave, n.leaveAt
	if m.leave != stay {
		m.leaveWhy = n.text
	}
	if slot.Last.At != 0 {
		last := ExitOf(slot.Last)
		m.last, m.cause = &last, m.causeOf(last)
		m.lastLog = []string{} // if it runs again, its log has gone on since
	}
	m.because = "found by a new agent"
	if err != nil {
		m.because += "; " + err.Error()
	}
	switch {
	case runs(slot):
		m.adoptRun(now, slot, n)
	case remains(slot):
		m.adoptRemains(slot, n)
	default:
		m.adoptEnd(slot)
	}
	m.since = m.sinceOf(now, n)
	m.noted = n
	return m
}

// sinceOf returns when the state of m began: its note says so, else the run does.
func (m *machine) sinceOf(now time.Time, n note) time.Time {
	switch {
	case n.state == m.state && n.starts == m.starts && !n.since.IsZero():
		return n.since
	case m.alive() && m.state == backstay.Starting:
		return m.started
	case m.last != nil && m.leave == stay && !m.alive():
		return m.last.At
	default:
		return now
	}
}

// adoptRun takes over a process. Ready stays ready: the keeper forgets it with
// the run it was said about.
func (m *machine) adoptRun(now time.Time, slot keeperwire.Slot, n note) {
	m.pid, m.started = int(slot.PID), unixNano(slot.StartedAt)
	m.up = now.Add(-max(0, now.Sub(m.started))) // an initial delay does not begin anew
	m.ready = slot.Ready
	sameRun := n.starts == slot.Starts
	if sameRun {
		m.kept = n.probes
	}
	if m.leave == removing {
		m.leave = stopping // it runs after all
	}
	switch {
	case m.leave == withdrawing || m.leave == draining:
		m.state = backstay.Draining
	case m.leave != stay:
		m.state = backstay.Stopping
	case slot.Ready || sameRun && n.state == backstay.Running:
		m.state = backstay.Running
	default:
		m.state = backstay.Starting
	}
	m.killing = m.leave == stay && slot.State == keeperwire.Stopping
	m.aged = m.ready
	if m.ready {
		m.readySince = now
		if sameRun && !n.readySince.IsZero() {
			m.readySince = n.readySince
		}
	}
}

// adoptRemains takes over a run whose main process has ended, and whose tree has
// not.
func (m *machine) adoptRemains(slot keeperwire.Slot, n note) {
	m.remains, m.lastRun = true, slot.Starts
	switch {
	case m.leave != stay:
		m.leave, m.state, m.because = stopping, backstay.Stopping, m.remainder() // nothing is left of it to drain
		return
	case m.last == nil || !m.last.OK():
		m.state = backstay.Crashed
		m.askLines()
	case n.starts == slot.Starts && n.state != "":
		m.state = n.state // until the keeper says what its policy makes of it
	default:
		m.state = backstay.Starting
	}
	m.because = m.cause
}

// adoptEnd takes over what does not run.
func (m *machine) adoptEnd(slot keeperwire.Slot) {
	switch slot.State {
	case keeperwire.Backoff:
		m.state = backstay.Backoff
	case keeperwire.Failed:
		m.state = backstay.Failed
	case keeperwire.Completed:
		m.state = backstay.Failed
		if m.last != nil && m.last.OK() {
			m.state = backstay.Completed
		}
	default:
		if slot.Starts > 0 {
			m.state = backstay.Stopped
			m.goneAlready()
		}
	}
	if m.leave == stay && m.last != nil && !m.last.OK() {
		m.lastRun = slot.Starts
		m.askLines()
	}
	if m.leave == withdrawing || m.leave == draining {
		m.leave = stopping // nothing is left of it to drain
	}
	if m.cause != "" {
		m.because = m.cause
	}
}

// ending returns what the end of run number starts was, that the agent before us
// may not have heard of. What was on its way out, or had done its work, has not
// crashed. The result is empty where that agent has told of it.
func (m *machine) ending(starts uint32) (from, to backstay.InstanceState) {
	last := starts == m.starts
	switch {
	case last && m.leave == removing && m.leaveWhy != notByUs: // noted when it was told
		return "", ""
	case last && m.leave != stay:
		return backstay.Stopping, backstay.Stopped
	case last && m.state == backstay.Completed:
		return backstay.Running, backstay.Completed
	default:
		return backstay.Running, backstay.Crashed
	}
}

// goneAlready is a slot that nobody wants to run: what is left of its way out is
// to forget it.
func (m *machine) goneAlready() {
	if m.leave == stay {
		m.leave, m.leaveWhy = removing, notByUs
	}
}

// reconcile takes what a keeper lists about an instance that we know: one whose
// events may have been lost.
func (m *machine) reconcile(now time.Time, slot keeperwire.Slot) {
	if slot.Starts < m.starts { // the slot was lost, and is another
		m.base, m.starts = m.base+m.starts-slot.Starts, slot.Starts
	}
	r := run{starts: slot.Starts, failures: int(slot.Failures), pid: int(slot.PID), at: unixNano(slot.StartedAt), why: slot.Why, remains: remains(slot)}
	newer := slot.Starts > m.starts
	switch {
	case slot.Last.At != 0 && (newer || m.alive() && !runs(slot)):
		m.missed(now, r, ExitOf(slot.Last), newer)
	case m.alive() && !runs(slot): // and nobody says how it ended
		m.ended(now, r, backstay.Exit{At: now})
	}
	switch {
	case runs(slot):
		m.begun(now, r)
		if m.alive() && slot.Ready != m.ready {
			m.emit(effect{do: doReady, yes: m.ready})
		}
	case remains(slot):
		m.remains = true
	default:
		m.moved(now, stateOf(slot.State), r, nextOf(slot))
	}
	if !bytes.Equal(slot.Note, m.noted.encode()) && m.noted.state != "" {
		m.emit(effect{do: doNote, note: m.noted})
	}
}

// nextOf is when slot starts next, by the wall clock: the last start is known by
// both clocks.
func nextOf(slot keeperwire.Slot) time.Time {
	if slot.NextStart == 0 || slot.Started == 0 {
		return time.Time{}
	}
	return time.Unix(0, slot.StartedAt+slot.NextStart-slot.Started)
}

// missed takes an end whose event was lost. Where a newer run has begun since,
// the end belongs to the one before it.
func (m *machine) missed(now time.Time, r run, exit backstay.Exit, newer bool) {
	if newer && runsNow(r) {
		r.starts--
	}
	m.ended(now, r, exit)
}

func runsNow(r run) bool { return r.pid != 0 }

// runs reports whether the main process of a slot is there.
func runs(s keeperwire.Slot) bool { return s.PID != 0 }

// remains reports whether that has ended, and its tree may not be empty.
func remains(s keeperwire.Slot) bool { return s.PID == 0 && s.State == keeperwire.Stopping }

// stateOf is the keeper's word for a state in ours.
func stateOf(s keeperwire.State) backstay.InstanceState {
	switch s {
	case keeperwire.Starting, keeperwire.Running:
		return backstay.Starting
	case keeperwire.Backoff:
		return backstay.Backoff
	case keeperwire.Stopping:
		return backstay.Stopping
	case keeperwire.Failed:
		return backstay.Failed
	case keeperwire.Completed:
		return backstay.Completed
	default:
		return backstay.Stopped
	}
}

// ExitOf returns how a run ended, in the words of the root package.
func ExitOf(e keeperwire.Exit) backstay.Exit {
	return backstay.Exit{
		At: unixNano(e.At), Known: e.Known, Code: int(e.Code), Signal: int(e.Signal), Core: e.Core, OOM: e.OOM,
		Asked: e.Asked, Stage: e.Stage, Reason: e.Reason,
	}
}

func unixNano(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns)
}

// serviceOf is the service that an id names: all before the last dash.
func serviceOf(id string) string {
	i := strings.LastIndexByte(id, '-')
	if i <= 0 {
		return id
	}
	return id[:i]
}
