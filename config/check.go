package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/backstay/backstay"
)

// check looks at a file that has been read, as far as it could be.
type check struct {
	env      Env // nil: the host is not asked
	file     *File
	d        *decoder
	told     map[string]bool // keys something was wrong with when they were read
	later    map[string]bool // of these, keys of a later version
	said     map[string]bool // keys something is wrong with in any way
	warnings []mistake
	accounts map[string]account       // that were asked for
	held     map[backstay.Port]holder // fixed ports
}

func newCheck(env Env, f *File, d *decoder) *check {
	c := &check{
		env: env, file: f, d: d, told: map[string]bool{}, later: map[string]bool{}, said: map[string]bool{},
		accounts: map[string]account{},
	}
	for _, m := range d.found {
		c.told[m.Key] = true
		c.later[m.Key] = m.Code == "not_in_this_version"
	}
	for _, key := range d.meant {
		c.told[key] = true
	}
	return c
}

// all runs every check; each looks at what the ones before left readable.
func (c *check) all() {
	c.schema()
	c.rooms()
	c.secrets()
	c.expansions()
	c.dependencies()
	c.fixedPorts()
	c.routes()
	c.binds()
	if c.env != nil {
		c.host()
	}
}

func (c *check) schema() {
	_, there := c.d.at["schema"]
	switch {
	case !there:
		c.say("missing_key", "schema", "schema: 1", "is missing: the version of the language")
	case c.file.Schema != 1:
		c.say("bad_schema", "schema", "1", "%d is not a version of the language this program reads", c.file.Schema)
	}
}

// rooms asks each room about its own part.
func (c *check) rooms() {
	for name, s := range inOrder(c.file.Services) {
		key := "services." + name
		c.under(key, s.Check(name))
		c.under(key+".deploy", s.Deploy.Check())
		c.under(key+".traffic", s.Traffic.Check())
	}
	for name, f := range inOrder(c.file.Frontends) {
		c.under("frontends."+name, f.Check())
	}
}

// secrets refuses a secret from nowhere or from two places.
func (c *check) secrets() {
	for name, s := range inOrder(c.file.Secrets) {
		key := "secrets." + name
		have := s.sources()
		switch {
		case len(have) == 0:
			c.say("no_source", key, "", "comes from nowhere: one of file, env, credential, command is missing")
		case len(have) > 1:
			c.say("several_sources", key+"."+have[1], "", "comes from %s already", have[0])
		}
		var m backstay.Mistakes
		if s.File != "" && !strings.HasPrefix(s.File, "${") {
			m.Path("file", s.File)
		}
		if len(s.Command) > 0 {
			m.Argv("command", s.Command)
		}
		if strings.ContainsAny(s.Env, "=\x00") {
			m.Say("bad_variable", "env", "", "%q is not a variable", s.Env)
		}
		if strings.ContainsAny(s.Credential, "/\x00") {
			m.Say("bad_credential", "credential", "", "%q is not the name of a file in $CREDENTIALS_DIRECTORY", s.Credential)
		}
		c.under(key, m)
	}
}

// sources returns which keys of s are set.
func (s Secret) sources() []string {
	var have []string
	for i, set := range []bool{s.File != "", s.Env != "", s.Credential != "", len(s.Command) > 0} {
		if set {
			have = append(have, []string{"file", "env", "credential", "command"}[i])
		}
	}
	return have
}

// expansions looks the names up that values expand.
func (c *check) expansions() {
	for _, u := range c.d.uses {
		service := c.file.Services[owner(u.key)]
		switch u.kind {
		case "version":
			if _, there := c.d.at["services."+owner(u.key)+".version"]; !there {
				c.say("no_version", u.key, "", "%s: the service has no version:", u.raw)
			}
		case "port":
			if _, there := service.Ports[u.name]; !there {
				c.unknown("no_such_port", u.key, u.name, slices.Sorted(maps.Keys(service.Ports)), "%s: the service has no port %s", u.raw, u.name)
			}
		case "secret":
			if _, there := c.file.Secrets[u.name]; !there && !c.told["secrets."+u.name] {
				c.unknown("no_such_secret", u.key, u.name, slices.Sorted(maps.Keys(c.file.Secrets)), "%s: there is no secret %s", u.raw, u.name)
			}
		case "node":
			if u.name != "name" {
				c.unknown("unknown_expansion", u.key, u.name, []string{"name"}, "%s is no expansion", u.raw)
			}
		}
	}
}

// owner returns the name of the thing that key belongs to: services.shop.run is
// shop's.
func owner(key string) string {
	_, rest, _ := strings.Cut(key, ".")
	name, _, _ := strings.Cut(rest, ".")
	return name
}

// say notes a mistake at key.
func (c *check) say(code, key, try, format string, args ...any) {
	c.add(backstay.Mistake{Code: code, Key: key, Try: try, What: fmt.Sprintf(format, args...)}, "")
}

// hint notes a mistake at key with what stands behind its caret.
func (c *check) hint(code, key, hint, format string, args ...any) {
	n := len(c.d.found)
	c.say(code, key, "", format, args...)
	if len(c.d.found) > n {
		c.d.found[n].hint = hint
	}
}

// unknown notes a mistake at key about word, where only those of known may stand.
func (c *check) unknown(code, key, word string, known []string, format string, args ...any) {
	c.add(backstay.Mistake{Code: code, Key: key, What: fmt.Sprintf(format, args...), Known: known}, word)
}

// under notes what a room found in its part at key.
func (c *check) under(key string, found []backstay.Mistake) {
	var m backstay.Mistakes
	m.Under(key, found)
	for _, f := range m {
		c.add(f, "")
	}
}

// add gives m its place, unless it follows from a mistake that was told before.
// word is what was written in place of a known one, where it is not all of the
// value or key.
func (c *check) add(m backstay.Mistake, word string) {
	c.said[m.Key] = true
	if c.follows(m) {
		c.better(m)
		return
	}
	s, exact := c.find(m.Key)
	p, text := s.key, lastOf(m.Key)
	if exact && s.value != nil && !aboutKey[m.Code] && word != text {
		p, text = s.value.at, s.value.text
	}
	if word != "" {
		text = word
	}
	if m.Code == "unknown_word" && exact && language.takes(s.pattern, text) {
		c.d.later(m.Key, p, text)
		return
	}
	hint := ""
	switch {
	case m.Code == "not_absolute" && bareCommand.MatchString(text) && strings.HasSuffix(m.Key, "[0]"): // the first of a command
		hint = "write the path that command -v " + text + " shows"
	case m.Try == "" && exact && s.value != nil && s.value.kind == scalar && !s.value.plain:
		hint = knownText(text, m.Known)
	case m.Try == "":
		hint = known(text, m.Known)
	}
	c.d.found = append(c.d.found, mistake{Mistake: m, place: p, hint: hint})
}

// aboutKey are the mistakes that lie in a key and not in its value.
var aboutKey = map[string]bool{
	"bad_rlimit_name": true, "bad_variable": true, "reserved_variable": true, "bad_header_name": true, "header_twice": true,
	"useless_key": true, "no_action": true, "several_actions": true, "no_probe": true, "several_probes": true, "never_reached": true,
	"no_source": true, "several_sources": true, "name_too_long": true, "several_bodies": true,
	"waits_for_itself": true, "never_completes": true, "user_missing": true,
}

// absent are the mistakes of what is not there, perhaps because it could not be
// read.
var absent = map[string]bool{
	"missing_key": true, "no_action": true, "no_probe": true, "no_source": true, "port_needed": true, "no_port": true,
	"empty_list": true, "no_readiness": true, "user_missing": true, "no_version": true,
}

// follows reports whether m is what an earlier mistake leads to.
func (c *check) follows(m backstay.Mistake) bool {
	if _, guessed := c.d.ofGuess(m.Key); guessed || c.told[m.Key] || absent[m.Code] && c.instead(above(m.Key)) {
		return true
	}
	beside := relations[m.Code]
	for key := range c.told {
		inside := m.Key != "" && (strings.HasPrefix(key, m.Key+".") || strings.HasPrefix(key, m.Key+"["))
		if absent[m.Code] && inside || beside && above(key) == above(m.Key) {
			return true
		}
	}
	return false
}

// instead reports whether key holds a key of a later version that stands in the
// place of another: image of exec.
func (c *check) instead(key string) bool {
	for _, name := range []string{"image", "unit", "ocf", "lsb", "acme"} {
		if c.later[join(key, name)] {
			return true
		}
	}
	return false
}

// relations are the mistakes between values that stand beside each other: with
// one of them unread its default says nothing.
var relations = map[string]bool{
	"timeout_over_period": true, "deadline_too_short": true, "no_step": true,
}

// find returns where key stands, or else what it would stand in.
func (c *check) find(key string) (s spot, exact bool) {
	s, exact = c.d.at[key]
	for at, ok := key, exact; !ok && at != ""; {
		at = above(at)
		s, ok = c.d.at[at]
	}
	return s, exact
}

// lastOf returns the last name of key.
func lastOf(key string) string { return strings.TrimLeft(key[len(above(key)):], ".") }

// inOrder yields m by its keys in order.
func inOrder[V any](m map[string]V) func(yield func(string, V) bool) {
	return func(yield func(string, V) bool) {
		for _, k := range slices.Sorted(maps.Keys(m)) {
			if !yield(k, m[k]) {
				return
			}
		}
	}
}
