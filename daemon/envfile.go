package daemon

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
)

// variable is the name of an environment variable, as POSIX has it.
var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// parseEnvFile reads lines NAME=VALUE as systemd's EnvironmentFile does: empty
// lines and those that begin with # or ; are passed over, and quotes around a
// whole value are taken off. Nothing is expanded.
func parseEnvFile(text []byte) (map[string]string, error) {
	vars := map[string]string{}
	n := 0
	for line := range bytes.Lines(text) {
		n++
		s := strings.TrimSpace(string(line))
		if s == "" || s[0] == '#' || s[0] == ';' {
			continue
		}
		name, value, ok := strings.Cut(s, "=")
		name = strings.TrimSpace(strings.TrimPrefix(name, "export "))
		if !ok || !variable.MatchString(name) || strings.ContainsRune(value, 0) {
			return nil, fmt.Errorf("line %d is not NAME=VALUE", n)
		}
		vars[name] = unquote(strings.TrimSpace(value))
	}
	return vars, nil
}

func unquote(v string) string {
	if len(v) >= 2 && (v[0] == '"' || v[0] == '\'') && v[len(v)-1] == v[0] {
		return v[1 : len(v)-1]
	}
	return v
}
