package config

import (
	_ "embed" // the language
	"slices"
	"strings"
)

// languageText is every key of the language, built or not, one a line, and
// behind it the words that are its values.
//
//go:embed language.txt
var languageText string

// language is what a later version reads.
var language = readLanguage(languageText)

// keys are patterns of keys with the words that may stand there.
type keys map[string][]string

func readLanguage(text string) keys {
	all := keys{}
	for line := range strings.Lines(text) {
		pattern, values, _ := strings.Cut(strings.TrimSpace(line), ": ")
		all[pattern] = strings.Fields(values)
	}
	return all
}

// has reports whether pattern is a key of the language.
func (k keys) has(pattern string) bool { _, ok := k[pattern]; return ok }

// takes reports whether word is a value of the language at pattern.
func (k keys) takes(pattern, word string) bool { return slices.Contains(k[pattern], word) }
