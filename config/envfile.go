package config

import (
	"fmt"
	"regexp"
	"strings"
)

// variable is NAME=value, as a line of an env_file.
var variable = regexp.MustCompile(`^(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)$`)

// ParseEnvFile returns the variables of an env_file: a line each, NAME=value,
// with nothing expanded. Quotes around all of a value are taken off. Blank lines
// and those that begin with # say nothing; of a name twice the last counts.
func ParseEnvFile(text []byte) (map[string]string, error) {
	vars, n := map[string]string{}, 0
	for line := range strings.Lines(string(text)) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		m := variable.FindStringSubmatch(line)
		if m == nil || strings.ContainsRune(m[2], 0) {
			return nil, fmt.Errorf("line %d is not NAME=value", n) // its text may be a secret
		}
		vars[m[1]] = unquote(m[2])
	}
	return vars, nil
}

func unquote(s string) string {
	if n := len(s); n >= 2 && (s[0] == '"' || s[0] == '\'') && s[n-1] == s[0] {
		return s[1 : n-1]
	}
	return s
}
