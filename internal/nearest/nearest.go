// Package nearest finds what somebody meant: the known word that looks most like
// the one that was written.
package nearest

import "slices"

// maxDistance is how many letters may differ: past it a guess misleads.
const maxDistance = 3

// Of returns the word of known that looks most like name, or "" if all look too
// different. Of equals it is the first in alphabetical order.
func Of(name string, known []string) string {
	best, at := "", min(len(name)/2, maxDistance)+1
	for _, k := range slices.Sorted(slices.Values(known)) {
		if d := distance(name, k); d < at {
			best, at = k, d
		}
	}
	return best
}

// maxWord bounds what is compared, in bytes: whoever writes a longer word is not
// mistaken by a few letters.
const maxWord = 128

// distance is how many letters must come, go or change to make b of a.
func distance(a, b string) int {
	if len(a) > maxWord || len(b) > maxWord {
		return maxWord
	}
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
