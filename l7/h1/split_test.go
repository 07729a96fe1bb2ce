package h1_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/backstay/backstay/l7/h1"
)

// positions are where a message is cut: everywhere, or, in a long one, in
// steps and around the limits.
func positions(n int) []int {
	var at []int
	for i := 0; i <= n; i++ {
		if n < 4096 || i < 256 || i > n-256 || i%997 == 0 || i > 65500 && i < 65600 {
			at = append(at, i)
		}
	}
	return at
}

// moved is a copy of a prefix in a buffer of its own, as when a connection's
// buffer is moved while a head arrives.
func moved(b []byte) []byte { return append(make([]byte, 0, len(b)), b...) }

// verdict is all that can be seen of a request's head.
func verdict(r *h1.Request, n int, err error) string {
	if err != nil {
		return err.Error()
	}
	return string(h1.AppendRequest(nil, r, &h1.Forward{Peer: "p", Proto: "http", Host: "h", Expect: true})) + string(rune(n))
}

func TestAPrefixIsIncompleteOrHasTheVerdictOfTheWhole(t *testing.T) {
	for _, c := range load(t, "testdata/requests", 150) {
		var whole h1.Request
		n, err := whole.Parse(c.Sent, h1.Limits{})
		want := verdict(&whole, n, err)
		for _, i := range positions(len(c.Sent)) {
			var r h1.Request
			n, err := r.Parse(c.Sent[:i:i], h1.Limits{})
			if got := verdict(&r, n, err); !errors.Is(err, h1.ErrIncomplete) && got != want {
				t.Fatalf("%s: %d bytes: got %q, want %q", &c, i, got, want)
			}
		}
	}
}

func TestARequestThatComesByteByByteHasTheVerdictOfTheWhole(t *testing.T) {
	var r h1.Request // one for all: nothing of a request shows in the next
	for _, c := range load(t, "testdata/requests", 150) {
		var whole h1.Request
		n, err := whole.Parse(c.Sent, h1.Limits{})
		want := verdict(&whole, n, err)
		got := ""
		for _, i := range positions(len(c.Sent)) {
			if n, err := r.Parse(moved(c.Sent[:i]), h1.Limits{}); !errors.Is(err, h1.ErrIncomplete) {
				got = verdict(&r, n, err)
				break
			}
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", &c, got, want)
		}
	}
}

func TestAnAnswerThatComesByteByByteHasTheVerdictOfTheWhole(t *testing.T) {
	var r h1.Response
	for _, c := range load(t, "testdata/answers", 100) {
		r.Reset() // some end early
		to := askedBy(&c)
		var whole h1.Response
		wantN, wantErr := whole.Parse(c.Sent, to, h1.Limits{})
		n, err := 0, error(nil)
		for _, i := range positions(len(c.Sent)) {
			if n, err = r.Parse(moved(c.Sent[:i]), to, h1.Limits{}); !errors.Is(err, h1.ErrIncomplete) {
				break
			}
		}
		if n != wantN || !errors.Is(err, wantErr) {
			t.Fatalf("%s: got %d, %v, want %d, %v", &c, n, err, wantN, wantErr)
		}
		if err == nil && !bytes.Equal(h1.AppendResponse(nil, &r, to, true), h1.AppendResponse(nil, &whole, to, true)) {
			t.Errorf("%s: heads differ", &c)
		}
	}
}

// chunksOf reads a body in pieces that end at the given place and at the end.
func chunksOf(b []byte, cut int) (data []byte, used int, done bool, err error) {
	var c h1.ChunkReader
	for _, end := range []int{cut, len(b)} {
		for used < end && !c.Done() {
			d, n, err := c.Next(b[used:end])
			used, data = used+n, append(data, d...)
			if err != nil {
				return data, used, false, err
			}
		}
	}
	return data, used, c.Done(), nil
}

func TestChunksCutAnywhereGiveTheSameBody(t *testing.T) {
	bodies := 0
	for _, c := range append(load(t, "testdata/requests", 150), load(t, "testdata/answers", 100)...) {
		head, body, _ := bytes.Cut(c.Sent, []byte("\r\n\r\n"))
		if !bytes.Contains(bytes.ToLower(head), []byte("transfer-encoding: chunked")) {
			continue
		}
		bodies++
		data, used, done, err := chunksOf(body, 0)
		for _, cut := range positions(len(body)) {
			d, u, ok, e := chunksOf(body, cut)
			if !bytes.Equal(d, data) || u != used || ok != done || !errors.Is(e, err) {
				t.Fatalf("%s: cut at %d: %q %d %v %v, want %q %d %v %v", &c, cut, d, u, ok, e, data, used, done, err)
			}
		}
	}
	if bodies < 60 {
		t.Errorf("only %d chunked bodies", bodies)
	}
}

func TestNothingIsReadBehindARefusedRequest(t *testing.T) {
	for _, c := range load(t, "testdata/requests", 150) {
		if c.Label != "reject" {
			continue
		}
		var r h1.Request
		sent := slices.Concat(c.Sent, []byte("GET /next HTTP/1.1\r\nHost: a.example\r\n\r\n"))
		n, err := r.Parse(sent, h1.Limits{})
		if err == nil {
			err = h1.CheckBody(r.Body, sent[n:])
		}
		if got := refusal("reject", err).label; got != label(&c) {
			t.Errorf("%s: with a request behind it: %s", &c, got)
		}
	}
}

// The last byte that a limit allows decides: nothing more has to come for a head
// to be too long.
func TestAHeadThatFillsItsLimitIsRefusedAtOnce(t *testing.T) {
	line, rest := "GET /a HTTP/1.1\r\n", "Host: a\r\n"
	for _, c := range []struct {
		sent  string
		limit int
		code  string
	}{
		{line + rest, len(line + rest), "head_too_large"},
		{line + rest, len(line+rest) + 1, ""},
		{line[:8], 8, "line_too_long"},
		{line[:8], 9, ""},
		{line + rest + "\r\n", len(line+rest) + 2, "whole"},
	} {
		var r h1.Request
		n, err := r.Parse([]byte(c.sent), h1.Limits{Head: c.limit})
		got := codeOf(err)
		if err == nil {
			got = "whole"
		}
		if got != c.code || (err == nil) != (n == len(c.sent)) {
			t.Errorf("%q with a limit of %d: %q, %d, %v", c.sent, c.limit, got, n, err)
		}
	}
}

// The same of answers, which begin anew behind one that is refused.
func TestAnAnswerThatFillsItsLimitIsRefusedAtOnce(t *testing.T) {
	const head = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"
	to := asked(t, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	var r h1.Response
	for _, c := range []struct {
		sent  string
		limit int
		code  string
	}{
		{head, len(head) + 1, "more"},
		{head, len(head), "head_too_large"},
		{head[:8], 8, "head_too_large"},
		{head + "\r\n", len(head) + 1, "head_too_large"},
		{head + "\r\n", len(head) + 2, ""},
		{"HTTP/1.1 200 OK\r\nX\r\n", 1000, "no_colon"},
		{head + "\r\n", 1000, ""},
		{head + "Connection: close\r\n\r\n", 1000, ""},
		{head + "\r\n", 1000, ""},
	} {
		n, err := r.Parse([]byte(c.sent), to, h1.Limits{Head: c.limit})
		got := codeOf(err)
		if errors.Is(err, h1.ErrIncomplete) {
			got = "more"
		}
		if got != c.code || (err == nil) != (n == len(c.sent)) {
			t.Errorf("%q with a limit of %d: %q, %d, %v", c.sent, c.limit, got, n, err)
		}
		if closes := strings.Contains(c.sent, "close"); err == nil && (r.Status != 200 || r.Body != h1.Body{Kind: h1.Length} || r.KeepAlive == closes) {
			t.Errorf("%q after others: %+v", c.sent, r)
		}
		if got == "more" {
			r.Reset()
		}
	}
}

// Methods are case-sensitive: an answer to head has the body that it says.
func TestOnlyHEADHasAnswersWithoutTheirBody(t *testing.T) {
	for method, want := range map[string]h1.Body{
		"HEAD": {}, "head": {Kind: h1.Length, Length: 5}, "HEADS": {Kind: h1.Length, Length: 5}, "GET": {Kind: h1.Length, Length: 5},
	} {
		to := asked(t, method+" / HTTP/1.1\r\nHost: a\r\n\r\n")
		var r h1.Response
		if _, err := r.Parse([]byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), to, roomy); err != nil || r.Body != want {
			t.Errorf("%s: %v, %v", method, r.Body, err)
		}
	}
}
