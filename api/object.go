package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/backstay/backstay"
)

// oneObject checks that text is one JSON object in which no field occurs twice:
// the standard library takes the last of two, and two readers may then see two
// requests.
func oneObject(text []byte) error {
	if len(bytes.TrimLeft(text, " \t\r\n")) == 0 || bytes.TrimLeft(text, " \t\r\n")[0] != '{' {
		return badJSON("it does not begin with {")
	}
	d := json.NewDecoder(bytes.NewReader(text))
	if err := element(d, "body", 0); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return badJSON("something follows the object")
	}
	return nil
}

// maxDepth is deeper than any body here.
const maxDepth = 16

// element reads one value, where says which.
func element(d *json.Decoder, where string, depth int) error {
	t, err := d.Token()
	if err != nil {
		return badJSON(err.Error())
	}
	if depth > maxDepth {
		return badJSON("it is nested too deeply")
	}
	switch t {
	case json.Delim('{'):
		return fields(d, where, depth)
	case json.Delim('['):
		for d.More() {
			if err := element(d, where+"[]", depth+1); err != nil {
				return err
			}
		}
	default:
		return nil
	}
	return closing(d)
}

func fields(d *json.Decoder, where string, depth int) error {
	seen := map[string]bool{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return badJSON(err.Error())
		}
		name, _ := t.(string)
		if strings.Trim(name, "abcdefghijklmnopqrstuvwxyz_") != "" { // the standard library takes Version for version
			return &backstay.Problem{Code: "unknown_field", What: "there is no field " + quote(name) + " here", Where: where + "." + short(name), Do: "fields are in lower case; GET /v1 lists them"}
		}
		if seen[name] {
			return &backstay.Problem{Code: "repeated_field", What: "field " + quote(name) + " occurs twice", Where: where + "." + short(name), Do: "send it once"}
		}
		seen[name] = true
		if err := element(d, where+"."+short(name), depth+1); err != nil {
			return err
		}
	}
	return closing(d)
}

func closing(d *json.Decoder) error {
	if _, err := d.Token(); err != nil {
		return badJSON(err.Error())
	}
	return nil
}

func badJSON(why string) error {
	return &backstay.Problem{Code: "bad_json", What: "the body is not one JSON object", Where: "body", Why: short(why), Do: `send an object, as in {"replicas": 3}`}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// hasField reports whether the object text has a field called name. Text has
// been checked before.
func hasField(text []byte, name string) bool {
	var fields map[string]json.RawMessage
	return json.Unmarshal(text, &fields) == nil && fields[name] != nil
}
