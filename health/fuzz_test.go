package health

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"
	"unicode"
	"unicode/utf8"

	"github.com/backstay/backstay"
)

// fuzz gives judge whatever f thinks of, in one piece and byte by byte: it must
// come to the same, in one clean line.
func fuzz(f *testing.F, judge func(r *bytes.Reader, slow bool) Result) {
	f.Helper()
	f.Fuzz(func(t *testing.T, answer []byte) {
		whole := judge(bytes.NewReader(answer), false)
		slow := judge(bytes.NewReader(answer), true)
		if whole.Good != slow.Good {
			t.Errorf("in one piece %+v, byte by byte %+v", whole, slow)
		}
		if out := Line(whole.Output); len(out) > MaxOutput || !utf8.ValidString(out) || strings.ContainsFunc(out, unicode.IsControl) {
			t.Errorf("output %q", out)
		}
	})
}

func FuzzHTTP(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\n\r\nok", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
		"HTTP/1.0 404 No\n\n", "\x16\x03\x01", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	var p backstay.Probe
	p.SetDefaults()
	body := regexp.MustCompile("ok")
	fuzz(f, func(r *bytes.Reader, slow bool) Result {
		if slow {
			return judgeHTTP(iotest.OneByteReader(r), p, body)
		}
		return judgeHTTP(r, p, body)
	})
}

func FuzzRedis(f *testing.F) {
	for _, s := range []string{"+PONG\r\n", "-NOAUTH x\r\n", "-LOADING x\r\n", "$4\r\nPONG\r\n", "+PONG", strings.Repeat("+", 600)} {
		f.Add([]byte(s))
	}
	fuzz(f, func(r *bytes.Reader, slow bool) Result {
		if slow {
			return judgeRedis(iotest.OneByteReader(r), backstay.Probe{})
		}
		return judgeRedis(r, backstay.Probe{})
	})
}

func FuzzPostgres(f *testing.F) {
	for _, s := range []string{
		"R\x00\x00\x00\x08\x00\x00\x00\x00", "E\x00\x00\x00\x10C57P03\x00Mup\x00\x00", "N\x00\x00\x00\x04", "v\x00\x00\x00\x05x", "E\x7f\xff\xff\xff",
	} {
		f.Add([]byte(s))
	}
	fuzz(f, func(r *bytes.Reader, slow bool) Result {
		if slow {
			return judgePostgres(iotest.OneByteReader(r), backstay.Probe{})
		}
		return judgePostgres(r, backstay.Probe{})
	})
}
