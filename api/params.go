package api

import (
	"strconv"
	"strings"
	"time"

	"github.com/backstay/backstay"
)

// maxTail is how many lines of the past can be asked for.
const maxTail = 1_000_000

func badParam(name, value, do string) error {
	return &backstay.Problem{Code: "bad_parameter", What: "parameter " + name + " is " + quote(value), Where: "?" + name, Do: do}
}

// need returns a parameter that must be there.
func (c *call) need(name, do string) (string, error) {
	if v := c.query.Get(name); v != "" {
		return v, nil
	}
	return "", &backstay.Problem{Code: "missing_parameter", What: "parameter " + name + " is missing", Where: "?" + name, Do: do}
}

// number returns a count of at most limit; 0 if it is not given.
func (c *call) number(name string, limit int) (int, error) {
	v := c.query.Get(name)
	if v == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 || n > limit {
		return 0, badParam(name, v, "send a number from 0 to "+strconv.Itoa(limit))
	}
	return n, nil
}

// flag returns whether a parameter is true.
func (c *call) flag(name string) (bool, error) {
	switch v := c.query.Get(name); v {
	case "", "false":
		return false, nil
	case "true":
		return true, nil
	default:
		return false, badParam(name, v, "send true or false")
	}
}

// moment returns a time.
func (c *call) moment(name string) (time.Time, error) {
	v := c.query.Get(name)
	if v == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339Nano, v)
	if err != nil {
		return t, badParam(name, v, "send a time by RFC 3339, as in 2026-01-02T15:04:05Z")
	}
	return t, nil
}

// ref returns what a parameter points at; whether it is needed is the caller's.
func (c *call) ref(name string) (backstay.Ref, error) {
	v := c.query.Get(name)
	if v == "" {
		return "", nil
	}
	return CheckRef(v)
}

// CheckRef returns s if it may point at a thing: kind/name, where the name of a
// release has its number, release/shop@14.
func CheckRef(s string) (backstay.Ref, error) {
	plain := s
	if kind, name, _ := strings.Cut(s, "/"); kind == "release" {
		service, seq, _ := strings.Cut(name, "@")
		if n, err := strconv.Atoi(seq); err == nil && n > 0 {
			plain = kind + "/" + service
		}
	}
	if _, err := backstay.ParseRef(plain); err != nil {
		return "", &backstay.Problem{
			Code: "bad_ref", What: quote(s) + " points at nothing", Where: "ref " + short(s), Why: short(err.Error()),
			Do: "write kind/name, as in service/shop, instance/shop-7f3a9c or release/shop@14",
		}
	}
	return backstay.Ref(s), nil
}

// name returns what the path names.
func (c *call) name(of string) (string, error) {
	v := c.names[of]
	if !backstay.ValidName(v) {
		return "", &backstay.Problem{Code: "bad_name", What: quote(v) + " is not the name of " + article(of), Where: "path", Do: "use a-z, 0-9 and -, as in shop"}
	}
	return v, nil
}

func article(of string) string {
	if of == "instance" {
		return "an instance"
	}
	return "a " + of
}

// ifMatch returns the digest that a file must follow; empty is any.
func (c *call) ifMatch() (string, error) {
	v := c.r.Header.Get("If-Match")
	if v == "" || v == "*" {
		return "", nil
	}
	digest := strings.Trim(v, `"`)
	if len(digest) < 8 || len(digest) > 64 || strings.Trim(digest, "0123456789abcdef") != "" {
		return "", &backstay.Problem{Code: "bad_header", What: "If-Match is " + quote(digest) + ", not a digest", Where: "header If-Match", Do: "send the digest that status shows, or *"}
	}
	return digest, nil
}
