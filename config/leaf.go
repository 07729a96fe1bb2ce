package config

import (
	"cmp"
	"encoding"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// member is one key of a struct that the file knows.
type member struct {
	name, change string
	index        []int
}

// members returns the keys of t in the order they are declared in.
func members(t reflect.Type) []member {
	var all []member
	for _, f := range reflect.VisibleFields(t) {
		if name := f.Tag.Get("yaml"); name != "" {
			all = append(all, member{name, f.Tag.Get("change"), f.Index})
		}
	}
	return all
}

// isStruct reports whether v is written as a mapping of known keys.
func isStruct(v reflect.Type) bool { return v.Kind() == reflect.Struct && len(members(v)) > 0 }

// text returns v as the file could write it on one line; structs without the
// keys that say what the default says. Nothing is the empty text.
func text(v reflect.Value) string {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return ""
		}
		return text(v.Elem())
	}
	if m, ok := reflect.TypeAssert[encoding.TextMarshaler](v); ok {
		b, err := m.MarshalText()
		if err != nil {
			return err.Error()
		}
		return word(string(b))
	}
	switch {
	case v.Kind() == reflect.Slice && v.IsNil():
		return ""
	case isStruct(v.Type()):
		return "{ " + strings.Join(pairs(v), ", ") + " }"
	case v.Kind() == reflect.String:
		return word(v.String())
	case v.Kind() == reflect.Slice:
		return "[" + strings.Join(items(v), ", ") + "]"
	case v.Kind() == reflect.Map:
		return "{ " + strings.Join(entries(v), ", ") + " }"
	default:
		return fmt.Sprint(v.Interface())
	}
}

// shown returns the text of what is there even if it is empty.
func shown(v reflect.Value) string { return cmp.Or(text(v), `""`) }

// pairs returns the keys of a struct that differ from their default.
func pairs(v reflect.Value) []string {
	plain := reflect.New(v.Type()).Elem()
	fresh(plain)
	var all []string
	for _, m := range members(v.Type()) {
		if t := text(v.FieldByIndex(m.index)); t != text(plain.FieldByIndex(m.index)) {
			all = append(all, m.name+": "+t)
		}
	}
	return all
}

func items(v reflect.Value) []string {
	var all []string
	for i := range v.Len() {
		all = append(all, shown(v.Index(i)))
	}
	return all
}

func entries(v reflect.Value) []string {
	var all []string
	for _, name := range names(v) {
		all = append(all, name+": "+shown(v.MapIndex(reflect.ValueOf(name))))
	}
	return all
}

// names returns the keys of a map in order.
func names(v reflect.Value) []string {
	all := map[string]bool{}
	for _, k := range v.MapKeys() {
		all[k.String()] = true
	}
	return slices.Sorted(maps.Keys(all))
}

// bare is text that needs no quotes.
var bare = regexp.MustCompile(`^[A-Za-z0-9_/.:%+@$*-]([A-Za-z0-9_/.:%+@${}*= -]*[A-Za-z0-9_/.:%+@$}*=-])?$`)

// word returns s, in quotes if it would be mistaken for something else.
func word(s string) string {
	if s == "" || bare.MatchString(s) && !strings.Contains(s, ": ") {
		return s
	}
	return strconv.Quote(s)
}
