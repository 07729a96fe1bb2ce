package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/internal/nearest"
)

// Bounds of a request.
const (
	maxQuery = 4 << 10
	maxJSON  = 64 << 10
	maxFile  = 1 << 20 // as config reads at most
	maxShown = 80      // of what a client sent, in messages
)

// call is one request and its answer.
type call struct {
	w  http.ResponseWriter
	r  *http.Request
	rc *http.ResponseController

	endpoint *endpoint
	names    map[string]string // from the path
	query    url.Values
	body     []byte
	begun    bool // the answer has begun
}

// readQuery takes the parameters that the endpoint knows and refuses the rest.
func (c *call) readQuery() error {
	raw := c.r.URL.RawQuery
	q, err := url.ParseQuery(raw)
	if len(raw) > maxQuery || err != nil {
		return &backstay.Problem{Code: "bad_query", What: "the query " + quote(raw) + " cannot be read", Where: "query", Why: why(err, "it is longer than 4 KiB"), Do: "send name=value, joined by &"}
	}
	for _, name := range sortedKeys(q) {
		if !slices.Contains(c.endpoint.params, name) {
			return c.unknown("unknown_parameter", "parameter", name, c.endpoint.params)
		}
		if len(q[name]) > 1 {
			return &backstay.Problem{Code: "repeated_parameter", What: "parameter " + name + " is given twice", Where: "?" + name, Do: "give it once"}
		}
	}
	c.query = q
	return nil
}

// unknown returns a problem about a name that none of known is.
func (c *call) unknown(code, kind, name string, known []string) error {
	do := "this path takes no " + kind
	if len(known) > 0 {
		do = "known are " + strings.Join(known, ", ")
	}
	if near := nearest.Of(name, known); near != "" {
		do = "did you mean " + near + "?"
	}
	return &backstay.Problem{Code: code, What: "there is no " + kind + " " + quote(name) + " here", Where: kind + " " + short(name), Do: do}
}

// readBody reads what the endpoint wants and refuses the rest.
func (c *call) readBody() error {
	limit := int64(maxJSON)
	if c.endpoint.body == noBody {
		return c.wantNoBody()
	}
	if c.endpoint.body == fileBody {
		limit = maxFile
	}
	if err := c.mediaType(); err != nil {
		return err
	}
	_ = c.rc.SetReadDeadline(time.Now().Add(bodyWithin)) // where there is no connection there is no deadline
	text, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, limit))
	_ = c.rc.SetReadDeadline(time.Time{})
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return c.tooLarge(backstay.Size(limit).String())
	case err != nil:
		return &backstay.Problem{Code: "body_cut", What: "the body ended early", Where: "body", Why: err.Error(), Do: "send as many bytes as Content-Length says"}
	case len(text) == 0 && c.endpoint.body != fileBody: // of an empty file config says that it is empty, and where
		return &backstay.Problem{Code: "missing_body", What: "there is no body", Where: "body", Do: "send " + c.endpoint.body.String()}
	}
	c.body = text
	return nil
}

// tooLarge says that a body is larger than limit; a file by its name.
func (c *call) tooLarge(limit string) error {
	p := &backstay.Problem{Code: "body_too_large", What: "the body is larger than " + limit, Where: "body", Do: "send less"}
	if c.endpoint.body == fileBody {
		p.What, p.Where = "the file is larger than "+limit, c.fileName()
		p.Do = "take out what is not configuration, or split it: " + limit + " is the limit of one node, about two thousand services"
	}
	return p
}

func (c *call) wantNoBody() error {
	var one [1]byte
	_ = c.rc.SetReadDeadline(time.Now().Add(bodyWithin))
	n, _ := io.ReadFull(c.r.Body, one[:])
	_ = c.rc.SetReadDeadline(time.Time{})
	if n > 0 {
		return &backstay.Problem{Code: "unexpected_body", What: "this path takes no body", Where: "body", Do: "send none"}
	}
	return nil
}

// mediaType checks what the body is declared as; saying nothing is fine.
func (c *call) mediaType() error {
	said := c.r.Header.Get("Content-Type")
	if said == "" {
		return nil
	}
	is, _, err := mime.ParseMediaType(said)
	if err != nil || !slices.Contains(c.endpoint.body.types(), is) {
		return &backstay.Problem{
			Code: "wrong_media_type", What: "Content-Type " + quote(said) + " is not read here", Where: "header Content-Type",
			Do: "send " + strings.Join(c.endpoint.body.types(), " or "),
		}
	}
	return nil
}

// decode reads the body into v, which knows its fields.
func (c *call) decode(v any) error {
	if err := oneObject(c.body); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(c.body))
	d.DisallowUnknownFields()
	return fieldProblem(d.Decode(v))
}

// fieldProblem says what the standard library found in a well-formed object.
func fieldProblem(err error) error {
	var t *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &t):
		return &backstay.Problem{Code: "wrong_type", What: "field " + t.Field + " is a " + t.Value, Where: "body." + t.Field, Do: "send " + inWords(t.Type)}
	}
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		name = strings.Trim(name, `"`)
		return &backstay.Problem{Code: "unknown_field", What: "there is no field " + quote(name) + " here", Where: "body." + short(name), Do: "leave it out; GET /v1 says what each path takes"}
	}
	return &backstay.Problem{Code: "bad_value", What: "the body does not do", Where: "body", Why: err.Error(), Do: "send a value of that field's form"}
}

// inWords says what a field of type t takes.
func inWords(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Int:
		return "a whole number"
	case reflect.String:
		return "a text"
	case reflect.Bool:
		return "true or false"
	case reflect.Pointer:
		return inWords(t.Elem())
	default:
		return "an object"
	}
}

// quote returns what a client sent, short and harmless to a terminal.
func quote(s string) string { return `"` + short(s) + `"` }

func short(s string) string {
	if len(s) > maxShown {
		s = s[:maxShown] + "…"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == utf8.RuneError || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

// why returns the text of err, else otherwise.
func why(err error, otherwise string) string {
	if err != nil {
		return short(err.Error())
	}
	return otherwise
}
