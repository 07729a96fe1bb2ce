// Package yamlout writes the values that JSON can write as YAML 1.2, in the same
// order. It reads none.
package yamlout

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// Encode writes v, as package json sees it, as one YAML document to w.
func Encode(w io.Writer, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write YAML: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber() // a number is written as it came
	e := encoder{d: d}
	e.value("", "")
	if _, err := w.Write(e.b.Bytes()); err != nil {
		return fmt.Errorf("write YAML: %w", err)
	}
	return nil
}

// encoder reads tokens of well-formed JSON and writes lines.
type encoder struct {
	d *json.Decoder
	b bytes.Buffer
}

// token returns the next one; the text was written by package json.
func (e *encoder) token() json.Token {
	t, err := e.d.Token()
	if err != nil {
		panic(fmt.Sprintf("token of own JSON: %v", err))
	}
	return t
}

// value writes the next value behind what stands on the line already. Lines that
// follow are indented by indent; glue separates the value from what stands there.
func (e *encoder) value(glue, indent string) {
	t := e.token()
	switch t {
	case json.Delim('{'):
		e.block(glue, indent, "{}", e.fields)
	case json.Delim('['):
		e.block(glue, indent, "[]", e.items)
	default:
		e.b.WriteString(glue + scalar(t) + "\n")
	}
}

// block writes what f does, or empty if there is nothing in it.
func (e *encoder) block(glue, indent, empty string, f func(indent string, first bool)) {
	if !e.d.More() {
		e.b.WriteString(glue + empty + "\n")
	} else {
		dash := bytes.HasSuffix(e.b.Bytes(), []byte("- ")) // the first field goes on behind the dash
		if glue != "" && !dash {
			e.b.WriteByte('\n')
		}
		f(indent, dash)
	}
	e.token()
}

// fields writes the fields of an object, the first without its indent if it
// stands behind a dash.
func (e *encoder) fields(indent string, behindDash bool) {
	for first := true; e.d.More(); first = false {
		if !first || !behindDash {
			e.b.WriteString(indent)
		}
		e.b.WriteString(scalar(e.token()) + ":")
		e.value(" ", indent+"  ")
	}
}

func (e *encoder) items(indent string, behindDash bool) {
	for first := true; e.d.More(); first = false {
		if !first || !behindDash {
			e.b.WriteString(indent)
		}
		e.b.WriteString("- ")
		e.value("", indent+"  ")
	}
}

// plain is text that every reader of YAML takes for itself without quotes.
var plain = regexp.MustCompile(`^[A-Za-z_/][A-Za-z0-9_./@+-]*( [A-Za-z0-9_./@+(][A-Za-z0-9_./@+)-]*)*$`)

// taken are words that readers of YAML 1.1 or 1.2 take for something else.
var taken = []string{"null", "true", "false", "yes", "no", "on", "off", "y", "n"}

// scalar returns one value that has no parts.
func scalar(t json.Token) string {
	switch v := t.(type) {
	case nil:
		return "null"
	case bool:
		return fmt.Sprint(v)
	case json.Number:
		return v.String()
	case string:
		if plain.MatchString(v) && !slices.Contains(taken, strings.ToLower(v)) {
			return v
		}
		return quote(v)
	default:
		panic(fmt.Sprintf("token %v has parts", t))
	}
}

// quote writes s in double quotes.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r == 0x2028 || r == 0x2029 || r == 0xfeff || r >= 0xfff0 && r < 0x10000 && r != 0xfffd:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
