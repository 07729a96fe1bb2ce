package config

import (
	"maps"
	"slices"
	"strings"

	"github.com/backstay/backstay/internal/nearest"
)

// mostKnown bounds the words that are compared.
const mostKnown = 500

// nearestKey returns the key of known that looks most like name, or "" if all
// look different.
func nearestKey[V any](name string, known map[string]V) string {
	if len(known) > mostKnown {
		return ""
	}
	return nearest.Of(name, slices.Collect(maps.Keys(known)))
}

// words returns the keys of known in order.
func words[V any](known map[string]V) string {
	return strings.Join(slices.Sorted(maps.Keys(known)), ", ")
}

// maxKnown is how many words are listed; more hide the one that is sought.
const maxKnown = 12

// known says which of words is meant by name, or what there is.
func known(name string, words []string) string {
	switch near := nearest.Of(name, words); {
	case near != "":
		return "did you mean " + near + "?"
	case len(words) == 0 || len(words) > maxKnown:
		return ""
	default:
		return "known: " + strings.Join(words, ", ")
	}
}
