package h1

import (
	"bytes"
	"encoding/binary"
)

// Classes of bytes.
const (
	isToken  = 1 << iota // tchar, RFC 9110 5.6.2
	isTarget             // visible ASCII but #
	isHost               // what a host name is made of here: letters, digits, - . _ ~
	isHex
)

var class = classes()

func classes() (t [256]uint8) {
	for c := range 256 {
		b := byte(c)
		if alnum(b) || bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), b) >= 0 {
			t[c] |= isToken
		}
		if b > ' ' && b < 0x7f && b != '#' {
			t[c] |= isTarget
		}
		if alnum(b) || bytes.IndexByte([]byte("-._~"), b) >= 0 {
			t[c] |= isHost
		}
		if '0' <= b && b <= '9' || 'a' <= b|0x20 && b|0x20 <= 'f' && b < 0x80 {
			t[c] |= isHex
		}
	}
	return t
}

func alnum(b byte) bool {
	return '0' <= b && b <= '9' || 'a' <= b|0x20 && b|0x20 <= 'z' && b < 0x80
}

// all says whether every byte of b is of a class.
func all(b []byte, of uint8) bool {
	for _, c := range b {
		if class[c]&of == 0 {
			return false
		}
	}
	return true
}

func isTokenText(b []byte) bool { return len(b) > 0 && all(b, isToken) }

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// control is the index of the first control byte other than HTAB, or -1. It
// looks at eight bytes at a time: most of a head is field values.
func control(b []byte) int {
	i := 0
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		below := (x - ones*0x20) &^ x & highs // may be set too much, never too little
		y := x ^ ones*0x7f
		if below|(y-ones)&^y&highs != 0 {
			if j := controlSlow(b[i : i+8]); j >= 0 {
				return i + j
			}
		}
	}
	if j := controlSlow(b[i:]); j >= 0 {
		return i + j
	}
	return -1
}

func controlSlow(b []byte) int {
	for i, c := range b {
		if c < ' ' && c != '\t' || c == 0x7f {
			return i
		}
	}
	return -1
}

// trim takes optional whitespace (RFC 9110 5.6.3) from both ends.
func trim(b []byte) []byte {
	for len(b) > 0 && blank(b[0]) {
		b = b[1:]
	}
	return trimRight(b)
}

func trimRight(b []byte) []byte {
	for len(b) > 0 && blank(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

func blank(c byte) bool { return c == ' ' || c == '\t' }

// Same compares a name with one in lower case, without regard to case.
func Same(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// sameBytes compares two names without regard to case.
func sameBytes(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i, c := range a {
		if lowered(c) != lowered(b[i]) {
			return false
		}
	}
	return true
}

func lowered(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c | 0x20
	}
	return c
}

// element cuts the first element off a comma-separated list.
func element(list []byte) (first, rest []byte) {
	first, rest, _ = bytes.Cut(list, comma)
	return trim(first), rest
}

var comma = []byte{','}

// decimal reads an unsigned number; false if it is none or above 2^63-1.
func decimal(b []byte) (int64, bool) {
	var n uint64
	for _, c := range b {
		if c < '0' || c > '9' || n > (1<<63-1)/10 {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return int64(n), len(b) > 0 && n <= 1<<63-1
}
