package h1_test

import (
	"strings"
	"testing"

	"github.com/backstay/backstay/l7/h1"
)

var roomy = h1.Limits{Head: 8 << 10, Fields: 100}

func asked(t *testing.T, head string) *h1.Request {
	t.Helper()
	r := &h1.Request{}
	if _, err := r.Parse([]byte(head), roomy); err != nil {
		t.Fatalf("%q: %v", head, err)
	}
	return r
}

// What a server gets is what the proxy decides: Expect only where it waits for
// it, and a word for a client that has no address.
func TestRequestsAreWrittenAsTheProxyWantsThem(t *testing.T) {
	r := asked(t, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
	for _, expect := range []bool{true, false} {
		out := string(h1.AppendRequest(nil, r, &h1.Forward{Proto: "http", Expect: expect}))
		if strings.Contains(out, "Expect: 100-continue\r\n") != expect || !strings.Contains(out, "X-Forwarded-For: unknown\r\n") {
			t.Errorf("expect %v: %q", expect, out)
		}
	}
}

// Of a connection that ends only the last answer says so, what a server says in
// fields that are of requests passes, and which of several protocols it wants
// after 426 is not guessed.
func TestAnswersAreWrittenAsTheProxyWantsThem(t *testing.T) {
	for _, c := range []struct {
		ask, answer, has, hasNot string
		keeps                    bool
	}{
		{"1.1", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", "Link: x", "Connection", false},
		{"1.1", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nForwarded: for=x\r\nX-Real-IP: y\r\n\r\n", "Forwarded: for=x\r\nX-Real-IP: y", "close", true},
		{"1.1", "HTTP/1.1 426 No\r\nContent-Length: 0\r\nConnection: upgrade\r\nUpgrade: a\r\n\r\n", "Upgrade: a", "close", true},
		{"1.1", "HTTP/1.1 426 No\r\nContent-Length: 0\r\nConnection: upgrade\r\nUpgrade: a\r\nUpgrade: b\r\n\r\n", "426", "Upgrade", true},
		{"1.0\r\nConnection: keep-alive", "HTTP/1.1 200 OK\r\n\r\n", "Connection: close", "chunked", false},
	} {
		to := asked(t, "GET / HTTP/"+c.ask+"\r\nHost: a\r\n\r\n")
		r := &h1.Response{}
		if _, err := r.Parse([]byte(c.answer), to, roomy); err != nil {
			t.Fatalf("%q: %v", c.answer, err)
		}
		keep := !r.Interim()
		out := string(h1.AppendResponse(nil, r, to, keep))
		if !strings.Contains(out, c.has) || strings.Contains(out, c.hasNot) || r.Keeps(to, keep) != c.keeps {
			t.Errorf("%q became %q, keeps %v", c.answer, out, r.Keeps(to, keep))
		}
	}
	up := asked(t, "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")
	head := "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\nTransfer-Encoding: chunked\r\n\r\n"
	if _, err := new(h1.Response).Parse([]byte(head), up, roomy); err == nil || !strings.Contains(err.Error(), "framed_bodyless") {
		t.Errorf("101 with a body: %v", err)
	}
}
