package supervise

import (
	"cmp"
	"container/heap"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/backstay/backstay"
)

// livenessAtOnce is how many instances of a service may be down at once by
// order of their liveness probes where the file lets none be missing: with more,
// one slow database would take every copy of a service away in the same second.
const livenessAtOnce = 1

// livenessTurn bounds how long one that was killed keeps the others alive: if
// it has not become ready by then, it tells nothing about them.
const livenessTurn = 30 * time.Second

// order is an effect and whose it is.
type order struct {
	m *machine
	effect
}

// fleet is all instances and what the file says about their services: what one
// instance must know of others is decided here. It is as pure as a machine.
type fleet struct {
	machines map[string]*machine
	services map[string]Service
	told     bool // the file has been heard once
	loops    map[string]bool
	queue    dueQueue
	waiting  map[*machine]bool // for what they depend on
	touched  []*machine        // since the last take; lists, for a map that was large once stays slow to walk
	seen     []*machine        // taken since the last time somebody looked
}

func newFleet() *fleet {
	return &fleet{
		machines: map[string]*machine{}, services: map[string]Service{}, waiting: map[*machine]bool{},
	}
}

// add takes an instance in. phase, 0 ≤ phase < 1, spreads its probes.
func (f *fleet) add(now time.Time, m *machine, phase float64) {
	f.machines[m.id] = m
	if s, ok := f.services[m.meta.Service]; ok {
		m.configure(now, s, phase)
	}
	f.touch(m)
}

func (f *fleet) touch(m *machine) {
	if !m.touched {
		m.touched = true
		f.touched = append(f.touched, m)
	}
}

// look returns what has been taken since the last time.
func (f *fleet) look() []*machine {
	seen := f.seen
	f.seen = nil
	for _, m := range seen {
		m.seen = false
	}
	return seen
}

// apply takes what the file says. A service that has left it keeps what was
// said last, for those of its instances that are still there.
func (f *fleet) apply(now time.Time, services map[string]Service, phase func() float64) {
	f.services, f.told = maps.Clone(services), true
	f.loops = loops(services)
	for _, m := range f.sorted() {
		if s, ok := services[m.meta.Service]; ok {
			p := 0.0
			if !m.known {
				p = phase()
			}
			m.configure(now, s, p)
		}
		f.touch(m)
	}
}

// due returns when the first of all has something to do, or the zero time.
func (f *fleet) due() time.Time {
	if len(f.queue) == 0 {
		return time.Time{}
	}
	return f.queue[0].at
}

// tick has all whose time has come do what is due.
func (f *fleet) tick(now time.Time) {
	for len(f.queue) > 0 && !f.queue[0].at.After(now) {
		m := heap.Pop(&f.queue).(*turn).m
		m.turn = nil
		m.tick(now)
		f.touch(m)
	}
}

// take returns what is to be done about all that was touched, the dependants of
// those included.
func (f *fleet) take(now time.Time) (orders []order) {
	for len(f.touched) > 0 {
		touched := f.touched
		f.touched = nil
		slices.SortFunc(touched, byName)
		for _, m := range touched {
			m.touched = false
			orders = append(orders, f.takeOf(now, m)...)
		}
		f.release(now)
	}
	return orders
}

// takeOf returns what is to be done about m, and does what is the fleet's.
func (f *fleet) takeOf(now time.Time, m *machine) (orders []order) {
	for again := true; again; {
		again = false
		for _, e := range m.take() {
			switch e.do {
			case doAskKill:
				if f.mayKill(now, m) {
					m.condemned(now, e.reason)
					again = true
				}
			case doGone:
				delete(f.machines, m.id)
				orders = append(orders, order{m, e})
			default:
				orders = append(orders, order{m, e})
			}
		}
	}
	f.reschedule(m)
	if !m.seen {
		m.seen = true
		f.seen = append(f.seen, m)
	}
	delete(f.waiting, m)
	if m.state == backstay.Waiting && m.leave == stay && f.machines[m.id] == m {
		f.waiting[m] = true
	}
	return orders
}

func (f *fleet) reschedule(m *machine) {
	at := m.due()
	if f.machines[m.id] != m {
		at = time.Time{}
	}
	switch {
	case at.IsZero() && m.turn != nil:
		heap.Remove(&f.queue, m.turn.index)
		m.turn = nil
	case at.IsZero():
	case m.turn == nil:
		m.turn = &turn{m: m, at: at}
		heap.Push(&f.queue, m.turn)
	default:
		m.turn.at = at
		heap.Fix(&f.queue, m.turn.index)
	}
}

// mayKill reports whether liveness may end m: not while so many others of its
// service are still coming back from that.
func (f *fleet) mayKill(now time.Time, m *machine) bool {
	all, others := 0, 0
	for _, o := range f.machines {
		if o.meta.Service != m.meta.Service {
			continue
		}
		all++
		if o != m && !o.healing.IsZero() && now.Sub(o.healing) < livenessTurn {
			others++
		}
	}
	return others < max(livenessAtOnce, m.conf.MaxUnavailable.Of(all, false))
}

// release starts those whose dependencies are met, and has the others say what
// they wait for.
func (f *fleet) release(now time.Time) {
	if len(f.waiting) == 0 {
		return
	}
	held := portHolders{}
	for _, m := range f.machines {
		held.add(m)
	}
	for _, m := range sortedOf(f.waiting) {
		was := m.because
		if services, because := f.missing(m, held); because != "" {
			m.hold(services, because)
		} else {
			m.begin(now)
			held.add(m)
		}
		if m.because != was || m.state != backstay.Waiting {
			f.touch(m)
		}
	}
}

// missing returns which services m waits for, and why in words; empty if none.
func (f *fleet) missing(m *machine, held portHolders) (services []string, because string) {
	if !f.told {
		return nil, "waits until the file has been read"
	}
	if _, ok := f.services[m.meta.Service]; !ok {
		return nil, "its service is not in the file"
	}
	if port, o := held.of(m); o != nil {
		return nil, fmt.Sprintf("waits for port %d, which %s (%s) has until it is gone", port, o.id, o.state)
	}
	var words []string
	for _, name := range slices.Sorted(maps.Keys(m.conf.DependsOn)) {
		if f.loops[loop(m.meta.Service, name)] {
			continue
		}
		if why := f.unmet(name, m.conf.DependsOn[name]); why != "" {
			services = append(services, name)
			words = append(words, why)
		}
	}
	if words == nil {
		return nil, ""
	}
	return services, "waits for " + strings.Join(words, ", and for ")
}

// portHolders is who has each port, of all that do not wait: a service that has
// left the file, whose fixed port another one has taken over, answers there until
// it is gone, to clients and to the probes of the other alike.
type portHolders map[uint16]*machine

func (h portHolders) add(m *machine) {
	if m.state == backstay.Waiting {
		return
	}
	for _, n := range m.meta.Ports {
		h[n] = m
	}
}

// of returns who has a port that m is to have, or nil.
func (h portHolders) of(m *machine) (port uint16, o *machine) {
	for _, n := range m.meta.Ports {
		if o := h[n]; o != nil {
			return n, o
		}
	}
	return 0, nil
}

// unmet says what is missing until the service called name is as c says.
func (f *fleet) unmet(name string, c Condition) string {
	var worst *machine
	for _, m := range f.sorted() {
		if m.meta.Service != name || m.leave != stay {
			continue
		}
		if m.meets(c) {
			return ""
		}
		worst = m
	}
	want := map[Condition]string{Started: "to be started", Ready: "to be ready", Completed: "to complete"}[c]
	switch {
	case worst != nil:
		return fmt.Sprintf("%s %s (%s is %s: %s)", name, want, worst.id, worst.state, worst.because)
	case f.services[name].Replicas > 0:
		return fmt.Sprintf("%s %s (it has no instance yet)", name, want)
	default:
		return fmt.Sprintf("%s %s (it has no instance, and none is wanted)", name, want)
	}
}

// meets reports whether m is what a dependant waits for.
func (m *machine) meets(c Condition) bool {
	switch c {
	case Completed:
		return m.state == backstay.Completed
	case Ready:
		return m.ready
	default:
		return m.alive() || m.state == backstay.Completed
	}
}

// loops returns the dependencies that lie on a cycle. They are not waited for:
// a file is refused for them, and if one gets here all the same nothing may hang.
func loops(services map[string]Service) map[string]bool {
	found := map[string]bool{}
	for name, s := range services {
		for dep := range s.DependsOn {
			if reaches(services, dep, name, map[string]bool{}) {
				found[loop(name, dep)] = true
			}
		}
	}
	return found
}

func loop(from, to string) string { return from + " " + to }

func reaches(services map[string]Service, from, to string, seen map[string]bool) bool {
	if from == to {
		return true
	}
	if seen[from] {
		return false
	}
	seen[from] = true
	for dep := range services[from].DependsOn {
		if reaches(services, dep, to, seen) {
			return true
		}
	}
	return false
}

// next returns the instances that may stop now if all are to: those that no
// other with instances left depends on. In a cycle that is all of them.
func (f *fleet) next() (ids []string) {
	needed := map[string]bool{}
	for _, m := range f.machines {
		for dep := range m.conf.DependsOn {
			if !f.loops[loop(m.meta.Service, dep)] {
				needed[dep] = true
			}
		}
	}
	for _, m := range f.sorted() {
		if !needed[m.meta.Service] {
			ids = append(ids, m.id)
		}
	}
	return ids
}

func (f *fleet) sorted() []*machine {
	return slices.SortedFunc(maps.Values(f.machines), byName)
}

func sortedOf(set map[*machine]bool) []*machine { return slices.SortedFunc(maps.Keys(set), byName) }

func byName(a, b *machine) int {
	return cmp.Or(cmp.Compare(a.meta.Service, b.meta.Service), cmp.Compare(a.id, b.id))
}
