package h1

import (
	"bytes"
	"strings"
	"testing"
)

// Each byte at each place of a word, and at its ends.
func TestControlFindsTheFirstControlByte(t *testing.T) {
	for length := range 20 {
		for at := range length {
			for c := range 256 {
				b := bytes.Repeat([]byte{'a'}, length)
				b[at] = byte(c)
				want := -1
				if c < ' ' && c != '\t' || c == 0x7f {
					want = at
				}
				if got := control(b); got != want {
					t.Fatalf("byte %#x at %d of %d: got %d, want %d", c, at, length, got, want)
				}
			}
		}
	}
	if got := control([]byte("\xff\x80\t \x1f\x00")); got != 4 {
		t.Errorf("the first of two is at %d", got)
	}
}

func TestDecimalTakesDigitsUpTo63Bits(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "00": 0, "5": 5, "0000000000000000000000005": 5, "9223372036854775807": 1<<63 - 1,
		"": -1, "+5": -1, "-0": -1, "0x5": -1, "9223372036854775808": -1, "18446744073709551616": -1, "99999999999999999999": -1,
		"\xb2": -1, "1_0": -1,
	} {
		n, ok := decimal([]byte(text))
		if !ok {
			n = -1
		}
		if n != want {
			t.Errorf("%q: got %d, want %d", text, n, want)
		}
	}
}

func TestAuthorities(t *testing.T) {
	for text, want := range map[string]string{
		"a": "a", "a:80": "a:80", "a:": "a", "A.b-c_d~.": "A.b-c_d~.", "1.2.3.4:0": "1.2.3.4:0", "a:00080": "a:00080",
		"[::]": "[::]", "[::1]:": "[::1]", "[1::2]:65535": "[1::2]:65535",
		"": "", ":": "", ":80": "", "a:b": "", "a:65536": "", "a:-1": "", "a:80:80": "", "a b": "", ".": "", "a..b": "", ".a": "",
		"[": "", "[]": "", "[::": "", "::]": "", "[::]a": "", "[::]:a": "", "[::1%1]": "", "[1.2.3.4]": "", "[a]": "", "[[::]]": "",
		"a@b": "", "a/": "", "a%41": "", "a,b": "", "*": "", "a\x80": "", "a\x00": "",
	} {
		got, ok := checkAuthority([]byte(text))
		if string(got) != want || ok != (want != "") {
			t.Errorf("%q: got %q, %v, want %q", text, got, ok, want)
		}
	}
}

// A field that ends here is known in any case, and so are its twins.
func TestKindsOfFields(t *testing.T) {
	for name, want := range map[string]kind{
		"Host": host, "hOST": host, "Connection": connection, "Content-Length": contentLength, "Transfer-Encoding": transferEncoding,
		"Upgrade": upgrade, "Expect": expect, "X-Forwarded-For": forwardedFor, "X-Forwarded-Proto": forwardedProto, "x-forwarded-HOST": forwardedHost,
		"X-Forwarded-Port": vouched, "X-Forwarded-By": vouched, "Forwarded": vouched, "X-Real-IP": vouched,
		"TE": hop, "Trailer": hop, "Proxy": hop, "Keep-Alive": hop, "Proxy-Connection": hop, "Proxy-Authorization": hop,
		"Proxy-Authenticate": hop, "HTTP2-Settings": hop, "Content_Length": hop, "Transfer_Encoding": hop, "X_Real_IP": hop,
		"X_Forwarded_For": hop, "X-Forwarded_For": hop, "X_Forwarded-Host": hop, "X_Forwarded-By": hop,
		"X-Real_IP": hop, "X_Real-IP": hop, "x.real~ip": hop, "Content.Length": hop, "CONTENT!LENGTH": hop, "Transfer.Encoding": hop,
		"X.Forwarded.For": hop, "X-Forwarded.Host": hop, "X'Forwarded-For": hop, "X-Forwarded*By": hop,
		"X-Requested-With": other, "X_Requested_With": other, "C-ntent-Length": other, "X0Real-IP": other, "X-RealAIP": other, "Content0Length": other, "TransferZEncoding": other, "X-Forwarded0By": other, "XaForwarded-For": other,
		"Hosts": other, "Date": other, "From": other, "Cookie": other, "Accept": other, "X-Forwards": other, "X-ForwardedFor": other, "Content-Lengths": other, "X": other, "": other,
		"X-Forwarded": other, "A-Forwarded-By": other, "XX-Forwarded-For": other, "Authorization": other,
	} {
		if got := kindOf([]byte(name)); got != want {
			t.Errorf("%s: got %d, want %d", name, got, want)
		}
	}
}

// Only letters have a case: ^ and ~ differ by the same bit.
func TestNamesAreTheSameInAnyCaseOfLetters(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{{"x-AbZ", "X-aBz", true}, {"x^", "x~", false}, {"x", "xx", false}, {"a", "b", false}, {"", "", true}} {
		if got := sameBytes([]byte(c.a), []byte(c.b)); got != c.same {
			t.Errorf("%q and %q: %v", c.a, c.b, got)
		}
		if got := Same([]byte(c.a), strings.ToLower(c.b)); got != c.same {
			t.Errorf("%q and %q in lower case: %v", c.a, c.b, got)
		}
	}
}
