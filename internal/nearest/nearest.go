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

// distance is how many letters must come, go, change or swap with the next one to
// make b of a.
func distance(a, b string) int {
	if len(a) > maxWord || len(b) > maxWord {
		return maxWord
	}
	before, last := make([]int, len(b)+1), make([]int, len(b)+1) // rows for i-1 and i letters of a
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			change := last[j]
			if a[i] != b[j] {
				change++
			}
			row[j+1] = min(change, row[j]+1, last[j+1]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
