package config

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/backstay/backstay"
)

// decoder puts a tree into Go values and goes on after a mistake.
type decoder struct {
	at    map[string]spot // where each key stands: services.shop.stop.grace
	found []mistake
	meant []string // known keys that unknown ones look like
	uses  []use    // of expansions
	// guessed are keys whose values are what was suggested for them.
	guessed map[string]bool
}

// defaulter is what has values before the file is read into it.
type defaulter interface{ SetDefaults() }

// follower has defaults that follow from what the file says. It is called when a
// value has been read, with what tells which keys the file has.
type follower interface {
	Follow(said func(key string) bool)
}

func elem(v any) reflect.Value { return reflect.ValueOf(v).Elem() }

// read returns the tree of text, or nil after a mistake.
func (d *decoder) read(text []byte) *node {
	if w := readable(text); w != nil {
		d.stop(w, text)
		return nil
	}
	root, err := parse(normal(text))
	switch w := new(wrong); {
	case errors.As(err, &w):
		d.stop(w, text)
	case root == nil || root.kind == null:
		d.stop(&wrong{code: "empty_file", what: "the file is empty"}, text)
	case root.kind != mapping:
		d.stop(&wrong{place: root.at, code: "not_a_mapping", what: "the file is " + root.kind.String() + ", not a mapping", hint: "try schema: 1"}, text)
	default:
		return root
	}
	return nil
}

// stop notes the one mistake past which nothing can be known.
func (d *decoder) stop(w *wrong, text []byte) {
	if w.code == "syntax" && indentedByTab(text, w.line) {
		w.code, w.what = "tab", "a tab in the indentation"
	}
	d.found = append(d.found, mistake{Mistake: backstay.Mistake{Code: w.code, What: w.what}, place: w.place, hint: w.hint})
}

// say notes a mistake in n, which stands at w.
func (d *decoder) say(w where, n *node, code, try, format string, args ...any) {
	d.sayAt(w.key, n.at, code, try, format, args...)
}

func (d *decoder) sayAt(key string, p place, code, try, format string, args ...any) {
	m := backstay.Mistake{Code: code, Key: key, What: fmt.Sprintf(format, args...), Try: try}
	d.found = append(d.found, mistake{Mistake: m, place: p})
}

// hinted replaces the hint of the mistake that was noted last.
func (d *decoder) hinted(hint string) { d.found[len(d.found)-1].hint = hint }

// value puts n, which stands at w, into v.
func (d *decoder) value(w where, n *node, v reflect.Value) {
	if n.kind == null {
		d.say(w, n, "no_value", "", "has no value")
		d.hinted("write one, or leave the key out")
		return
	}
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
		fresh(v)
	}
	text, isText := reflect.TypeAssert[encoding.TextUnmarshaler](v.Addr())
	switch {
	case isText && (n.kind == scalar || v.Kind() != reflect.Struct || len(fields(v.Type())) == 0):
		d.text(w, n, v, text)
	case v.Kind() == reflect.Struct:
		d.structure(w, n, v)
	case v.Kind() == reflect.Map:
		d.table(w, n, v)
	case v.Kind() == reflect.Slice:
		d.list(w, n, v)
	default:
		d.scalar(w, n, v)
	}
}

// fresh fills in the defaults of a new value, and of the structs in one that has
// none of its own.
func fresh(v reflect.Value) {
	if s, ok := reflect.TypeAssert[defaulter](v.Addr()); ok {
		s.SetDefaults()
		return
	}
	if v.Kind() != reflect.Struct {
		return
	}
	for _, f := range reflect.VisibleFields(v.Type()) {
		if f.IsExported() && len(f.Index) == 1 {
			fresh(v.FieldByIndex(f.Index))
		}
	}
}

// structure reads a mapping whose keys are known.
func (d *decoder) structure(w where, n *node, v reflect.Value) {
	known := fields(v.Type())
	d.mapping(w, n, func(e entry) {
		index, ok := known[e.name]
		if !ok {
			d.unknown(w.field(e.name), e, known)
			return
		}
		d.at[w.field(e.name).key] = spot{e.at, e.value, w.field(e.name).pattern}
		d.value(w.field(e.name), e.value, v.FieldByIndex(index))
	})
	if f, ok := reflect.TypeAssert[follower](v.Addr()); ok {
		f.Follow(func(key string) bool { _, said := d.at[w.field(key).key]; return said })
	}
}

// table reads a mapping whose keys are names.
func (d *decoder) table(w where, n *node, v reflect.Value) {
	v.Set(reflect.MakeMap(v.Type()))
	d.mapping(w, n, func(e entry) {
		at := w.entry(e.name)
		d.at[at.key] = spot{e.at, e.value, at.pattern}
		d.label(w, at, e, n)
		item := reflect.New(v.Type().Elem()).Elem()
		fresh(item)
		d.value(at, e.value, item)
		v.SetMapIndex(reflect.ValueOf(e.name), item)
	})
}

// mapping calls each for every key of n that may be one.
func (d *decoder) mapping(w where, n *node, each func(entry)) {
	if n.kind != mapping {
		d.say(w, n, "not_a_mapping", "", "is %s, not a mapping", n.kind)
		return
	}
	seen := map[string]int{}
	for _, e := range n.keys {
		at := w.field(e.name)
		switch first, twice := seen[e.name]; {
		case e.name == "<<" && e.plain:
			d.sayAt(w.key, e.at, "merge_key", "", "merge keys are refused: two places would say one thing")
			d.hinted("write the keys, or an alias for a whole value")
		case twice:
			d.sayAt(at.key, e.at, "duplicate_key", "", "is here a second time; the first is line %d", first)
		case e.plain && yamlBoolean(e.name):
			d.sayAt(at.key, e.at, "boolean_key", "", "%s is a boolean in YAML 1.1, no key", e.name)
			d.hinted(`in quotes it is a name: "` + e.name + `"`)
		default:
			seen[e.name] = e.at.line
			each(e)
		}
	}
}

// unknown tells a key of the language that is not built from a mistyped one.
func (d *decoder) unknown(w where, e entry, known map[string][]int) {
	if language.has(w.pattern) {
		d.later(w.key, e.at, "")
		return
	}
	d.sayAt(w.key, e.at, "unknown_key", "", "unknown key")
	if near := nearestKey(e.name, known); near != "" {
		d.hinted("did you mean " + near + "?")
		d.meant = append(d.meant, join(above(w.key), near)) // what is missing there has been said
		return
	}
	d.hinted("known: " + words(known))
}

// labels are the mappings whose keys name things.
var labels = map[string]bool{"services": true, "frontends": true, "secrets": true, "services.*.ports": true}

// label refuses a name that fits into no path or DNS name.
func (d *decoder) label(w, at where, e entry, n *node) {
	if labels[w.pattern] && !backstay.ValidName(e.name) {
		d.meant = append(d.meant, w.entry(plainName(e.name)).key)
		d.sayAt(at.key, e.at, "bad_name", n.free(plainName(e.name)), "is not a name: up to 63 of a-z 0-9 -, no - at either end")
		return
	}
	if w.pattern == "services" && reserved(e.name) {
		d.sayAt(at.key, e.at, "reserved_name", n.free("my-"+e.name), "is kept for the processes of Backstay itself")
	}
}

// free returns name where it is a name and no key of n, else "".
func (n *node) free(name string) string {
	taken := slices.ContainsFunc(n.keys, func(e entry) bool { return e.name == name })
	if taken || !backstay.ValidName(name) || reserved(name) {
		return ""
	}
	return name
}

// reserved reports whether no service may be called name.
func reserved(name string) bool {
	return name == reservedName || strings.HasPrefix(name, reservedName+"-")
}

// reservedName begins the names of roles.
const reservedName = "backstay"

// plainName returns the name that s looks like, or "".
func plainName(s string) string {
	s = strings.Trim(strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return '-'
	}, s), "-")
	if !backstay.ValidName(s) {
		return ""
	}
	return s
}

// later says that what stands at key comes with a later version.
func (d *decoder) later(key string, p place, value string) {
	if value != "" {
		value += ": "
	}
	d.sayAt(key, p, "not_in_this_version", "", "%snot in this version", value)
}

func (d *decoder) list(w where, n *node, v reflect.Value) {
	if n.kind != list {
		d.noList(w, n, v)
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.items), len(n.items)))
	for i, item := range n.items {
		at := w.item(i)
		d.at[at.key] = spot{item.at, item, at.pattern}
		fresh(v.Index(i))
		d.value(at, item, v.Index(i))
	}
}

// noList says what to write instead of one value where a list belongs.
func (d *decoder) noList(w where, n *node, v reflect.Value) {
	switch {
	case n.kind == scalar && argv[w.last()]:
		words := strings.Fields(n.text)
		d.say(w, n, "shell_string", "["+quoteAll(words)+"]", "is a shell string; a command is its arguments, one by one")
		if len(words) > 0 && bareCommand.MatchString(words[0]) {
			name := words[0]
			words[0] = "/PATH/" + name
			d.hinted("try [" + quoteAll(words) + "], with the path that command -v " + name + " shows")
		}
	case n.kind == scalar:
		d.say(w, n, "not_a_list", "["+quoteAll([]string{n.text})+"]", "is one value, not a list")
		if v.Type() == reflect.TypeFor[[]string]() {
			v.Set(reflect.ValueOf([]string{n.text}))
			d.guess(w)
		}
	default:
		d.say(w, n, "not_a_list", "", "is %s, not a list", n.kind)
		d.hinted("write [ ] around it")
	}
}

// bareCommand is a command that a shell would look for.
var bareCommand = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.+-]*$`)

// argv are the keys whose lists are commands.
var argv = map[string]bool{"exec": true, "command": true}

// fields returns the index of each field of t by its key in the file.
func fields(t reflect.Type) map[string][]int {
	all := map[string][]int{}
	for _, f := range reflect.VisibleFields(t) {
		if name := f.Tag.Get("yaml"); name != "" {
			all[name] = f.Index
		}
	}
	return all
}

// readable refuses what is no text of a fair size.
func readable(text []byte) *wrong {
	if len(text) > maxFile {
		return &wrong{code: "too_large", what: fmt.Sprintf("the file is larger than %s", backstay.Size(maxFile))}
	}
	line, column := 1, 1
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRune(text[i:])
		switch {
		case r == utf8.RuneError && n == 1:
			return &wrong{place: place{line, column}, code: "not_utf8", what: fmt.Sprintf("byte 0x%02x is not UTF-8", text[i])}
		case !printable(r) && (r != bom || i > 0), r == '\r' && !bytes.HasPrefix(text[i:], []byte("\r\n")):
			return &wrong{place: place{line, column}, code: "control_character", what: fmt.Sprintf("the character U+%04X does not show", r)}
		}
		i, column = i+n, column+1
		if r == '\n' {
			line, column = line+1, 1
		}
	}
	return nil
}

// bom may begin a file, as some editors want it.
const bom = '\ufeff'

// printable reports whether r may stand in a file: what YAML calls printable,
// without the marks that make text look other than it is.
func printable(r rune) bool {
	switch {
	case r == '\t' || r == '\n' || r == '\r':
		return true
	case r < ' ' || r >= 0x7f && r < 0xa0 || r == bom || r == '\u2028' || r == '\u2029':
		return false
	}
	return (r < '\u202a' || r > '\u202e') && (r < '\u2066' || r > '\u2069') // direction of writing
}

// normal returns text with one sort of line end and no byte order mark.
func normal(text []byte) string {
	return strings.ReplaceAll(strings.TrimPrefix(string(text), string(bom)), "\r\n", "\n")
}

// indentedByTab reports whether line begins with white space that has a tab.
func indentedByTab(text []byte, line int) bool {
	lines := strings.Split(string(text), "\n")
	if line < 1 || line > len(lines) {
		return false
	}
	s := lines[line-1]
	return strings.Contains(s[:len(s)-len(strings.TrimLeft(s, " \t"))], "\t")
}
