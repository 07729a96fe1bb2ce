package config

import (
	"encoding"
	"fmt"
	"reflect"
	"strings"
)

// Dump returns every value of f, defaults included, a line each.
func Dump(f *File) string {
	var b strings.Builder
	dump(&b, "", reflect.ValueOf(f).Elem())
	return b.String()
}

func dump(b *strings.Builder, key string, v reflect.Value) {
	if v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	_, isText := reflect.TypeAssert[encoding.TextMarshaler](v)
	switch {
	case !isText && isStruct(v.Type()):
		for _, m := range members(v.Type()) {
			dump(b, join(key, m.name), v.FieldByIndex(m.index))
		}
	case !isText && v.Kind() == reflect.Map:
		for _, name := range names(v) {
			if item := v.MapIndex(reflect.ValueOf(name)); text(item) == "" {
				fmt.Fprintf(b, "%s = %s\n", join(key, name), shown(item))
			} else {
				dump(b, join(key, name), item)
			}
		}
	case v.Kind() == reflect.Slice && isStruct(v.Type().Elem()):
		for i := range v.Len() {
			dump(b, fmt.Sprintf("%s[%d]", key, i), v.Index(i))
		}
	default:
		if t := text(v); t != "" && t != "[]" {
			fmt.Fprintf(b, "%s = %s\n", key, t)
		}
	}
}

// Languages and fields, for the tests of language.txt and of the reference page.
var (
	LanguageText  = languageText
	Fields        = fields
	Fresh         = fresh
	Text          = text
	ExpandVersion = expandVersion
)

// Expansions is the table of what may stand where.
var Expansions = expansions
