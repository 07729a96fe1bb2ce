package config

import (
	"strconv"
	"strings"

	"github.com/backstay/backstay"
)

// place is a line and column, from 1; zero is unknown.
type place struct{ line, column int }

// spot is where a key and its value stand.
type spot struct {
	key     place
	value   *node
	pattern string // of [where]
}

// mistake is one with its place and what stands behind its caret.
type mistake struct {
	backstay.Mistake
	place

	hint string
}

// where is a key of the file, and the same with names and numbers left out:
// services.shop.run.exec[0] is services.*.run.exec[].
type where struct{ key, pattern string }

var top = where{}

// field returns the key called name of a struct.
func (w where) field(name string) where {
	return where{join(w.key, name), join(w.pattern, name)}
}

// entry returns the key called name of a map.
func (w where) entry(name string) where {
	return where{join(w.key, name), join(w.pattern, "*")}
}

// item returns item i of a list.
func (w where) item(i int) where {
	return where{w.key + "[" + strconv.Itoa(i) + "]", w.pattern + "[]"}
}

// last returns the last name of the pattern.
func (w where) last() string {
	return strings.TrimSuffix(w.pattern[strings.LastIndexByte(w.pattern, '.')+1:], "[]")
}

func join(key, name string) string {
	if key == "" {
		return name
	}
	return key + "." + name
}

// above returns what key stands in; "" is the file.
func above(key string) string { return key[:max(strings.LastIndexAny(key, ".["), 0)] }
