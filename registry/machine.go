package registry

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"time"
)

// machine is all that the registry knows: what is, and who has been told. It
// is a value that is stepped; it reads no clock and calls nobody.
type machine struct {
	gen       uint64
	endpoints map[string]Endpoint // by instance
	members   map[string]*member  // by balancer
	waits     []*wait
	told      map[string]bool // draining instances whose withdrawal people know of
}

// member is a live balancer.
type member struct {
	acked    uint64 // newest generation it has said is in force
	busy     bool   // a call of Apply is under way
	failures int    // in a row
	due      time.Time
	token    int // tells this membership from an earlier one of the same name
}

// wait is somebody who goes on when every member has acknowledged gen.
type wait struct {
	gen  uint64
	done chan int // holds one: how many acknowledged
}

// delivery is one call of Apply to be made.
type delivery struct {
	name  string
	token int
}

// newMachine returns an empty machine whose first generation follows gen. It is
// never 0, which is what a member has acknowledged that was told nothing yet.
func newMachine(gen uint64) *machine {
	return &machine{gen: gen + 1, endpoints: map[string]Endpoint{}, members: map[string]*member{}, told: map[string]bool{}}
}

// set adds or replaces e. What is draining stays so.
func (m *machine) set(e Endpoint) {
	old, known := m.endpoints[e.Instance]
	e.Drain = e.Drain || old.Drain
	e.Ports = maps.Clone(e.Ports)
	if known && reflect.DeepEqual(old, e) {
		return
	}
	m.endpoints[e.Instance] = e
	if known && sameToBalancers(old, e) {
		return
	}
	m.gen++
}

// sameToBalancers reports whether they need not hear of the change from old to e:
// a run that gets no requests, which ended, and another that gets none either.
// Fifty instances that die at once are as many snapshots a second otherwise.
func sameToBalancers(old, e Endpoint) bool {
	old.Starts = e.Starts
	return !old.Ready && !e.Ready && reflect.DeepEqual(old, e)
}

// drain takes instances out of traffic, or puts them back, in one generation.
// Those unknown need nothing: the newest snapshot lacks them.
func (m *machine) drain(out bool, instances ...string) {
	changed := false
	for _, id := range instances {
		e, known := m.endpoints[id]
		if !known || e.Drain == out {
			continue
		}
		e.Drain, changed = out, true
		m.endpoints[id] = e
		delete(m.told, id)
	}
	if changed {
		m.gen++
	}
}

func (m *machine) remove(instance string) {
	if _, known := m.endpoints[instance]; known {
		delete(m.endpoints, instance)
		delete(m.told, instance)
		m.gen++
	}
}

// tell reports whether people are to be told now that instance is withdrawn:
// once, and nothing of one that is unknown or has been restored since.
func (m *machine) tell(instance string) (Endpoint, bool) {
	e := m.endpoints[instance]
	if !e.Drain || m.told[instance] {
		return e, false
	}
	m.told[instance] = true
	return e, true
}

// join makes name live from now on: it owes an acknowledgement of all there is.
func (m *machine) join(name string, token int) {
	m.members[name] = &member{token: token}
}

// leave forgets name and lets go whoever waited for it alone.
func (m *machine) leave(name string) {
	delete(m.members, name)
	m.release()
}

// await returns somebody who waits for the newest generation.
func (m *machine) await() *wait {
	w := &wait{gen: m.gen, done: make(chan int, 1)}
	m.waits = append(m.waits, w)
	m.release()
	return w
}

// forget drops a waiter who has given up.
func (m *machine) forget(w *wait) {
	m.waits = slices.DeleteFunc(m.waits, func(x *wait) bool { return x == w })
}

// deliveries returns the calls to be made now, and when to look again: the zero
// time if nothing but an event can change that.
func (m *machine) deliveries(now time.Time) (calls []delivery, next time.Time) {
	for name, mem := range m.members {
		switch {
		case mem.busy || mem.acked >= m.gen:
		case mem.due.After(now):
			if next.IsZero() || mem.due.Before(next) {
				next = mem.due
			}
		default:
			mem.busy = true
			calls = append(calls, delivery{name, mem.token})
		}
	}
	slices.SortFunc(calls, func(a, b delivery) int { return cmp.Compare(a.name, b.name) })
	return calls, next
}

// delivered takes the end of a call and reports whether it was the member's
// first failure in a row. A call for a membership that has ended is no news.
func (m *machine) delivered(d delivery, gen uint64, now time.Time, ok bool) (news bool) {
	mem := m.members[d.name]
	if mem == nil || mem.token != d.token {
		return false
	}
	mem.busy = false
	if !ok {
		mem.failures++
		mem.due = now.Add(retry.Wait(mem.failures))
		return mem.failures == 1
	}
	if gen < mem.acked {
		panic("registry: " + d.name + " acknowledged an older generation than before")
	}
	mem.acked, mem.failures, mem.due = gen, 0, time.Time{}
	m.release()
	return false
}

// release lets go those whose generation every member has acknowledged.
func (m *machine) release() {
	m.waits = slices.DeleteFunc(m.waits, func(w *wait) bool {
		if len(m.behind(w.gen)) > 0 {
			return false
		}
		w.done <- len(m.members)
		return true
	})
}

// behind returns the members that have not acknowledged gen.
func (m *machine) behind(gen uint64) []string {
	var names []string
	for name, mem := range m.members {
		if mem.acked < gen {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// snapshot returns all endpoints, by service, then instance.
func (m *machine) snapshot() Snapshot {
	all := slices.Collect(maps.Values(m.endpoints))
	slices.SortFunc(all, func(a, b Endpoint) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Instance, b.Instance))
	})
	return Snapshot{Gen: m.gen, Endpoints: all}
}
