package api

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/backstay/backstay"
)

// noTraffic returns why i, which runs, gets no requests, and what would change
// that. The first reason that holds decides: one that is not ready gets none
// whatever the proxy thinks. It returns nothing if i gets traffic, or if no route
// leads to its service.
func (f Facts) noTraffic(s Service, i Instance) (facts []Fact, do []string) {
	switch {
	case i.Drained || i.DrainedBy != "":
		return f.drained(i), []string{"backstay undrain " + i.ID}
	case !i.Ready:
		return f.unready(s, i), []string{"backstay logs " + i.ID + " -n 50", f.edit(probeKey(s, i), "ask something else, or more patiently")}
	case !s.Balanced:
		return nil, nil
	case !f.Status.Proxied(), !f.Status.Answered() && f.unbound(s) == nil:
		return f.noProxy(), []string{"backstay why role/proxy", "backstay logs backstay/proxy -n 50"}
	}
	if facts := f.unbound(s); facts != nil {
		return facts, []string{"backstay why frontend/" + s.Frontends[0], f.edit("frontends."+s.Frontends[0]+".bind", "an address that can be bound")}
	}
	if i.Server == nil || !i.Server.Told {
		return []Fact{{Text: "the proxy has not acknowledged yet that it is ready", At: i.ReadySince}}, []string{"backstay why role/proxy"}
	}
	if e := i.Server.Ejected; e != nil && e.Until.After(f.Status.At) {
		key := "services." + s.Name + ".traffic.outlier"
		return []Fact{{Text: "the proxy has ejected it: " + e.Because + "; back " + f.until(e.Until) + ", at " + clock(e.Until)}},
			[]string{"backstay logs " + i.ID + " -n 50", "backstay restart " + i.ID + "  # clears it", f.edit(key, "when to eject, and for how long")}
	}
	return nil, nil
}

// drainedBy is how the supervisor says who has drained an instance.
const drainedBy = "drained by "

// ByHand reports whether a person has drained i, and it is not on its way out.
func (i Instance) ByHand() bool {
	leaves := i.State == backstay.Draining || i.State == backstay.Stopping || i.State == backstay.Stopped
	return i.DrainedBy != "" || i.Drained && !leaves
}

// Drainer returns who has drained i by hand; empty if that is not known.
func (i Instance) Drainer() string {
	if by, ok := strings.CutPrefix(i.Because, drainedBy); ok && i.DrainedBy == "" {
		return by
	}
	return i.DrainedBy
}

// drain returns who has drained i by hand, and when, as far as that is known.
func (f Facts) drain(i Instance) (by string, since time.Time) {
	by, since = i.Drainer(), i.DrainedSince
	for _, o := range f.Status.Overrides {
		if o.What == "drained" && o.Ref == backstay.NewRef("instance", i.ID) {
			by = cmp.Or(by, o.By)
			if since.IsZero() {
				since = o.Since
			}
		}
	}
	if e, ok := f.told(backstay.Withdrawn, i.ID, ""); ok && since.IsZero() {
		since = e.At
	}
	return by, since
}

func (f Facts) drained(i Instance) []Fact {
	if !i.ByHand() {
		return []Fact{{Text: "it is on its way out: " + i.Because}}
	}
	by, since := f.drain(i)
	return []Fact{{Text: "it is drained by hand", By: by, At: since}}
}

// Proxied reports whether any proxy runs.
func (st Status) Proxied() bool {
	return slices.ContainsFunc(st.Roles, func(r Role) bool { return isProxy(r) && r.Running })
}

// Answered reports whether a proxy has said what it does: one that runs and does
// not answer takes no connection from the queues either.
func (st Status) Answered() bool {
	said := func(fe Frontend) bool { return fe.Traffic != nil }
	return len(st.Frontends) == 0 || slices.ContainsFunc(st.Frontends, said)
}

// Silent reports whether r is a proxy that runs and does not answer.
func (st Status) Silent(r Role) bool { return isProxy(r) && r.Running && !st.Answered() }

// NoProxyAnswers is why nothing is served on an address that is bound.
const NoProxyAnswers = "it listens, but no proxy answers: connections wait"

// Listens reports whether the kernel takes connections at b, be there a proxy
// that serves them or not.
func (b Bind) Listens() bool { return b.Bound || b.Because == NoProxyAnswers }

// Reachable reports whether an address is bound of any frontend that leads to s.
func (st Status) Reachable(s Service) bool { return Facts{Status: st}.unbound(s) == nil }

func isProxy(r Role) bool { return r.Name == "proxy" || strings.HasPrefix(r.Name, "proxy-") }

// noProxy is why there is none.
func (f Facts) noProxy() []Fact {
	for _, r := range f.Status.Roles {
		if f.Status.Silent(r) {
			return append([]Fact{{Text: fmt.Sprintf("the proxy runs as pid %d and does not answer", r.PID)}}, roleDeath(r)...)
		}
		if isProxy(r) {
			return append([]Fact{{Text: "no proxy runs", At: r.Since}}, roleDeath(r)...)
		}
	}
	return []Fact{{Text: "no proxy runs: nothing has started one"}}
}

// unbound returns why no address of any frontend that leads to s is bound.
func (f Facts) unbound(s Service) []Fact {
	var facts []Fact
	for _, fe := range f.Status.Frontends {
		if !slices.Contains(s.Frontends, fe.Name) {
			continue
		}
		for _, b := range fe.Binds {
			if b.Listens() {
				return nil
			}
			facts = append(facts, Fact{
				Text:  fmt.Sprintf("frontend/%s is not bound to %s: %s", fe.Name, b.Address, b.Because),
				Where: f.line("frontends." + fe.Name + ".bind"),
			})
		}
	}
	return facts
}
