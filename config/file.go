package config

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/l7"
	"github.com/backstay/backstay/supervise"
)

// Name returns what the file was called when it was read.
func (f *File) Name() string { return f.name }

// Text returns the file as it was read.
func (f *File) Text() []byte { return slices.Clone(f.text) }

// Digest returns eight characters that tell this text from others: the first
// bytes of its sha256. It goes into names and messages and proves nothing.
func (f *File) Digest() string { return Digest(f.text) }

// Digest returns what a file of this text is called by: the first 8 of its sha256.
func Digest(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:4])
}

// Warnings returns what is worth a look though the file is good, in the order of
// its lines.
func (f *File) Warnings() []Found { return slices.Clone(f.warnings) }

// ServiceNames returns the services in order.
func (f *File) ServiceNames() []string { return slices.Sorted(maps.Keys(f.Services)) }

// FrontendNames returns the frontends in order.
func (f *File) FrontendNames() []string { return slices.Sorted(maps.Keys(f.Frontends)) }

// Binds returns every address a frontend binds, in order and each once, as the
// file writes it.
func (f *File) Binds() []string {
	var all []string
	for _, fe := range f.Frontends {
		all = append(all, fe.Bind...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// ParsedBinds returns [File.Binds] with what each means.
func (f *File) ParsedBinds() map[string]l7.Bind {
	all := map[string]l7.Bind{}
	for _, text := range f.Binds() {
		if b, err := l7.ParseBind(text); err == nil { // validate has refused the others
			all[text] = b
		}
	}
	return all
}

// PortOf returns the name of the port of service that ref means: the one called
// so or with that number; an empty ref is the only one, else http.
func (f *File) PortOf(service string, ref backstay.PortRef) (name string, ok bool) {
	return supervise.PortOf(f.Services[service].Ports, ref)
}

// RoutesTo returns the frontends that lead to service, in order.
func (f *File) RoutesTo(service string) []string {
	var names []string
	for name, fe := range inOrder(f.Frontends) {
		if slices.ContainsFunc(fe.Routes, func(r l7.Route) bool { return r.To == service }) {
			names = append(names, name)
		}
	}
	return names
}

// FixedPorts reports whether service has a port that two instances cannot have
// at once.
func (f *File) FixedPorts(service string) bool {
	for _, p := range f.Services[service].Ports {
		if p.Number != 0 {
			return true
		}
	}
	return false
}
