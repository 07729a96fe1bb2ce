package supervise

import (
	"fmt"
	"time"

	"github.com/backstay/backstay"
)

// withdrawWithin is how long a proxy may take to say that it sends an instance
// nothing more. One that hangs is killed after 3 s and its successor answers;
// one that cannot be started must not keep a host from stopping.
const withdrawWithin = 10 * time.Second

// depart sends m on its way out: withdrawn, drained, told, killed, forgotten.
// Doing it twice is doing it once.
func (m *machine) depart(now time.Time, reason string) {
	if m.leave != stay {
		return
	}
	m.leaveWhy, m.killing, m.hurry, m.healing = reason, false, false, time.Time{}
	m.stopProbes()
	if !m.alive() {
		m.signal(now)
		return
	}
	m.advance(now, withdrawing)
	m.set(now, backstay.Draining, reason)
	m.tell()
	m.emit(effect{do: doWithdraw, within: withdrawWithin, chain: m.chain})
}

// advance takes the next step of leaving; answers to earlier ones are void.
func (m *machine) advance(now time.Time, to step) {
	m.leave, m.leaveAt = to, now
	m.chain++
}

// withdrawn takes what the proxies said. refused is empty if all have agreed,
// which the registry has told people already.
func (m *machine) withdrawn(now time.Time, chain, acks int, refused string) {
	if chain != m.chain {
		return
	}
	switch {
	case refused == "" && m.leave != stay:
		m.because = fmt.Sprintf("%s; %s acknowledged that it takes no more", m.leaveWhy, count(acks, "proxy", "proxies"))
	case refused != "" && m.leave != stay:
		m.force("not every proxy acknowledged within " + span(withdrawWithin) + ": " + refused)
	}
	switch m.leave {
	case withdrawing:
		m.advance(now, draining)
		m.drain(now)
	case draining: // once more, for the agent that was told before is gone
		m.chain++
		m.drain(now)
	default: // by hand: nothing follows, and nothing is cut off
		m.open[0] = true
		m.emit(effect{do: doDrain, within: m.conf.Stop.Drain.Std(), chain: m.chain})
	}
}

// drain has the proxies finish: requests and upgraded connections, side by
// side. Its time counts from when the step began, whoever began it.
func (m *machine) drain(now time.Time) {
	gone := max(0, now.Sub(m.leaveAt))
	m.open = [2]bool{true, true}
	m.emit(effect{do: doDrain, within: max(0, m.conf.Stop.Drain.Std()-gone), chain: m.chain})
	m.emit(effect{do: doDrain, within: max(0, m.conf.Stop.DrainLong.Std()-gone), long: true, chain: m.chain})
}

// emptied takes that nothing is in flight, or that the time for it is up.
func (m *machine) emptied(now time.Time, chain int, long bool, refused string) {
	which := 0
	if long {
		which = 1
	}
	if chain != m.chain || !m.open[which] {
		return
	}
	m.open[which] = false
	if m.leave != draining {
		if refused == "" {
			m.record(backstay.Drained, "", "", "nothing is in flight")
		}
		return
	}
	if refused != "" {
		m.force(m.unfinished(long))
	}
	if m.open == [2]bool{} {
		if !m.forced {
			m.record(backstay.Drained, "", "", "nothing is in flight")
		}
		m.signal(now)
	}
}

func (m *machine) unfinished(long bool) string {
	if long {
		return "upgraded connections still open after " + m.conf.Stop.DrainLong.String()
	}
	return "requests still in flight after " + m.conf.Stop.Drain.String()
}

func (m *machine) force(why string) {
	m.forced = true
	m.record(backstay.DrainForced, "", "", why)
}

// signal has the keeper stop what runs, and start nothing more.
func (m *machine) signal(now time.Time) {
	m.advance(now, stopping)
	m.open = [2]bool{}
	switch {
	case m.alive():
		m.set(now, backstay.Stopping, m.leaveWhy)
	case m.remains:
		m.set(now, backstay.Stopping, m.remainder())
	default:
		m.nextStart = time.Time{}
	}
	m.emit(effect{do: doStop, reason: m.leaveWhy})
}

// remainder says what is waited for when the main process has ended.
func (m *machine) remainder() string {
	s := m.leaveWhy + "; its main process has ended: " + m.cause + "; its tree is not empty yet"
	if m.known {
		s += ", and is killed when stop.grace (" + m.conf.Stop.Grace.String() + ") is over"
	}
	return s
}

// stopTold takes that the keeper has been told. If nothing runs that is all.
func (m *machine) stopTold(now time.Time) {
	if m.leave == stopping && !m.busy() {
		m.remove(now)
	}
}

// remove has the keeper forget the slot: its tree is gone.
func (m *machine) remove(now time.Time) {
	if m.leave == removing {
		return
	}
	m.advance(now, removing)
	because := m.leaveWhy
	if m.cause != "" {
		because += "; " + m.cause
	}
	m.set(now, backstay.Stopped, because)
	m.emit(effect{do: doRemove})
}

// removed takes that the slot is gone: nobody speaks of m any more.
func (m *machine) removed(time.Time) {
	m.emit(effect{do: doForget})
	m.emit(effect{do: doGone})
}

// setDrained is drain and undrain by a person. It changes no state: the
// instance runs, and takes no traffic.
func (m *machine) setDrained(yes bool, why string) {
	if m.drained == yes || m.leave != stay {
		return
	}
	m.drained, m.because = yes, why
	m.chain++
	m.open = [2]bool{}
	if !yes {
		m.emit(effect{do: doRestore})
	}
	m.tell()
	if yes {
		m.emit(effect{do: doWithdraw, within: withdrawWithin, chain: m.chain})
	}
}

// resume says again what was under way, after an agent or a Run that is gone.
// Every step may be taken twice; withdrawing always is, for a new registry has
// heard no proxy yet.
func (m *machine) resume() {
	switch m.leave {
	case withdrawing, draining:
		m.chain++
		m.emit(effect{do: doWithdraw, within: withdrawWithin, chain: m.chain})
	case stopping:
		m.emit(effect{do: doStop, reason: m.leaveWhy})
	case removing:
		m.emit(effect{do: doRemove})
	case stay:
	}
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
