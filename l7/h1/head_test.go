package h1_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/backstay/backstay/l7/h1"
)

// place is a place in a head and the bytes that it takes.
type place struct{ before, after, takes string }

// tryEach tries every byte at every place: what is not named there is refused.
func tryEach(t *testing.T, places []place, parse func([]byte) (int, error)) {
	t.Helper()
	for _, p := range places {
		for _, x := range []byte(between(0, 0xff)) {
			head := p.before + string([]byte{x}) + p.after + "\r\n\r\n"
			n, err := parse([]byte(head))
			if taken := err == nil; taken != (strings.IndexByte(p.takes, x) >= 0) || taken && n != len(head) {
				t.Errorf("%q: %d of %d bytes, %v", head, n, len(head), err)
			}
			if errors.Is(err, h1.ErrIncomplete) {
				t.Errorf("%q waits for more", head)
			}
		}
	}
}

func without(all, these string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(these, r) {
			return -1
		}
		return r
	}, all)
}

func TestEachPlaceOfARequestTakesItsBytesOnly(t *testing.T) {
	const line = "GET / HTTP/1.1\r\nHost: a\r\n"
	tryEach(t, []place{
		{"", "ET / HTTP/1.1\r\nHost: a", tchars},
		{"G", "T / HTTP/1.1\r\nHost: a", tchars},
		{"GET ", "a HTTP/1.1\r\nHost: a", "/"},
		{"GET /a", "b HTTP/1.1\r\nHost: a", without(visible, `#%\`)},
		{"GET /%4", " HTTP/1.1\r\nHost: a", hexes},
		{"GET /%", "1 HTTP/1.1\r\nHost: a", hexes},
		{"GET /?a", "b HTTP/1.1\r\nHost: a", without(visible, "#")},
		{"GET http://a", "b/ HTTP/1.1\r\nHost: a", letters + digits + "-._~/?"},
		{"GET / HTTP/1.", "\r\nHost: a", "01"},
		{"GET / HTTP/", ".1\r\nHost: a", "1"},
		{"GET / HTTP", "1.1\r\nHost: a", "/"},
		{"GET / HTTP/1", "1\r\nHost: a", "."},
		{"GET /", "HTTP/1.1\r\nHost: a", " "},
		{"GET / HTTP/1.1\r\nHost: a", "b", letters + digits + "-._~"},
		{"GET / HTTP/1.1\r\nHost: a:1", "", digits + blanks},
		{"GET / HTTP/1.1\r\nHost: [::", "]", hexes},
		{line + "X", "A: b", tchars + ":"},
		{line, "A: b", tchars},
		{line + "X-A", " b", ":"},
		{line + "X: a", "b", texts},
		{line + "X:", "b", texts},
		{line + "Content-Length: 1", "", digits + blanks},
		{line + "Transfer-Encoding: chunke", "", "dD"},
		{line + "Expect: 100-continu", "", "eE"},
		{line + "Connection: a", "b", tchars + ","},
		{line + "Upgrade: a", "b", tchars + ",/"},
		{line + "Upgrade: a/", "b", tchars},
	}, func(head []byte) (int, error) { return new(h1.Request).Parse(head, h1.Limits{}) })
}

func TestEachPlaceOfAnAnswerTakesItsBytesOnly(t *testing.T) {
	const line = "HTTP/1.1 200 OK\r\n"
	to := asked(t, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	tryEach(t, []place{
		{"HTTP/1.", " 200 OK", "01"},
		{"HTTP/1.1", "200 OK", " "},
		{"HTTP/1.1 2", "0 OK", digits},
		{"HTTP/1.1 20", " OK", digits},
		{"HTTP/1.1 ", "05 OK", "12345"},
		{"HTTP/1.1 200", "OK", " "},
		{"HTTP/1.1 200 O", "K", texts},
		{line + "X", "A: b", tchars + ":"},
		{line + "X-A", ": b", tchars + ":" + blanks},
		{line + "X: a", "b", texts},
		{line + "Content-Length: 1", "", digits + blanks},
		{line + "Transfer-Encoding: chunke", "", "dD"},
		{line + "Connection: a", "b", tchars + ","},
	}, func(head []byte) (int, error) { return new(h1.Response).Parse(head, to, h1.Limits{}) })
}
