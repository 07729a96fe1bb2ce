package l7

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// reach refuses a route that no request gets to, because an earlier one takes
// all of them. Several that take them together are not looked for.
func (m *mistakes) reach(routes []Route) {
	for i := range routes {
		for j := range i {
			if routes[j].takes(&routes[i]) {
				m.Say("never_reached", fmt.Sprintf("routes[%d]", i), "", "is never reached: routes[%d] takes all of it", j)
				break
			}
		}
	}
}

// takes reports whether r matches every request that s matches.
func (r *Route) takes(s *Route) bool {
	return takesEach(r.Host, s.Host, hostTakes) && pathTakes(r.Path, s.Path) && takesEach(r.Methods, s.Methods, sameMethod) &&
		headersTake(r.Headers, s.Headers) && takesEach(r.Clients, s.Clients, networkTakes)
}

// takesEach reports whether each of narrow is taken by one of wide; none is any.
func takesEach[T any](wide, narrow []T, takes func(wide, narrow T) bool) bool {
	if len(wide) == 0 {
		return true
	}
	for _, n := range narrow {
		if !slices.ContainsFunc(wide, func(w T) bool { return takes(w, n) }) {
			return false
		}
	}
	return len(narrow) > 0
}

func sameMethod(a, b string) bool { return a == b }

func hostTakes(wide, narrow string) bool {
	suffix, wild := strings.CutPrefix(wide, "*")
	return wide == narrow || wild && strings.HasSuffix(narrow, suffix)
}

func networkTakes(wide, narrow netip.Prefix) bool {
	return wide.IsValid() && wide.Bits() <= narrow.Bits() && wide.Contains(narrow.Addr())
}

func pathTakes(wide, narrow string) bool {
	if wide == "" || wide == "/" || wide == narrow {
		return true
	}
	return strings.HasSuffix(wide, "/") && strings.HasPrefix(narrow, wide)
}

func headersTake(wide, narrow map[string]string) bool {
	for name, value := range wide {
		got, ok := headerNamed(narrow, name)
		if !ok || value != "*" && value != got {
			return false
		}
	}
	return true
}

// headerNamed returns the value of the header called name, in whatever case.
func headerNamed(headers map[string]string, name string) (string, bool) {
	for k, v := range headers {
		if strings.EqualFold(k, name) {
			return v, true
		}
	}
	return "", false
}
