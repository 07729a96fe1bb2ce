package config_test

import (
	"errors"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/backstay/backstay/config"
)

// TestWhatIsSuggestedDoes puts in what each message says to try: the same mistake
// is not made again, nor another one there.
func TestWhatIsSuggestedDoes(t *testing.T) {
	put := 0
	for _, name := range corpus(t, "*.bad.yaml", 60) {
		text := read(t, name)
		for _, f := range mistakes(t, name, text).Found {
			try, ok := strings.CutPrefix(f.Hint, "try ")
			meant, near := strings.CutPrefix(f.Hint, "did you mean ")
			if !ok && !near || strings.Contains(try, "/PATH/") { // whoever reads it knows which path
				continue
			}
			if near {
				try, _, _ = strings.Cut(meant, "?")
			}
			put++
			tried := with(string(text), f, try)
			_, err := config.ParseIn(envOf(text), name, []byte(tried))
			if e, ok := errors.AsType[*config.Error](err); ok && repeats(e, f) {
				t.Errorf("%s: %s: %s, and then:\n%v\n%s", filepath.Base(name), f.Key, f.Hint, e, tried)
			}
		}
	}
	if put < 60 {
		t.Errorf("%d suggestions", put)
	}
}

// repeats reports whether e has the mistake f, or another one at the same key, or
// no more than that the file cannot be read.
func repeats(e *config.Error, f config.Found) bool {
	for _, g := range e.Found {
		other := g.Code != f.Code && (f.Key == "" || !strings.HasPrefix(f.Hint, "try ") && g.Code != "not_text") // of a word that is meant
		if g.Key == f.Key && !other || g.Code == "syntax" || g.Code == "duplicate_key" {
			return true
		}
	}
	return false
}

var (
	keyAt   = regexp.MustCompile(`^("[^"]*"|[^\s"{}\[\],:]+):(\s|$)`)
	valueAt = regexp.MustCompile(`^("(\\.|[^"])*"|'[^']*'|\[[^\]]*\]|\{[^}]*\}|[^,}\]#]*[^,}\]# ])`)
	lastKey = regexp.MustCompile(`[^.\[\]]+(\[\d+\])?$`)
	keysOf  = map[string]bool{"bad_name": true, "reserved_name": true, "bad_header_name": true}
)

// with returns text with try put in where f is.
func with(text string, f config.Found, try string) string {
	lines := strings.Split(text, "\n")
	if f.Code == "not_a_mapping" && f.Key == "" {
		return try + "\n"
	}
	if f.Line == 0 || f.Key == "schema" && !strings.HasPrefix(lines[f.Line-1], "schema") || f.Key == "" && strings.HasPrefix(try, "schema") {
		return try + "\n" + text
	}
	line := []rune(lines[f.Line-1])
	before, rest := string(line[:f.Column-1]), string(line[f.Column-1:])
	key := keyAt.FindStringSubmatch(rest)
	name, _, _ := strings.Cut(lastKey.FindString(f.Key), "[")
	pair := regexp.MustCompile(`^[a-z_]+: `).MatchString(try)
	switch {
	case strings.HasPrefix(try, "${"):
		rest = valueAt.ReplaceAllLiteralString(rest, `"`+try+`"`)
	case key != nil && (keysOf[f.Code] || strings.HasPrefix(f.Hint, "did you mean ")):
		rest = try + strings.TrimPrefix(rest, key[1])
	case pair:
		rest = child(lines, f.Line, key, rest, try)
	case key != nil && strings.Trim(key[1], `"`) != name:
		rest = child(lines, f.Line, key, rest, name+": "+try)
	case key != nil:
		rest = key[1] + ": " + valueAt.ReplaceAllLiteralString(strings.TrimLeft(strings.TrimPrefix(rest, key[1]+":"), " "), try)
	default:
		rest = valueAt.ReplaceAllLiteralString(rest, try)
	}
	lines[f.Line-1] = before + rest
	return strings.Join(lines, "\n")
}

// child returns rest, at the line of number n, with pair in the mapping that is
// there.
func child(lines []string, n int, key []string, rest, pair string) string {
	if i := strings.Index(rest, "{"); i >= 0 && (key == nil || strings.HasPrefix(strings.TrimLeft(rest[len(key[1])+1:], " "), "{")) {
		return rest[:i+1] + " " + pair + ", " + rest[i+1:]
	}
	next := lines[min(n, len(lines)-1)]
	return rest + "\n" + next[:len(next)-len(strings.TrimLeft(next, " "))] + pair
}
