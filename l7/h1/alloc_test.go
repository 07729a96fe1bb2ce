package h1_test

import (
	"testing"

	"github.com/backstay/backstay/l7/h1"
)

const (
	browserRequest = "GET /catalogue/chairs?page=2&sort=price HTTP/1.1\r\nHost: shop.example\r\n" +
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n" +
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: de,en;q=0.5\r\n" +
		"Accept-Encoding: gzip, deflate, br, zstd\r\nReferer: https://shop.example/catalogue/\r\nConnection: keep-alive\r\n" +
		"Cookie: session=0123456789abcdef0123456789abcdef; basket=17\r\nPriority: u=0, i\r\n\r\n"
	serverAnswer = "HTTP/1.1 200 OK\r\nServer: shop\r\nDate: Wed, 25 Nov 2026 10:00:00 GMT\r\nContent-Type: text/html\r\n" +
		"Content-Length: 4096\r\nCache-Control: no-store\r\nVary: Accept-Encoding\r\nX-Request-Id: 0123456789abcdef\r\n\r\n"
	chunkedBody = "10\r\n0123456789abcdef\r\n5;a=b\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"
)

// exchange is one of everything that happens per request.
type exchange struct {
	req  h1.Request
	resp h1.Response
	fwd  h1.Forward
	out  []byte
}

func newExchange() *exchange {
	return &exchange{fwd: h1.Forward{Peer: "192.0.2.7", Proto: "https"}, out: make([]byte, 0, 4096)}
}

func (x *exchange) request(b []byte) error {
	if _, err := x.req.Parse(b, h1.Limits{}); err != nil {
		return err
	}
	x.out = h1.AppendRequest(x.out[:0], &x.req, &x.fwd)
	return nil
}

func (x *exchange) answer(b []byte) error {
	if _, err := x.resp.Parse(b, &x.req, h1.Limits{}); err != nil {
		return err
	}
	x.out = h1.AppendResponse(x.out[:0], &x.resp, &x.req, true)
	return nil
}

func (x *exchange) chunks(b []byte) error {
	var c h1.ChunkReader
	for len(b) > 0 {
		data, n, err := c.Next(b)
		if err != nil {
			return err
		}
		x.out, b = h1.AppendChunk(x.out[:0], data), b[n:]
	}
	return nil
}

func TestNothingIsAllocated(t *testing.T) {
	x := newExchange()
	parse := func(b []byte) error { _, err := x.req.Parse(b, h1.Limits{}); x.req.Reset(); return err }
	for _, step := range []struct {
		name, message string
		run           func([]byte) error
	}{
		{"request", browserRequest, x.request},
		{"fields", "", x.fields},
		{"answer", serverAnswer, x.answer},
		{"chunks", chunkedBody, x.chunks},
		{"IPv6 Host", "GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n", x.request},
		{"incomplete", "GET / HT", parse},
		{"refused request", "GET / HTTP/1.1\r\nHost : a\r\n", parse},
		{"refused answer", "HTTP/1.1 999 No\r\n", x.answer},
		{"upgrade", "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, X-A\r\nUpgrade: websocket\r\nX-A: 1\r\n\r\n", x.request},
	} {
		message := []byte(step.message)
		if n := testing.AllocsPerRun(100, func() { _ = step.run(message) }); n != 0 {
			t.Errorf("%s: %v allocations", step.name, n)
		}
	}
}

func (x *exchange) fields([]byte) error {
	x.out = x.out[:0]
	for name, value := range x.req.Fields() {
		x.out = append(append(x.out, name...), value...)
	}
	_, _ = x.req.Get("cookie")
	return nil
}

func benchmark(b *testing.B, text string, run func([]byte) error) {
	b.Helper()
	message := []byte(text)
	b.SetBytes(int64(len(message)))
	b.ReportAllocs()
	for b.Loop() {
		if err := run(message); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRequest(b *testing.B) { benchmark(b, browserRequest, newExchange().request) }

func BenchmarkAnswer(b *testing.B) {
	x := newExchange()
	if err := x.request([]byte(browserRequest)); err != nil {
		b.Fatal(err)
	}
	benchmark(b, serverAnswer, x.answer)
}

func BenchmarkChunks(b *testing.B) { benchmark(b, chunkedBody, newExchange().chunks) }
