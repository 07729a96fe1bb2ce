package api

import (
	"errors"
	"slices"
	"strings"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/internal/nearest"
)

// Kinds are what a proof can be about.
var Kinds = []string{"service", "instance", "frontend", "deploy", "release", "role", "config"}

// Resolve returns what text points at: kind/name, service/NAME/ID as events have
// it, or a bare name, which may be the beginning of an instance's.
func Resolve(st Status, text string) (backstay.Ref, error) {
	if name, ok := strings.CutPrefix(text, "backstay/"); ok { // the service that roles log under
		text = "role/" + name
	}
	if !strings.Contains(text, "/") {
		return resolveBare(st, text)
	}
	if name, ok := strings.CutPrefix(text, "instance/"); ok && isBeginning(name) {
		return resolveInstance(st, name)
	}
	ref, err := CheckRef(text)
	if err != nil {
		return "", err
	}
	if !slices.Contains(Kinds, ref.Kind()) {
		do := "use one of " + strings.Join(Kinds, ", ")
		if near := nearest.Of(ref.Kind(), Kinds); near != "" {
			do = "did you mean " + near + "/" + ref.Name() + "?"
		}
		return "", &backstay.Problem{Code: "bad_ref", What: "there is no kind " + quote(ref.Kind()), Where: "ref " + short(text), Do: do}
	}
	if _, id, below := strings.Cut(ref.Name(), "/"); below {
		ref = backstay.NewRef("instance", id)
	}
	if ref.Kind() == "instance" {
		return resolveInstance(st, ref.Name())
	}
	if ref.Kind() != "release" && !slices.Contains(st.Names(ref.Kind()), ref.Name()) {
		return "", missing(st, text)
	}
	return ref, nil
}

// resolveInstance finds an instance by its name or the beginning of it.
func resolveInstance(st Status, name string) (backstay.Ref, error) {
	var found []string
	for _, id := range st.Names("instance") {
		if id == name {
			return backstay.NewRef("instance", id), nil
		}
		if strings.HasPrefix(id, name) {
			found = append(found, id)
		}
	}
	switch len(found) {
	case 0:
		return "", missing(st, "instance/"+name)
	case 1:
		return backstay.NewRef("instance", found[0]), nil
	default:
		return "", ambiguous(name, found)
	}
}

func resolveBare(st Status, name string) (backstay.Ref, error) {
	if strings.Contains(name, "@") {
		return CheckRef("release/" + name)
	}
	var found []string
	for _, kind := range []string{"service", "instance", "frontend", "role"} {
		if slices.Contains(st.Names(kind), name) {
			found = append(found, kind+"/"+name)
		}
	}
	switch {
	case len(found) == 1:
		return backstay.Ref(found[0]), nil
	case len(found) > 1:
		return "", ambiguous(name, found)
	case !isBeginning(name):
		return CheckRef(name)
	}
	ref, err := resolveInstance(st, name)
	if p, ok := errors.AsType[*backstay.Problem](err); ok && p.Code == "not_found" {
		return "", missing(st, name)
	}
	return ref, err
}

// isBeginning reports whether s can be the name of an instance, or the beginning
// of one: shop-.
func isBeginning(s string) bool { return backstay.ValidName(strings.TrimRight(s, "-")) }

func ambiguous(name string, found []string) error {
	return &backstay.Problem{
		Code: "ambiguous", What: quote(name) + " may mean " + few(found, " or "), Where: short(name),
		Do: "write one of them in full",
	}
}

// missing says that there is no text, and what looks like it.
func missing(st Status, text string) error {
	var known []string
	kind, name, has := strings.Cut(text, "/")
	if !has {
		kind, name = "", text
	}
	for _, k := range Kinds {
		if k == kind || kind == "" && k != "deploy" {
			known = append(known, st.Names(k)...)
		}
	}
	p := &backstay.Problem{Code: "not_found", What: "there is no " + short(text), Where: short(text), Do: "backstay status lists what there is"}
	if near := nearest.Of(name, known); near != "" {
		p.Do = "did you mean " + strings.TrimPrefix(kind+"/", "/") + near + "? " + p.Do
	}
	return p
}

// Names returns the names of all that there is of a kind; of releases none, for
// they are not in the status.
func (st Status) Names(kind string) []string {
	var all []string
	if kind == "config" {
		return []string{"file"} // as events call it
	}
	for _, s := range st.Services {
		switch kind {
		case "service":
			all = append(all, s.Name)
		case "deploy":
			if s.Deploy != nil {
				all = append(all, s.Name)
			}
		case "instance":
			for _, i := range s.Instances {
				all = append(all, i.ID)
			}
		}
	}
	for _, f := range st.Frontends {
		if kind == "frontend" {
			all = append(all, f.Name)
		}
	}
	for _, r := range st.Roles {
		if kind == "role" {
			all = append(all, r.Name)
		}
	}
	return all
}

// serviceOf returns the service that a proof of ref is about; empty if none.
func (st Status) serviceOf(ref backstay.Ref) string {
	switch ref.Kind() {
	case "service", "deploy":
		return ref.Name()
	case "instance":
		s, _, _ := st.find(ref.Name())
		return s.Name
	default:
		return ""
	}
}

// releaseOf returns the service that a release is of.
func releaseOf(ref backstay.Ref) (service string, ok bool) {
	service, _, ok = strings.Cut(ref.Name(), "@")
	return service, ok && ref.Kind() == "release"
}
