package l7_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/l7"
)

// refusedLine is what a line of access log says about a refusal.
type refusedLine struct {
	Frontend, Client, Proto, Line, Method, Target, Refused string
	Status, Bytes                                          int
	Seconds                                                float64
}

// What is refused has its line in the access log, with the rule that it broke and
// how it began: no more of it is known, and no more than fits.
func TestWhatIsRefusedIsLogged(t *testing.T) {
	long := strings.Repeat("x", 3<<10)
	for name, c := range map[string]struct {
		send string
		want refusedLine
	}{
		"bare LF":       {"GET /a HTTP/1.1\nHost: x\r\n\r\n", refusedLine{Line: "GET /a HTTP/1.1", Refused: "bare_lf", Status: 400}},
		"no Host":       {"\r\nGET /a?b HTTP/1.1\r\nX: y\r\n\r\n", refusedLine{Line: "GET /a?b HTTP/1.1", Refused: "no_host", Status: 400}},
		"no HTTP":       {"\x16\x03\x01\xff\"\r\n\r\n", refusedLine{Line: "\x16\x03\x01\ufffd\"", Refused: "control_byte", Status: 400}},
		"many fields":   {"GET / HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("A: b\r\n", 20) + "\r\n", refusedLine{Line: "GET / HTTP/1.1", Refused: "too_many_fields", Status: 431}},
		"long line":     {"GET /" + long + " HTTP/1.1\r\nHost: x\r\n\r\n", refusedLine{Line: ("GET /" + long)[:1<<10], Refused: "line_too_long", Status: 414}},
		"stops":         {"GET /slow HTTP/1.1\r\nHo", refusedLine{Line: "GET /slow HTTP/1.1", Refused: "timeout.header", Status: 408}},
		"bad chunk":     {"POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", refusedLine{Method: "POST", Target: "/c", Refused: "chunk_size", Status: 400}},
		"large body":    {"POST /l HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n", refusedLine{Method: "POST", Target: "/l", Refused: "limits.body", Status: 413}},
		"larger than s": {"POST /g HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n800\r\n" + strings.Repeat("x", 2<<10) + "\r\n", refusedLine{Method: "POST", Target: "/g", Refused: "limits.body", Status: 413}},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "access.log")
			r := newRig(t, func(s *l7.Snapshot) {
				web(s, func(f *l7.Frontend) {
					f.AccessLog = &l7.AccessLog{Path: file, Sample: 100}
					f.Limits.Header, f.Limits.Fields, f.Limits.Body = 2<<10, 10, 1<<10
					f.Timeout.Header = backstay.Duration(100 * time.Millisecond)
				})
			}, serveHTTP(t, named("a")))
			r.raw().send(c.send)
			var text []byte
			eventually(t, "a line", func() bool { text, _ = os.ReadFile(file); return len(text) > 0 })
			var got refusedLine
			if err := json.Unmarshal(text, &got); err != nil || strings.Count(string(text), "\n") != 1 {
				t.Fatalf("%v in %s", err, text)
			}
			if got.Bytes == 0 || got.Seconds > 60 {
				t.Errorf("%d bytes in %f s", got.Bytes, got.Seconds)
			}
			got.Bytes, got.Seconds = 0, 0
			c.want.Frontend, c.want.Client, c.want.Proto = "web", "127.0.0.1", "http"
			if got != c.want {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
		})
	}
}
