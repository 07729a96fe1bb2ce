package config

import (
	"maps"
	"slices"
	"strings"
)

// nearest returns the known word that looks most like name, or "" if all look
// different.
func nearest[V any](name string, known map[string]V) string {
	const most = 500 // words that are compared
	best, at := "", min(len(name)/2+1, 4)
	if len(known) > most {
		return ""
	}
	for _, k := range slices.Sorted(maps.Keys(known)) {
		if d := distance(name, k); d < at {
			best, at = k, d
		}
	}
	return best
}

// distance is how many letters must come, go or change to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// words returns the keys of known in order.
func words[V any](known map[string]V) string {
	return strings.Join(slices.Sorted(maps.Keys(known)), ", ")
}

// maxKnown is how many words are listed; more hide the one that is sought.
const maxKnown = 12

// known says which of words is meant by name, or what there is.
func known(name string, words []string) string {
	all := make(map[string]bool, len(words))
	for _, w := range words {
		all[w] = true
	}
	switch near := nearest(name, all); {
	case near != "":
		return "did you mean " + near + "?"
	case len(words) == 0 || len(words) > maxKnown:
		return ""
	default:
		return "known: " + strings.Join(words, ", ")
	}
}
