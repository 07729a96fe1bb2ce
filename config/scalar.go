package config

import (
	"encoding"
	"net/netip"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/supervise"
)

// number is what YAML takes for a number, in any of its versions.
var number = regexp.MustCompile(`^[-+]?(0x[0-9a-fA-F_]+|0o[0-7_]+|0b[01_]+|[0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?|\.[0-9]+|\.inf|\.Inf|\.INF|\.nan|\.NaN|\.NAN)$`)

// decimal is a number as one writes a quantity.
var decimal = regexp.MustCompile(`^[0-9]+(\.[0-9]+)?$`)

// yamlBoolean reports whether s is a boolean to some YAML, but not to ours.
func yamlBoolean(s string) bool {
	switch strings.ToLower(s) {
	case "on", "off", "yes", "no", "y", "n":
		return true
	case "true", "false":
		return s != "true" && s != "false"
	}
	return false
}

// scalarKind is how a type that reads text is spoken of.
type scalarKind struct {
	code string
	unit string // behind a number without one
}

var scalarKinds = map[reflect.Type]scalarKind{
	reflect.TypeFor[backstay.Duration]():  {code: "bad_duration", unit: "s"},
	reflect.TypeFor[backstay.Size]():      {code: "bad_size", unit: "MiB"},
	reflect.TypeFor[backstay.Percent]():   {code: "bad_percent", unit: "%"},
	reflect.TypeFor[backstay.Budget]():    {code: "bad_budget", unit: "/10m"},
	reflect.TypeFor[backstay.Range]():     {code: "bad_range", unit: "ms..30s"},
	reflect.TypeFor[backstay.Count]():     {code: "bad_count"},
	reflect.TypeFor[backstay.PortRef]():   {code: "bad_port"},
	reflect.TypeFor[backstay.Expect]():    {code: "bad_status"},
	reflect.TypeFor[backstay.Statuses]():  {code: "bad_status"},
	reflect.TypeFor[supervise.PortWish](): {code: "bad_port"},
	reflect.TypeFor[supervise.Octal]():    {code: "bad_umask"},
	reflect.TypeFor[supervise.Rlimit]():   {code: "bad_rlimit"},
	reflect.TypeFor[netip.Prefix]():       {code: "bad_network"},
}

// text reads a value that has its own form.
func (d *decoder) text(w where, n *node, v reflect.Value, into encoding.TextUnmarshaler) {
	kind, known := scalarKinds[v.Type()]
	if !known {
		kind.code = "bad_value"
	}
	switch err := error(nil); {
	case n.kind != scalar:
		d.say(w, n, "not_one_value", "", "is %s, not one value", n.kind)
	case n.plain && yamlBoolean(n.text):
		d.boolean(w, n)
	case kind.unit != "" && decimal.MatchString(n.text):
		d.offer(w, n, into, "no_unit", n.text+kind.unit, n.text+kind.unit, "%s has no unit", n.text)
	case n.plain && kind.code == "bad_umask" && number.MatchString(n.text):
		d.offer(w, n, into, "octal_without_quotes", octal(n.text), strconv.Quote(octal(n.text)), "%s is a decimal number to some and an octal one to others", n.text)
	case kind.code == "bad_network" && !strings.Contains(n.text, "/"):
		d.noPrefix(w, n, into)
	default:
		if err = into.UnmarshalText([]byte(n.text)); err != nil {
			what, hint, _ := strings.Cut(err.Error(), "; ")
			d.say(w, n, kind.code, "", "%s", plainWords(kind.code, n.text, what))
			d.hinted(hint)
		}
	}
}

// plainWords replaces what the standard library says of a network.
func plainWords(code, text, what string) string {
	if code == "bad_network" {
		return strconv.Quote(text) + " is not a network"
	}
	return what
}

// octal returns text with the three digits of a umask.
func octal(text string) string {
	text = strings.TrimPrefix(text, "0o")
	return strings.Repeat("0", max(3-len(text), 0)) + text
}

func (d *decoder) noPrefix(w where, n *node, into encoding.TextUnmarshaler) {
	a, err := netip.ParseAddr(n.text)
	if err != nil {
		d.say(w, n, "bad_network", "10.0.0.0/8", "%q is not a network", n.text)
		return
	}
	all := netip.PrefixFrom(a, a.BitLen()).String()
	d.offer(w, n, into, "no_prefix_length", all, all, "%q has no prefix length", n.text)
}

// scalar reads a string, a number or a boolean.
func (d *decoder) scalar(w where, n *node, v reflect.Value) {
	switch {
	case n.kind != scalar:
		d.say(w, n, "not_one_value", "", "is %s, not %s", n.kind, wanted(v))
	case v.Kind() == reflect.String:
		d.string(w, n, v)
	case v.Kind() == reflect.Bool:
		d.bool(w, n, v)
	case v.CanInt():
		d.int(w, n, v)
	default:
		panic("config: no way to read " + v.Type().String() + " at " + w.pattern)
	}
}

// wanted says in words what v holds.
func wanted(v reflect.Value) string {
	switch {
	case v.CanInt():
		return "a whole number"
	case v.Kind() == reflect.Bool:
		return "true or false"
	default:
		return "text"
	}
}

// string takes text only: what another program would read as a number or a
// boolean must be in quotes.
func (d *decoder) string(w where, n *node, v reflect.Value) {
	switch {
	case n.plain && yamlBoolean(n.text):
		d.boolean(w, n)
	case n.plain && (n.text == "true" || n.text == "false"):
		d.say(w, n, "not_text", strconv.Quote(n.text), "%s is a boolean, not text", n.text)
		v.SetString(n.text)
		d.guess(w)
	case n.plain && number.MatchString(n.text) && !numbersToo[w.pattern]:
		d.say(w, n, "not_text", strconv.Quote(n.text), "%s is a number, not text", n.text)
		v.SetString(n.text)
		d.guess(w)
	case n.text == "" && !emptyToo[w.last()]:
		d.say(w, n, "empty_value", "", "is empty")
	default:
		v.SetString(d.expandable(w, n))
	}
}

// numbersToo are lists of words and numbers, or of what looks like one when it is
// mistyped.
var numbersToo = map[string]bool{"frontends.*.routes[].retry.if[]": true, "frontends.*.bind[]": true}

// emptyToo are keys whose values may be empty text: arguments, variables,
// headers, pages.
var emptyToo = map[string]bool{"exec": true, "command": true, "*": true, "body": true}

func (d *decoder) boolean(w where, n *node) {
	d.say(w, n, "yaml_boolean", "", "%s is a boolean in YAML 1.1 only", n.text)
	d.hinted(`write true or false, or "` + n.text + `" for the word`)
}

func (d *decoder) bool(w where, n *node, v reflect.Value) {
	switch {
	case n.plain && (n.text == "true" || n.text == "false"):
		v.SetBool(n.text == "true")
		if n.text == "false" && onlyTrue[w.last()] {
			d.say(w, n, "only_true", "", "is true or not there")
			d.hinted("leave the key out")
		}
	case n.plain && yamlBoolean(n.text):
		d.boolean(w, n)
	default:
		d.say(w, n, "not_a_boolean", "", "%q is not true or false", n.text)
	}
}

// onlyTrue are the questions of a probe that have nothing more to say.
var onlyTrue = map[string]bool{"tcp": true, "redis": true, "postgres": true}

func (d *decoder) int(w where, n *node, v reflect.Value) {
	i, err := strconv.ParseInt(n.text, 10, 64)
	switch {
	case err != nil && language.takes(w.pattern, n.text):
		d.later(w.key, n.at, n.text)
	case !n.plain && err == nil && n.text == strconv.FormatInt(i, 10) && !v.OverflowInt(i):
		d.say(w, n, "not_a_number", n.text, "%q is text, not a number", n.text)
		v.SetInt(i)
		d.guess(w)
	case err != nil || strings.HasPrefix(n.text, "+") || n.text != strconv.FormatInt(i, 10):
		d.say(w, n, "not_a_number", "", "%q is not a whole number", n.text)
	case v.OverflowInt(i):
		d.say(w, n, "out_of_range", "", "%s is out of any range", n.text)
	default:
		v.SetInt(i)
	}
}

// quoteAll returns all as YAML writes them in a list.
func quoteAll(all []string) string {
	var quoted []string
	for _, s := range all {
		quoted = append(quoted, strconv.Quote(s))
	}
	return strings.Join(quoted, ", ")
}
