package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// use is one expansion in a value of the file.
type use struct {
	where

	kind, name, raw string // port, http, ${port.http}
	at              *node
}

// expansions says which kinds may stand where, by pattern. Nowhere else does a
// value hold any.
var expansions = map[string][]string{
	"services.*.run.exec[]":              {"version", "port", "node"},
	"services.*.run.dir":                 {"version", "port", "node"},
	"services.*.run.env.*":               {"version", "port", "node", "secret"},
	"services.*.run.env_file[]":          {"version"}, // its bytes belong to the release, so no instance has its own
	"services.*.probes.startup.exec[]":   {"version", "port", "node"},
	"services.*.probes.readiness.exec[]": {"version", "port", "node"},
	"services.*.probes.liveness.exec[]":  {"version", "port", "node"},
	"secrets.*.file":                     {"env"},
	"secrets.*.command[]":                {"env"},
}

// The kinds of expansions: those that are built, and those of a later version.
var (
	kinds      = []string{"version", "port", "node", "secret", "env"}
	laterKinds = map[string]bool{"file": true, "release": true, "baseline": true, "labels": true, "node.address": true, "node.zone": true}
)

// part is a piece of a value: text, or an expansion as it is written.
type part struct {
	text       string
	kind, name string // of ${kind.name}; kind "" is text
}

// form is an expansion: a kind, and a name behind a dot.
var form = regexp.MustCompile(`^\$\{([A-Za-z_]+)(\.([A-Za-z0-9_.-]+))?\}`)

// split returns the parts of s, or an error about the first ${ that begins no
// expansion. $${ is the text ${.
func split(s string) ([]part, error) {
	var parts []part
	for s != "" {
		i := strings.Index(s, "${")
		if i < 0 {
			return append(parts, part{text: s}), nil
		}
		if i > 0 && s[i-1] == '$' {
			parts, s = append(parts, part{text: s[:i-1] + "${"}), s[i+2:]
			continue
		}
		m := form.FindStringSubmatch(s[i:])
		if m == nil {
			return nil, fmt.Errorf("%q begins no expansion", shorten(s[i:], 20))
		}
		if i > 0 {
			parts = append(parts, part{text: s[:i]})
		}
		parts, s = append(parts, part{text: m[0], kind: m[1], name: m[3]}), s[i+len(m[0]):]
	}
	return parts, nil
}

func shorten(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n]) + "…"
	}
	return s
}

// Expand replaces each ${kind.name} in s by what look returns for it, and $${
// by the text ${. What look returns is not looked at again. The kinds are
// version (without a name), port, node, secret and env.
func Expand(s string, look func(kind, name string) (string, error)) (string, error) {
	parts, err := split(s)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, p := range parts {
		text := p.text
		if p.kind != "" {
			if text, err = look(p.kind, p.name); err != nil {
				return "", fmt.Errorf("expand %s: %w", p.text, err)
			}
		}
		b.WriteString(text)
	}
	return b.String(), nil
}

// expandVersion replaces ${version} in s and leaves the rest as it is written.
func expandVersion(s, version string) string {
	parts, err := split(s)
	if err != nil {
		return s // validate has refused it
	}
	var b strings.Builder
	for _, p := range parts {
		switch p.kind {
		case "version":
			b.WriteString(version)
		case "":
			b.WriteString(strings.ReplaceAll(p.text, "${", "$${"))
		default:
			b.WriteString(p.text)
		}
	}
	return b.String()
}

// expandable returns the text of n for the value at w: as it is written where
// expansions may stand, for they are expanded later, and else with $${ as ${.
func (d *decoder) expandable(w where, n *node) string {
	parts, err := split(n.text)
	if err != nil {
		d.say(w, n, "bad_expansion", "", "%v", err)
		d.hinted("an expansion is ${port.http}; $${ is the text ${")
		return n.text
	}
	var text strings.Builder
	for _, p := range parts {
		text.WriteString(p.text)
		if p.kind != "" {
			d.expansion(use{where: w, kind: p.kind, name: p.name, raw: p.text, at: n})
		}
	}
	if _, ok := expansions[w.pattern]; ok {
		return n.text
	}
	return text.String()
}

// expansion refuses u where it may not stand, and else notes it for
// [check.expansions], which knows all names.
func (d *decoder) expansion(u use) {
	here := expansions[u.pattern]
	full := u.kind
	if u.kind == "node" {
		full += "." + u.name
	}
	switch {
	case laterKinds[full]:
		d.later(u.key, u.at.at, u.raw)
	case !slices.Contains(kinds, u.kind):
		d.say(u.where, u.at, "unknown_expansion", "", "%s is no expansion", u.raw)
		d.hinted(known(u.kind, kinds) + "; $" + u.raw + " is the text " + u.raw)
	case u.kind == "secret" && !slices.Contains(here, u.kind):
		d.say(u.where, u.at, "secret_in_the_open", "", "%s: others could read it here; a secret goes into run.env", u.raw)
	case u.kind == "env" && !slices.Contains(here, u.kind):
		d.say(u.where, u.at, "env_not_here", "", "%s: the agent's environment is read under secrets: only", u.raw)
	case !slices.Contains(here, u.kind):
		d.say(u.where, u.at, "expansion_not_here", "", "%s has no meaning here", u.raw)
		d.hinted("$" + u.raw + " is the text " + u.raw)
	case (u.name == "") != (u.kind == "version"):
		d.say(u.where, u.at, "bad_expansion", wellFormed[u.kind], "%s is no expansion", u.raw)
	default:
		d.uses = append(d.uses, u)
	}
}

var wellFormed = map[string]string{
	"version": "${version}", "port": "${port.http}", "node": "${node.name}", "secret": "${secret.NAME}", "env": "${env.NAME}",
}
