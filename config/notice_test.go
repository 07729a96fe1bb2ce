package config

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/backstay/backstay/l7"
)

// A notice about a key that there is not says nothing to anybody, and neither
// does one behind a shorter key that takes its place.
func TestNoticesAreOfKeysThatThereAre(t *testing.T) {
	for what, c := range map[string]struct {
		notices notices
		of      reflect.Type
	}{"service": {onService, reflect.TypeFor[Service]()}, "frontend": {onFrontend, reflect.TypeFor[l7.Frontend]()}} {
		var before []string
		for _, n := range c.notices {
			if !has(c.of, strings.Split(strings.TrimSuffix(n.key, "."), ".")) {
				t.Errorf("%s: there is no key %s", what, n.key)
			}
			if slices.ContainsFunc(before, func(b string) bool { return strings.HasPrefix(n.key, b) }) {
				t.Errorf("%s: %s is never reached", what, n.key)
			}
			before = append(before, n.key)
		}
	}
}

func has(in reflect.Type, path []string) bool {
	for in.Kind() == reflect.Pointer || in.Kind() == reflect.Slice {
		in = in.Elem()
	}
	for _, m := range members(in) {
		if m.name == path[0] {
			return len(path) == 1 || has(in.FieldByIndex(m.index).Type, path[1:])
		}
	}
	return false
}
