package api

import (
	"fmt"
	"slices"
	"strings"
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
	case !f.Status.Proxied():
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
		return []Fact{{Text: "the proxy has ejected it: " + e.Because + "; back " + f.until(e.Until), At: e.Since}},
			[]string{"backstay logs " + i.ID + " -n 50", "backstay restart " + i.ID + "  (clears it)", f.edit(key, "when to eject, and for how long")}
	}
	return nil, nil
}

func (f Facts) drained(i Instance) []Fact {
	fact := Fact{Text: "it is drained", By: i.DrainedBy, At: i.DrainedSince}
	if i.DrainedBy == "" {
		fact.Text = "it is on its way out: " + i.Because
	}
	return []Fact{fact}
}

// Proxied reports whether any proxy runs.
func (st Status) Proxied() bool {
	return slices.ContainsFunc(st.Roles, func(r Role) bool { return isProxy(r) && r.Running })
}

// Reachable reports whether an address is bound of any frontend that leads to s.
func (st Status) Reachable(s Service) bool { return Facts{Status: st}.unbound(s) == nil }

func isProxy(r Role) bool { return r.Name == "proxy" || strings.HasPrefix(r.Name, "proxy-") }

// noProxy is why there is none.
func (f Facts) noProxy() []Fact {
	for _, r := range f.Status.Roles {
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
			if b.Bound {
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
