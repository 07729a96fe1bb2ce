package h1_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"

	"github.com/backstay/backstay/l7/h1"
)

var plainForward = h1.Forward{Peer: "192.0.2.7", Proto: "http", Host: "listener.example"}

// FuzzRequest: whatever is taken is written so that this parser and net/http
// read the same from it, and so that writing it again changes nothing.
func FuzzRequest(f *testing.F) {
	for _, c := range load(f, "testdata/requests", 150) {
		f.Add(c.Sent)
	}
	f.Fuzz(checkRequest)
}

func checkRequest(t *testing.T, sent []byte) {
	t.Helper()
	var r h1.Request
	n, err := r.Parse(sent, h1.Limits{})
	samePrefixes(t, sent, err)
	if err != nil {
		return
	}
	if n <= 0 || n > len(sent) {
		t.Fatalf("head of %d bytes in %d", n, len(sent))
	}
	head := h1.AppendRequest(nil, &r, &plainForward)
	checkAgain(t, &r, head)
	checkWithNetHTTP(t, &r, head)
	checkBody(t, r.Body, sent[n:])
}

// TestMutatedRequests does what the fuzzer does, a little, in every run: bytes
// of the corpus are changed, dropped, doubled and put in from other cases.
func TestMutatedRequests(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	cases := load(t, "testdata/requests", 150)
	taken := 0
	for range 20000 {
		a, b := cases[random.IntN(len(cases))].Sent, cases[random.IntN(len(cases))].Sent
		if len(a) > 2000 || len(b) > 2000 {
			continue
		}
		sent := mutate(random, a, b)
		checkRequest(t, sent)
		var r h1.Request
		if _, err := r.Parse(sent, h1.Limits{}); err == nil {
			taken++
		}
	}
	if taken < 1000 {
		t.Errorf("only %d mutants were taken: this tests little", taken)
	}
}

func mutate(random *rand.Rand, a, b []byte) []byte {
	i, j := random.IntN(len(a)), random.IntN(len(b))
	switch random.IntN(5) {
	case 0: // another byte
		a = slices.Clone(a)
		a[i] = byte(random.IntN(256))
		return a
	case 1: // a byte less
		return slices.Concat(a[:i], a[i+1:])
	case 2: // a byte more
		return slices.Concat(a[:i], []byte(pieces[random.IntN(len(pieces))]), a[i:])
	case 3: // a line of another
		line, _, _ := bytes.Cut(b[j:], []byte("\r\n"))
		at := bytes.IndexByte(a[i:], '\n') + 1 + i
		return slices.Concat(a[:at], line, []byte("\r\n"), a[at:])
	}
	return slices.Concat(a[:i], b[j:]) // the end of another
}

var pieces = []string{"\r", "\n", "\r\n", " ", "\t", ":", ",", ";", "\x00", "\x7f", "\x80", "chunked", "0", "%", "#", "Host: b\r\n", "HTTP/1.1"}

// samePrefixes cuts where a segment may end: a prefix is incomplete or has the
// same verdict.
func samePrefixes(t *testing.T, sent []byte, want error) {
	t.Helper()
	var resumed h1.Request
	for i := 0; i < len(sent) && i < 512; i += 1 + i/16 {
		var fresh h1.Request
		for _, r := range []*h1.Request{&fresh, &resumed} {
			_, err := r.Parse(moved(sent[:i]), h1.Limits{})
			if errors.Is(err, h1.ErrIncomplete) {
				continue
			}
			if !errors.Is(err, want) {
				t.Fatalf("%d bytes of %q: %v, all: %v", i, sent, err, want)
			}
			return
		}
	}
	if _, err := resumed.Parse(sent, h1.Limits{}); !errors.Is(err, want) {
		t.Fatalf("%q in pieces: %v, all: %v", sent, err, want)
	}
}

func checkAgain(t *testing.T, r *h1.Request, head []byte) {
	t.Helper()
	var again h1.Request
	n, err := again.Parse(head, h1.Limits{Head: h1.MaxHead + 4096, Fields: h1.MaxFields + 8})
	if err != nil || n != len(head) {
		t.Fatalf("%q was written: %d, %v", head, n, err)
	}
	if !bytes.Equal(again.Method, r.Method) || !bytes.Equal(again.Path, r.Path) || !bytes.Equal(again.Query, r.Query) ||
		again.Body != r.Body || !bytes.Equal(again.Upgrade, r.Upgrade) || len(r.Authority) > 0 && !bytes.Equal(again.Authority, r.Authority) {
		t.Fatalf("%q reads otherwise: %+v, %+v", head, again, r)
	}
	if twice := h1.AppendRequest(nil, &again, &plainForward); !bytes.Equal(twice, head) {
		t.Fatalf("written again:\n%q\n%q", twice, head)
	}
}

func checkWithNetHTTP(t *testing.T, r *h1.Request, head []byte) {
	t.Helper()
	req, err := http.ReadRequest(bufio.NewReaderSize(bytes.NewReader(head), 1<<17))
	if err != nil {
		t.Fatalf("net/http refuses %q: %v", head, err)
	}
	host := string(r.Authority)
	if host == "" {
		host = plainForward.Host
	}
	if req.Method != string(r.Method) || req.RequestURI != string(r.Path)+string(r.Query) || req.Host != host {
		t.Fatalf("net/http reads %s %s of %s from %q", req.Method, req.RequestURI, req.Host, head)
	}
	length := map[h1.BodyKind]int64{h1.None: 0, h1.Length: r.Body.Length, h1.Chunked: -1}[r.Body.Kind]
	if req.ContentLength != length || (len(req.TransferEncoding) > 0) != (r.Body.Kind == h1.Chunked) || req.Close {
		t.Fatalf("net/http reads length %d, coding %q from %q", req.ContentLength, req.TransferEncoding, head)
	}
}

// checkBody compares a chunked body, written anew, with what net/http reads
// from it.
func checkBody(t *testing.T, body h1.Body, b []byte) {
	t.Helper()
	if body.Kind != h1.Chunked {
		return
	}
	checked := h1.CheckBody(body, b)
	written, _, err := readBody(body, body, b)
	if checked != nil && !errors.Is(err, checked) {
		t.Fatalf("checked %v, read %v", checked, err)
	}
	if err != nil {
		return
	}
	data, _, _, _ := chunksOf(b, 0)
	text := append([]byte("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"), written...)
	req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(text)))
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(req.Body)
	if err != nil || !bytes.Equal(got, data) {
		t.Fatalf("net/http reads %q, %v from %q", got, err, written)
	}
}

// FuzzResponse: whatever is taken is written so that net/http reads the same.
func FuzzResponse(f *testing.F) {
	for _, c := range load(f, "testdata/answers", 100) {
		f.Add(c.Sent, c.Has("toHEAD"), c.Has("toUpgrade"), c.Has("to1.0"))
	}
	f.Fuzz(func(t *testing.T, sent []byte, head, upgrade, old bool) {
		to := askedLike(head, upgrade, old)
		var r h1.Response
		n, err := r.Parse(sent, to, h1.Limits{})
		samePrefixesOfAnswer(t, sent, to, err)
		if err != nil {
			return
		}
		if n <= 0 || n > len(sent) {
			t.Fatalf("head of %d bytes in %d", n, len(sent))
		}
		checkAnswer(t, &r, to)
	})
}

func askedLike(head, upgrade, old bool) *h1.Request {
	method, version, extra := "GET", "1.1", ""
	if head {
		method = "HEAD"
	}
	if old {
		version = "1.0"
	}
	if upgrade {
		extra = "Connection: upgrade\r\nUpgrade: websocket\r\n"
	}
	var to h1.Request
	if _, err := to.Parse([]byte(method+" / HTTP/"+version+"\r\nHost: a\r\n"+extra+"\r\n"), h1.Limits{}); err != nil {
		panic(err)
	}
	return &to
}

func samePrefixesOfAnswer(t *testing.T, sent []byte, to *h1.Request, want error) {
	t.Helper()
	var resumed h1.Response
	for i := 0; i < len(sent) && i < 512; i += 1 + i/16 {
		_, err := resumed.Parse(moved(sent[:i]), to, h1.Limits{})
		if errors.Is(err, h1.ErrIncomplete) {
			continue
		}
		if !errors.Is(err, want) {
			t.Fatalf("%d bytes of %q: %v, all: %v", i, sent, err, want)
		}
		return
	}
}

func checkAnswer(t *testing.T, r *h1.Response, to *h1.Request) {
	t.Helper()
	out := h1.AppendResponse(nil, r, to, true)
	resp, err := http.ReadResponse(bufio.NewReaderSize(bytes.NewReader(out), 1<<17), &http.Request{Method: string(to.Method)})
	if err != nil {
		t.Fatalf("net/http refuses %q: %v", out, err)
	}
	defer resp.Body.Close()
	down := r.Down(to)
	if resp.StatusCode != r.Status || (len(resp.TransferEncoding) > 0) != (down.Kind == h1.Chunked) {
		t.Fatalf("net/http reads status %d, coding %q from %q", resp.StatusCode, resp.TransferEncoding, out)
	}
	if down.Kind == h1.Length && resp.ContentLength != down.Length {
		t.Fatalf("net/http reads length %d from %q", resp.ContentLength, out)
	}
	if !r.Interim() && r.Status != 101 && r.Status != 426 && resp.Close == r.Keeps(to, true) {
		t.Fatalf("net/http reads close %v from %q", resp.Close, out)
	}
	var again h1.Response
	if n, err := again.Parse(out, to, h1.Limits{Head: h1.MaxHead + 4096, Fields: h1.MaxFields + 8}); err != nil || n != len(out) {
		t.Fatalf("%q was written: %d, %v", out, n, err)
	}
}

// FuzzChunks: cut anywhere, the result is the same; what is taken is what
// net/http reads from what is written.
func FuzzChunks(f *testing.F) {
	for _, c := range append(load(f, "testdata/requests", 150), load(f, "testdata/answers", 100)...) {
		if _, body, ok := bytes.Cut(c.Sent, []byte("\r\n\r\n")); ok && len(body) > 0 {
			f.Add(body, uint16(len(body)/2))
		}
	}
	f.Fuzz(func(t *testing.T, body []byte, cut uint16) {
		data, used, done, err := chunksOf(body, 0)
		d, u, ok, e := chunksOf(body, int(cut)%(len(body)+1))
		if !bytes.Equal(d, data) || u != used || ok != done || !errors.Is(e, err) {
			t.Fatalf("cut at %d: %q %d %v %v, want %q %d %v %v", cut, d, u, ok, e, data, used, done, err)
		}
		checkBody(t, h1.Body{Kind: h1.Chunked}, body)
	})
}
