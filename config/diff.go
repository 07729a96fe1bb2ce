package config

import (
	"cmp"
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Change is one difference between two files.
type Change struct {
	Key      string // services.shop.replicas
	From, To string // as a file could write them; empty is not there
	Tag      string // live: in place; roll: the service needs a new release
	Service  string // whose it is, if it is a service's
	Text     string // the same in words: shop: replicas 3 → 5
	Traffic  string // what it does to requests; empty is nothing
	Where    string // file:line:column of the new value, or of what it stood in
}

// The tags of changes: what the change tag of a field says.
const (
	Live = "live"
	Roll = "roll"
)

// Diff returns what differs between two good files, in the order of the keys.
// Without an old one everything is new.
func Diff(old, new *File) []Change { //nolint:predeclared // the pair of old
	if old == nil {
		old = &File{}
	}
	d := differ{old: old, new: new}
	for _, m := range members(reflect.TypeFor[File]()) {
		if m.name != "schema" {
			d.compare(m.name, m.change, elem(old).FieldByIndex(m.index), elem(new).FieldByIndex(m.index))
		}
	}
	for i := range d.found {
		d.found[i].tell(old, new)
	}
	slices.SortStableFunc(d.found, func(a, b Change) int { return cmp.Compare(order(a.Key), order(b.Key)) })
	return d.found
}

// order sorts secrets before services, which may need them, before frontends,
// which need those.
func order(key string) int {
	top, _, _ := strings.Cut(key, ".")
	return slices.Index([]string{"secrets", "services", "frontends"}, top)
}

type differ struct {
	old, new *File
	found    []Change
}

func (d *differ) add(key, tag, from, to string) {
	d.found = append(d.found, Change{Key: key, Tag: tag, From: from, To: to})
}

// compare notes where a and b differ, which stand at key.
func (d *differ) compare(key, tag string, a, b reflect.Value) {
	if a.Kind() == reflect.Pointer && !a.IsNil() && !b.IsNil() {
		a, b = a.Elem(), b.Elem()
	}
	_, isText := reflect.TypeAssert[encoding.TextMarshaler](a)
	switch {
	case !isText && isStruct(a.Type()):
		for _, m := range members(a.Type()) {
			d.compare(join(key, m.name), m.change, a.FieldByIndex(m.index), b.FieldByIndex(m.index))
		}
	case !isText && a.Kind() == reflect.Map:
		d.maps(key, tag, a, b)
	case a.Kind() == reflect.Slice && isStruct(a.Type().Elem()):
		d.lists(key, tag, a, b)
	case a.Kind() == reflect.Slice && a.Len() == 0 && b.Len() == 0:
	default:
		if from, to := text(a), text(b); from != to {
			d.add(key, tag, from, to)
		}
	}
}

func (d *differ) maps(key, tag string, a, b reflect.Value) {
	all := append(names(a), names(b)...)
	slices.Sort(all)
	for _, name := range slices.Compact(all) {
		from, to := a.MapIndex(reflect.ValueOf(name)), b.MapIndex(reflect.ValueOf(name))
		switch {
		case !from.IsValid():
			d.add(join(key, name), tag, "", shown(to))
		case !to.IsValid():
			d.add(join(key, name), tag, shown(from), "")
		default:
			d.compare(join(key, name), tag, from, to)
		}
	}
}

// lists compares lists of structs: item by item if they are equally long, else
// what came and what went, by the positions they have or had.
func (d *differ) lists(key, tag string, a, b reflect.Value) {
	if a.Len() == b.Len() {
		for i := range a.Len() {
			d.compare(fmt.Sprintf("%s[%d]", key, i), tag, a.Index(i), b.Index(i))
		}
		return
	}
	from, to := items(a), items(b)
	kept := common(from, to)
	for i, text := range from {
		if !kept[pair{i, -1}] {
			d.add(fmt.Sprintf("%s[%d]", key, i), tag, text, "")
		}
	}
	for i, text := range to {
		if !kept[pair{-1, i}] {
			d.add(fmt.Sprintf("%s[%d]", key, i), tag, "", text)
		}
	}
}

// pair is a place in one of two lists; -1 is not this one.
type pair struct{ from, to int }

// common returns the places of the longest sequence that both lists hold.
func common(from, to []string) map[pair]bool {
	length := make([][]int, len(from)+1)
	for i := range length {
		length[i] = make([]int, len(to)+1)
	}
	for i, text := range slices.Backward(from) {
		for j := len(to) - 1; j >= 0; j-- {
			length[i][j] = max(length[i+1][j], length[i][j+1])
			if text == to[j] {
				length[i][j] = length[i+1][j+1] + 1
			}
		}
	}
	kept := map[pair]bool{}
	for i, j := 0, 0; i < len(from) && j < len(to); {
		switch {
		case from[i] == to[j]:
			kept[pair{i, -1}], kept[pair{-1, j}] = true, true
			i, j = i+1, j+1
		case length[i+1][j] >= length[i][j+1]:
			i++
		default:
			j++
		}
	}
	return kept
}
