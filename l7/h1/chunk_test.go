package h1_test

import (
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/backstay/backstay/l7/h1"
)

// Bytes of RFC 9110 5.6, written out here once more.
const (
	letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits  = "0123456789"
	tchars  = "!#$%&'*+-.^_`|~" + digits + letters
	visible = "\"(),/:;<=>?@[\\]{}" + tchars
	blanks  = " \t"
	hexes   = digits + "abcdefABCDEF"
)

// texts are what values are made of.
var texts = blanks + visible + between(0x80, 0xff)

// between are all bytes from one to another.
func between(from, to byte) string {
	var b []byte
	for c := int(from); c <= int(to); c++ {
		b = append(b, byte(c))
	}
	return string(b)
}

// feed reads all of a body, or up to what is refused.
func feed(c *h1.ChunkReader, body string) error {
	for b := []byte(body); len(b) > 0 && !c.Done(); {
		_, n, err := c.Next(b)
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

func codeOf(err error) string {
	if e, ok := errors.AsType[*h1.Error](err); ok {
		return e.Code
	}
	return ""
}

// Every byte is tried at every place of a body: what is not named here is refused.
func TestEachPlaceOfAChunkedBodyTakesItsBytesOnly(t *testing.T) {
	for _, c := range []struct{ before, takes, code string }{
		{"", hexes, "chunk_size"},
		{"5", hexes + ";\r", "chunk_size"},
		{"5\r", "\n", "chunk_size"},
		{"5;", blanks + tchars, "chunk_extension"},
		{"5; ", blanks + tchars, "chunk_extension"},
		{"5;a", blanks + tchars + "=;\r", "chunk_extension"},
		{"5;a ", blanks + "=;", "chunk_extension"}, // whitespace may stand before ; and = only
		{"5;a\r", "\n", "chunk_size"},
		{"5;a=", blanks + tchars + `"`, "chunk_extension"},
		{"5;a= ", blanks + tchars + `"`, "chunk_extension"},
		{"5;a=b", blanks + tchars + ";\r", "chunk_extension"},
		{"5;a=b ", blanks + ";", "chunk_extension"},
		{"5;a=b;", blanks + tchars, "chunk_extension"},
		{`5;a="`, texts, "chunk_extension"},
		{`5;a="\`, texts, "chunk_extension"},
		{`5;a="\"`, texts, "chunk_extension"},
		{`5;a="\\"`, blanks + ";\r", "chunk_extension"},
		{`5;a="b"`, blanks + ";\r", "chunk_extension"},
		{`5;a="b" `, blanks + ";", "chunk_extension"},
		{`5;a="b"` + "\r", "\n", "chunk_size"},
		{"1\r\n", between(0, 0xff), ""},
		{"1\r\nx", "\r", "chunk_end"},
		{"1\r\nx\r", "\n", "chunk_end"},
		{"1\r\nx\r\n", hexes, "chunk_size"},
		{"1;a\r\nx\r\n", hexes, "chunk_size"},
		{"0\r\n", tchars + "\r", "bad_trailer"},
		{"0\r\na", tchars + ":", "bad_trailer"},
		{"0\r\na:", texts + "\r", "bad_trailer"},
		{"0\r\na:b\r", "\n", "bad_trailer"},
		{"0\r\na:b\r\n", tchars + "\r", "bad_trailer"},
		{"0\r\n\r", "\n", "bad_trailer"},
		{"0\r\na:b\r\n\r", "\n", "bad_trailer"},
	} {
		for _, x := range []byte(between(0, 0xff)) {
			var r h1.ChunkReader
			if err := feed(&r, c.before); err != nil {
				t.Fatalf("%q: %v", c.before, err)
			}
			want := c.code
			if strings.IndexByte(c.takes, x) >= 0 {
				want = ""
			}
			if got := codeOf(feed(&r, string([]byte{x}))); got != want {
				t.Errorf("%#x after %q: got %q, want %q", x, c.before, got, want)
			}
		}
	}
}

// The last byte that a limit allows is taken, and the one after it is not, over
// the whole body.
func TestLimitsOfChunksAreExact(t *testing.T) {
	const limit = 16 << 10
	ext := func(n int) string { return "1;" + strings.Repeat("e", n-1) + "\r\nx\r\n" } // the CR counts
	trailer := func(n int) string { return "T:" + strings.Repeat("t", n-4) + "\r\n" }
	for name, c := range map[string]struct{ body, code string }{
		"extensions of the limit":       {ext(limit) + "0\r\n\r\n", "done"},
		"one byte more":                 {ext(limit+1) + "0\r\n\r\n", "chunk_extensions_too_large"},
		"of two chunks":                 {ext(limit-100) + ext(100) + "0\r\n\r\n", "done"},
		"of two chunks, one byte more":  {ext(limit-100) + ext(101) + "0\r\n\r\n", "chunk_extensions_too_large"},
		"of the last chunk":             {ext(limit) + "0;a\r\n\r\n", "chunk_extensions_too_large"},
		"trailers of the limit":         {"0\r\n" + trailer(limit-2) + "\r\n", "done"},
		"trailers, one byte more":       {"0\r\n" + trailer(limit-1) + "\r\n", "trailers_too_large"},
		"two trailers of the limit":     {"0\r\n" + trailer(100) + trailer(limit-102) + "\r\n", "done"},
		"two trailers of one byte more": {"0\r\n" + trailer(100) + trailer(limit-101) + "\r\n", "trailers_too_large"},
		"extensions are no trailers":    {ext(limit) + "0\r\n" + trailer(limit-2) + "\r\n", "done"},
	} {
		var r h1.ChunkReader
		got := codeOf(feed(&r, c.body))
		if r.Done() {
			got = "done"
		}
		if got != c.code {
			t.Errorf("%s: got %q, want %q", name, got, c.code)
		}
	}
}

// A size is what it says, up to what fits in 63 bits.
func TestSizesUpTo63BitsAreTaken(t *testing.T) {
	for size, code := range map[string]string{
		"4000000000000000": "", "7FFFFFFFFFFFFFFF": "", "7fffffffffffffff": "", "0fffffffffffffff": "", "00000000000000Ff": "",
		"8000000000000000": "chunk_overflow", "fFFFFFFFFFFFFFFF": "chunk_overflow", "8000000000000001": "chunk_overflow",
		"07fffffffffffffff": "chunk_size", "10000000000000000": "chunk_size", "00000000000000000": "chunk_size",
	} {
		var r h1.ChunkReader
		if got := codeOf(feed(&r, size+"\r\n")); got != code {
			t.Errorf("%s: got %q, want %q", size, got, code)
		}
		if want, err := strconv.ParseInt(size, 16, 64); code == "" && (err != nil || want < math.MaxUint8) {
			t.Fatalf("%s: %d, %v", size, want, err)
		}
	}
}

// A chunk of nothing would end the body in the middle.
func TestAChunkOfNothingIsNeverWritten(t *testing.T) {
	if got := h1.AppendChunk([]byte("before"), nil); string(got) != "before" {
		t.Errorf("got %q", got)
	}
	if got := h1.AppendChunk(nil, slices.Repeat([]byte{'x'}, 26)); string(got) != "1a\r\n"+strings.Repeat("x", 26)+"\r\n" {
		t.Errorf("got %q", got)
	}
	for _, n := range []int{0, -1} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("a chunk of %d bytes was begun", n)
				}
			}()
			h1.AppendChunkSize(nil, n)
		}()
	}
}
