package config

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/backstay/backstay"
)

// maxShown is how much of a value a sentence shows, in characters.
const maxShown = 60

// String returns the change in words, and what it does to requests.
func (c Change) String() string {
	s := c.Text + " (" + c.Tag + ")"
	if c.Traffic != "" {
		s += ": " + c.Traffic
	}
	return s
}

// tell fills in the words of c.
func (c *Change) tell(old, new *File) { //nolint:predeclared // the pair of old
	top, rest, _ := strings.Cut(c.Key, ".")
	name, key, _ := strings.Cut(rest, ".")
	c.Where = new.Where(c.Key)
	thing := strings.TrimSuffix(top, "s") + " " + name
	if top == "services" {
		c.Service, thing = name, name
	}
	c.Text = thing + ": " + c.words(key)
	switch top {
	case "secrets":
		c.ofSecret(old, new, name)
	case "services":
		c.Traffic = c.ofService(old, new, name, key)
	case "frontends":
		c.Traffic = c.ofFrontend(key)
	}
}

// words says what happens to key; the empty key is the thing itself.
func (c *Change) words(key string) string {
	from, to := apart(c.From, c.To, maxShown)
	switch {
	case key == "" && c.From == "":
		return "new"
	case key == "":
		return "taken out"
	case c.From == "":
		return key + " added: " + to
	case c.To == "":
		return key + " taken out, was " + from
	default:
		return key + " " + from + " → " + to
	}
}

func count(n int) string {
	if n == 1 {
		return "1 instance"
	}
	return fmt.Sprintf("%d instances", n)
}

// rolling says how the instances of a service give way to those of its next
// release, and whether requests notice.
func (f *File) rolling(name string) string {
	s := f.Services[name]
	n, surge, missing := s.Replicas, s.Deploy.MaxSurge.Of(s.Replicas, true), s.Deploy.MaxUnavailable.Of(s.Replicas, false)
	switch {
	case n == 0:
		return ""
	case s.Deploy.Strategy == "recreate":
		first := "stopped, then started anew"
		if n > 1 {
			first = fmt.Sprintf("all %d are stopped, then their replacements start", n)
		}
		return first + "; no answer from " + ports(&s) + " from the stop of the old to the ready of the new"
	case surge == 0 && missing >= n:
		return "all are stopped before their replacements are ready: no answer meanwhile"
	case surge == 0:
		return fmt.Sprintf("rolls %s, %d missing at a time, each drained first; no request is lost", count(n), max(missing, 1))
	default:
		return fmt.Sprintf("rolls %s, %d more at a time, each old one drained first; no request is lost", count(n), surge)
	}
}

// ports says which ports of s are silent while it is replaced.
func ports(s *Service) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(s.Ports)) {
		if n := s.Ports[name].Number; n != 0 {
			all = append(all, fmt.Sprint(n))
		} else {
			all = append(all, name)
		}
	}
	switch len(all) {
	case 0:
		return "it"
	case 1:
		return "its port " + all[0]
	default:
		return "its ports " + strings.Join(all, ", ")
	}
}

// Where returns file:line:column of key, or else of what it would stand in.
func (f *File) Where(key string) string {
	for at := key; ; at = above(at) {
		p, ok := f.at[at]
		switch {
		case ok && at != "":
			return fmt.Sprintf("%s:%d:%d", cmp.Or(f.name, "file"), p.line, p.column)
		case at == "":
			return f.name
		}
	}
}

// WhereIs returns file:line:column of what ref means: service/shop,
// frontend/web, secret/db-url.
func (f *File) WhereIs(ref backstay.Ref) string { return f.Where(ref.Kind() + "s." + ref.Name()) }
