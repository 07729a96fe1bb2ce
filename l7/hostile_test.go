package l7_test

import (
	"bytes"
	"io"
	"maps"
	"net/http"
	"net/http/httputil"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay/l7/h1/corpus"
)

const nextRequest = "GET /next HTTP/1.1\r\nHost: next.example\r\n\r\n"

func loadCorpus(t *testing.T, dir string, atLeast int) []corpus.Case {
	t.Helper()
	cases, err := corpus.Load("h1/testdata/" + dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(cases) < atLeast {
		t.Fatalf("only %d cases", len(cases))
	}
	return cases
}

func TestRefusedRequestsReachNobodyAndOthersArriveAsTheirGoldenBytes(t *testing.T) {
	r := newHostileRig(t)
	broken := map[string]uint64{}
	for _, c := range loadCorpus(t, "requests", 150) {
		r.rec.take()
		if c.Label == "reject" {
			r.refused(&c)
			broken[c.Args[1]]++
		} else {
			r.forwarded(&c)
		}
		if t.Failed() {
			t.Logf("case %s", &c)
			return
		}
	}
	if got := r.proxy.Stats().BadRequests; !maps.Equal(got, broken) {
		t.Errorf("counted %v, want %v", got, broken)
	}
	var text strings.Builder
	if err := r.proxy.WriteMetrics(&text); err != nil || !strings.Contains(text.String(), `backstay_l7_refused_requests_total{code="many_lengths"} 3`) {
		t.Errorf("metrics: %v\n%s", err, text.String())
	}
}

// The same with heads that come in pieces: the server hears nothing before a
// head is whole, and nothing of one that is refused.
func TestRefusedHeadsThatComeInPiecesReachNobody(t *testing.T) {
	r := newHostileRig(t)
	for _, c := range loadCorpus(t, "requests", 150) {
		if c.Label != "reject" || strings.HasPrefix(filepath.Base(c.File), "09-") || len(c.Sent) > 4096 {
			continue
		}
		client := r.dial(&c)
		third := len(c.Sent) / 3
		for _, piece := range [][]byte{c.Sent[:third], c.Sent[third : 2*third], c.Sent[2*third:], []byte(nextRequest)} {
			_ = client.send(piece)
		}
		if got, err := client.rest(); err != nil || !bytes.HasPrefix(got, []byte("HTTP/1.1 "+c.Args[0]+" ")) || bytes.Count(got, []byte("HTTP/")) != 1 {
			t.Errorf("%s: got %q, %v", &c, got, err)
		}
		client.Close()
	}
	r.barrier()
	if heard := r.rec.take(); string(heard) != barrierBytes {
		t.Errorf("the server heard %q", heard)
	}
}

// A request that is refused behind a good one ends the connection as well: the
// good one is answered, the bad one refused, the next not read.
func TestARefusedRequestBehindAGoodOneEndsTheConnection(t *testing.T) {
	r := newHostileRig(t)
	for _, bad := range []string{
		"GET /bad HTTP/1.1\r\nHost : a.example\r\n\r\n",
		"POST /bad HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"POST /bad HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
		"\x00", "GARBAGE\r\n", "\r\n\r\n\r\n",
	} {
		r.rec.take()
		client := r.dial(nil)
		_ = client.send([]byte("POST /good HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n\r\nhello" + bad + nextRequest))
		first, raw, err := client.answer("POST")
		if err != nil || first.StatusCode != http.StatusOK || !bytes.HasSuffix(raw, []byte("/good")) {
			t.Errorf("%q: the good one: %q, %v", bad, raw, err)
		}
		second, raw, err := client.answer("GET")
		if err != nil || second.StatusCode != http.StatusBadRequest || !second.Close {
			t.Errorf("%q: the bad one: %q, %v", bad, raw, err)
		}
		if rest, err := client.rest(); len(rest) > 0 || err != nil {
			t.Errorf("%q: behind it: %q, %v", bad, rest, err)
		}
		client.Close()
		if heard := string(r.rec.take()); strings.Contains(heard, "/bad") || strings.Contains(heard, "/next") || !strings.HasSuffix(heard, "\r\n\r\nhello") {
			t.Errorf("%q: the server heard %q", bad, heard)
		}
	}
}

// A body that goes wrong when its beginning is with the server already: the
// server never sees a whole request, and what is behind is not read.
func TestABodyThatGoesWrongLaterIsNeverWhole(t *testing.T) {
	r := newHostileRig(t)
	for _, bad := range []string{"x\r\n", "5\r\nhello!\r\n0\r\n\r\n", "-1\r\n", "0\r\nX\r\n\r\n"} {
		r.rec.take()
		client := r.dial(nil)
		_ = client.send([]byte("POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"))
		heard := r.hears("hello")
		_ = client.send([]byte(bad + nextRequest))
		got, err := client.rest()
		if err != nil || !bytes.HasPrefix(got, []byte("HTTP/1.1 400 ")) || bytes.Count(got, []byte("HTTP/")) != 1 {
			t.Errorf("%q: the client got %q, %v", bad, got, err)
		}
		client.Close()
		r.barrier()
		all := strings.Replace(heard+string(r.rec.take()), barrierBytes, "", 1)
		if strings.Contains(all, "\r\n0\r\n") || strings.Contains(all, "/next") || strings.Count(all, " HTTP/1.1\r\n") != 1 {
			t.Errorf("%q: the server heard %q", bad, all)
		}
	}
}

// hears waits until the server has heard text and returns all that it has.
func (r *hostileRig) hears(text string) string {
	r.t.Helper()
	all := ""
	for deadline := time.Now().Add(hostileHang); !strings.Contains(all, text); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("the server has not heard %q, but %q", text, all)
		}
		all += string(r.rec.take())
	}
	return all
}

// refused: one answer with the status, then the end; the request behind it is
// not answered, and the server has heard nothing of either.
func (r *hostileRig) refused(c *corpus.Case) {
	r.t.Helper()
	client := r.dial(c)
	defer client.Close()
	_ = client.send(slices.Concat(c.Sent, []byte(nextRequest))) // it may be closed before the end
	resp, _, err := client.answer("GET")
	if err != nil {
		r.t.Errorf("%s: no answer: %v", c, err)
		return
	}
	if got := strconv.Itoa(resp.StatusCode); got != c.Args[0] || !resp.Close {
		r.t.Errorf("%s: got %s, close %v", c, got, resp.Close)
	}
	if rest, err := client.rest(); len(rest) > 0 || err != nil {
		r.t.Errorf("%s: behind the refusal: %q, %v", c, rest, err)
	}
	r.barrier()
	if heard := r.rec.take(); string(heard) != barrierBytes {
		r.t.Errorf("%s: the server heard %q", c, heard)
	}
}

// forwarded: the server hears the golden bytes, and then those of the request
// behind it.
func (r *hostileRig) forwarded(c *corpus.Case) {
	r.t.Helper()
	client := r.dial(c)
	defer client.Close()
	closes, streams := slices.Contains(c.Args, "closes"), slices.Contains(c.Args, "expect")
	sent, want := c.Sent, r.whole(c)
	if !closes && !streams {
		sent = slices.Concat(sent, []byte(nextRequest))
		want += strings.ReplaceAll(strings.ReplaceAll(barrierBytes, "after.", "next."), "/after", "/next")
	}
	if err := client.send(sent); err != nil {
		r.t.Fatal(err)
	}
	method, _, _ := strings.Cut(string(c.Golden), " ")
	resp, _, err := client.answer(method)
	switch {
	case err != nil || resp.StatusCode != http.StatusOK || resp.Close != closes && !streams:
		r.t.Errorf("%s: got %+v, %v", c, resp, err)
		return
	case resp.Close:
		if rest, err := client.rest(); len(rest) > 0 || err != nil {
			r.t.Errorf("%s: behind the answer: %q, %v", c, rest, err)
		}
	case !streams: // else the answer may come a moment before the proxy knows that it has sent all
		if resp, raw, err := client.answer("GET"); err != nil || resp.StatusCode != http.StatusOK || !bytes.HasSuffix(raw, []byte("/next")) {
			r.t.Errorf("%s: the request behind it: %q, %v", c, raw, err)
		}
	}
	if heard := r.rec.take(); string(heard) != want {
		r.t.Errorf("%s: the server heard\n%q\nwant\n%q", c, heard, want)
	}
}

// whole is the golden bytes as this proxy sends them: here the client is this
// host, and a chunked body that has come as a whole goes on with its length,
// unless the client waits for 100 first.
func (r *hostileRig) whole(c *corpus.Case) string {
	golden := strings.ReplaceAll(string(c.Golden), "192.0.2.7", "127.0.0.1")
	golden = strings.ReplaceAll(golden, "listener.example:8080", r.addr[false])
	head, body, _ := strings.Cut(golden, "\r\n\r\n")
	const coding = "\r\nTransfer-Encoding: chunked"
	if !strings.Contains(head, coding) || slices.Contains(c.Args, "expect") {
		return golden
	}
	data, err := io.ReadAll(httputil.NewChunkedReader(strings.NewReader(body)))
	if err != nil {
		r.t.Fatal(err)
	}
	return strings.Replace(head, coding, "\r\nContent-Length: "+strconv.Itoa(len(data)), 1) + "\r\n\r\n" + string(data)
}

func TestBadAnswersAreNeverPassedOnAndTheirConnectionIsNeverUsedAgain(t *testing.T) {
	r := newHostileRig(t)
	bad, broken := 0, map[string]uint64{}
	for _, c := range loadCorpus(t, "answers", 100) {
		if c.Label != "return" {
			bad++
			broken[c.Args[0]]++
		}
		r.answered(&c)
		if t.Failed() {
			return
		}
	}
	if bad < 60 {
		t.Errorf("only %d bad answers", bad)
	}
	delete(broken, "early") // no rule
	if got := r.proxy.Stats().BadAnswers; !maps.Equal(got, broken) {
		t.Errorf("counted %v, want %v", got, broken)
	}
}

func (r *hostileRig) answered(c *corpus.Case) {
	r.t.Helper()
	r.rec.play(c.Sent, c.Has("closes") || c.Args[0] == "early")
	client := r.dial(c)
	defer client.Close()
	if err := client.send(c.Asked()); err != nil {
		r.t.Fatal(err)
	}
	switch c.Label {
	case "return":
		r.returned(c, client)
	case "refuse":
		r.say502(c, client)
	case "cut":
		r.cutOff(c, client)
	}
	r.checkUse(c)
	if c.Label == "return" {
		r.goesOn(c, client)
	}
}

var dateLine = regexp.MustCompile("Date: [A-Z][^\r]* GMT\r\n")

func (r *hostileRig) returned(c *corpus.Case, client *rawClient) {
	r.t.Helper()
	method, _, _ := strings.Cut(string(c.Asked()), " ")
	resp, raw, err := client.answer(method)
	if err != nil || resp.Close != (c.Args[0] == "closes") {
		r.t.Errorf("%s: %+v, %v", c, resp, err)
		return
	}
	if got := dateLine.ReplaceAll(raw, nil); !bytes.Equal(got, c.Golden) {
		r.t.Errorf("%s: the client got\n%q\nwant\n%q", c, got, c.Golden)
	}
}

// goesOn looks at what follows a good answer on the client's connection: the
// answer to its next request, or the end.
func (r *hostileRig) goesOn(c *corpus.Case, client *rawClient) {
	r.t.Helper()
	switch c.Args[0] {
	case "keeps":
		_ = client.send([]byte(nextRequest))
		if resp, raw, err := client.answer("GET"); err != nil || resp.StatusCode != http.StatusOK || !bytes.HasSuffix(raw, []byte("/next")) {
			r.t.Errorf("%s: the client's next request: %q, %v", c, raw, err)
		}
	case "closes":
		if rest, err := client.rest(); len(rest) > 0 || err != nil {
			r.t.Errorf("%s: behind the answer: %q, %v", c, rest, err)
		}
	}
}

// say502: one answer, 502, and nothing of the server's.
func (r *hostileRig) say502(c *corpus.Case, client *rawClient) {
	r.t.Helper()
	method, _, _ := strings.Cut(string(c.Asked()), " ")
	resp, raw, err := client.answer(method)
	if err != nil || resp.StatusCode != http.StatusBadGateway {
		r.t.Errorf("%s: the client got %q, %v", c, raw, err)
		return
	}
	if n := client.in.Buffered(); n > 0 {
		r.t.Errorf("%s: %d bytes behind the refusal", c, n)
	}
}

// cutOff: what the client gets is the beginning of the golden bytes or a 502,
// and it can see that this is not all.
func (r *hostileRig) cutOff(c *corpus.Case, client *rawClient) {
	r.t.Helper()
	_, _, err := client.answer("GET")
	raw := dateLine.ReplaceAll(client.got.Bytes(), nil)
	if bytes.HasPrefix(raw, []byte("HTTP/1.1 502 ")) && err == nil {
		return
	}
	if err == nil {
		r.t.Errorf("%s: the client takes %q for whole", c, raw)
	}
	if !bytes.HasPrefix(c.Golden, raw) {
		r.t.Errorf("%s: the client got\n%q\nwant no more than\n%q", c, raw, c.Golden)
	}
	if rest, err := client.rest(); len(rest) > 0 || err != nil {
		r.t.Errorf("%s: then %q, %v", c, rest, err)
	}
}

// checkUse sends a request behind the case's and looks at the connection that
// the answer came over: used again if it is good, else never and closed.
func (r *hostileRig) checkUse(c *corpus.Case) {
	r.t.Helper()
	var over *recorded
	select {
	case over = <-r.rec.then:
	case <-time.After(hostileHang):
		r.t.Fatalf("%s: the server was not asked", c)
	}
	if c.Label == "return" && c.Args[0] == "tunnel" {
		return
	}
	id := strconv.Itoa(over.id)
	used := r.barrier() == id
	if c.Label == "return" && c.Args[1] == "reuses" {
		// The client has its answer a moment before the connection is in the pool.
		for deadline := time.Now().Add(hostileHang); !used && time.Now().Before(deadline); {
			used = r.barrier() == id
		}
		if !used {
			r.t.Errorf("%s: its connection was not used again", c)
		}
		return
	}
	select {
	case <-over.ended:
	case <-time.After(hostileHang):
		r.t.Errorf("%s: its connection was not closed", c)
	}
	r.rec.mu.Lock()
	defer r.rec.mu.Unlock()
	if used || over.after > 0 {
		r.t.Errorf("%s: its connection was used again", c)
	}
}

// A server that sends an answer nobody asked for, on a connection that waits in
// the pool, would have it taken for the answer to the next request: of another
// client.
func TestAnAnswerThatNobodyAskedForIsNeverTakenForTheNext(t *testing.T) {
	r := newHostileRig(t)
	for _, late := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
		"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
		"\r\n", "x",
	} {
		r.rec.play([]byte("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood"), false)
		client := r.dial(nil)
		if err := client.send([]byte("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		if _, raw, err := client.answer("GET"); err != nil || !bytes.HasSuffix(raw, []byte("good")) {
			t.Fatalf("got %q, %v", raw, err)
		}
		over := <-r.rec.then
		if _, err := over.Write([]byte(late)); err != nil {
			t.Fatal(err)
		}
		if err := client.send([]byte(nextRequest)); err != nil {
			t.Fatal(err)
		}
		resp, raw, err := client.answer("GET")
		if err != nil || !bytes.HasSuffix(raw, []byte("/next")) || resp.Header.Get("X-Conn") == strconv.Itoa(over.id) {
			t.Errorf("after %q: the client got %q, %v", late, raw, err)
		}
		client.Close()
	}
}
