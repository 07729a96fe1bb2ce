package config

import (
	"cmp"
	"encoding"
	"slices"
	"strconv"
	"strings"

	"github.com/backstay/backstay"
)

// What is suggested in place of a value that could not be read is put into the
// file as well: the rooms check it like any other, and what they say of it
// becomes the suggestion. See [check.better].

// guess notes that the value at w is what was suggested for it.
func (d *decoder) guess(w where) { d.guessed[w.key] = true }

// offer tells a mistake in n with text as what to try, if into takes that.
func (d *decoder) offer(w where, n *node, into encoding.TextUnmarshaler, code, text, try, format string, args ...any) {
	err := into.UnmarshalText([]byte(text))
	if err == nil {
		d.say(w, n, code, try, format, args...)
		d.guess(w)
		return
	}
	d.say(w, n, code, "", format, args...)
	if _, hint, ok := strings.Cut(err.Error(), "; "); ok {
		d.hinted(hint)
	}
}

// ofGuess returns the key of the guess that key belongs to: its own, or that of
// the list that one value was made into.
func (d *decoder) ofGuess(key string) (string, bool) {
	if list, one := strings.CutSuffix(key, "[0]"); one && d.guessed[list] {
		return list, true
	}
	return key, d.guessed[key]
}

// better replaces a suggestion that m is wrong with by that of m: what could not
// be read is told once, with a value that would do.
func (c *check) better(m backstay.Mistake) {
	key, guessed := c.d.ofGuess(m.Key)
	if !guessed {
		return
	}
	delete(c.d.guessed, key)
	for i := range c.d.found {
		f := &c.d.found[i]
		if f.Key != key || f.Try == "" {
			continue
		}
		was := f.Try
		if f.Try = m.Try; f.Try != "" && f.Code == "not_text" && number.MatchString(f.Try) {
			f.Try = strconv.Quote(f.Try)
		}
		if key != m.Key && f.Try != "" {
			f.Try = "[" + strconv.Quote(f.Try) + "]"
		}
		if f.hint = ""; f.Try == "" {
			f.hint = cmp.Or(knownText(strings.Trim(was, `"`), m.Known), codes[m.Code], "write what it takes; see the reference")
		}
	}
}

// knownText is known for words that are text: those that look like numbers are
// in quotes.
func knownText(name string, words []string) string {
	if !slices.ContainsFunc(words, number.MatchString) {
		return known(name, words)
	}
	var quoted []string
	for _, w := range words {
		quoted = append(quoted, strconv.Quote(w))
	}
	return known(strconv.Quote(name), quoted)
}
