package config

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/backstay/backstay"
)

// Found is one mistake with its place in the file.
type Found struct {
	backstay.Mistake

	Line, Column int    // from 1, in characters; 0 is nowhere in particular
	Source       string // the line as it stands in the file
	Hint         string // a value that would do, the nearest key, what is known
}

// Error is every mistake in a file, in the order of its lines.
type Error struct {
	File  string
	Found []Found // at most the first 500
	More  int     // that are not among them
}

// maxFound is how many mistakes are told. Who has made more has given a file
// that is something else.
const maxFound = 500

// maxSource is how much of a long line is shown, in characters.
const maxSource = 200

func newError(name string, text []byte, found []mistake) *Error {
	slices.SortStableFunc(found, func(a, b mistake) int {
		return cmp.Or(cmp.Compare(a.line, b.line), cmp.Compare(a.column, b.column))
	})
	lines := strings.Split(normal(text), "\n")
	e := &Error{File: name, More: max(len(found)-maxFound, 0)}
	for _, m := range found[:min(len(found), maxFound)] {
		f := Found{Mistake: m.Mistake, Line: m.line, Column: m.column, Hint: m.hint}
		if f.Hint == "" && m.Try != "" {
			f.Hint = "try " + m.Try
		}
		f.Hint = cmp.Or(f.Hint, codes[m.Code], warnings[m.Code])
		if m.line > 0 && m.line <= len(lines) {
			f.Source = strings.ToValidUTF8(lines[m.line-1], "\ufffd")
		}
		e.Found = append(e.Found, f)
	}
	return e
}

// Error returns all mistakes, each with its line and a caret under its place.
func (e *Error) Error() string {
	var b strings.Builder
	for _, f := range e.Found {
		b.WriteString(e.where(f) + ": " + clean(f.words()) + "\n")
		b.WriteString(f.caret())
	}
	if e.More > 0 {
		fmt.Fprintf(&b, "%s: and %d more\n", e.File, e.More)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// where returns file:line:column.
func (e *Error) where(f Found) string {
	if f.Line == 0 {
		return e.File
	}
	return fmt.Sprintf("%s:%d:%d", e.File, f.Line, f.Column)
}

// words returns the key and what is wrong there.
func (f Found) words() string {
	if f.Key == "" {
		return f.What
	}
	return f.Key + ": " + f.What
}

// caret returns the line with a mark under the place, and the hint behind it. A
// long line is cut around the place.
func (f Found) caret() string {
	if f.Line == 0 {
		if f.Hint == "" {
			return ""
		}
		return "      | " + clean(f.Hint) + "\n"
	}
	line, column := []rune(strings.ReplaceAll(f.Source, "\t", " ")), f.Column
	if from := column - maxSource/2; len(line) > maxSource && from > 0 {
		line, column = line[min(from, len(line)):], column-from
	}
	line = line[:min(len(line), maxSource)]
	mark := strings.Repeat(" ", max(column-1, 0)) + "^ " + clean(f.Hint)
	return fmt.Sprintf("%5d | %s\n      | %s\n", f.Line, clean(string(line)), strings.TrimRight(mark, " "))
}

// clean replaces what would drive a terminal.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if !printable(r) || r == '\r' || r == '\n' || r == '\t' {
			return '\ufffd'
		}
		return r
	}, s)
}

// Problems returns each mistake for whoever asked.
func (e *Error) Problems() []backstay.Problem {
	var all []backstay.Problem
	for _, f := range e.Found {
		all = append(all, backstay.Problem{Code: f.Code, What: clean(f.words()), Where: e.where(f), Why: clean(shorten(strings.TrimSpace(f.Source), maxSource)), Do: clean(f.Hint)})
	}
	return all
}

// MarshalJSON returns [Error.Problems] as JSON.
func (e *Error) MarshalJSON() ([]byte, error) {
	out, err := json.Marshal(e.Problems())
	if err != nil {
		return nil, fmt.Errorf("marshal mistakes: %w", err)
	}
	return out, nil
}
