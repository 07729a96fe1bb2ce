package h1

import (
	"bytes"
	"net/netip"
	"unsafe"
)

// maxHost is the longest DNS name, RFC 1035 2.3.4, written out.
const maxHost = 255

// checkAuthority checks HOST or HOST:PORT and returns it without the colon of
// an empty port (RFC 3986 6.2.3). Names are what can be looked up: letters,
// digits, - . _ ~. The escapes and the punctuation that RFC 3986 also allows
// are used by nobody but read differently by many.
func checkAuthority(b []byte) ([]byte, bool) {
	name, port, has := splitPort(b)
	if !checkPort(port) || !checkHostName(name) {
		return nil, false
	}
	if has && len(port) == 0 {
		return name, true
	}
	return b, true
}

func splitPort(b []byte) (name, port []byte, has bool) {
	if len(b) > 0 && b[0] == '[' {
		end := bytes.IndexByte(b, ']') + 1
		if end < len(b) && b[end] != ':' { // also without a bracket: b begins with the other one
			return nil, nil, false
		}
		name, port, has = b[:end], b[min(end+1, len(b)):], end < len(b)
		return name, port, has
	}
	return bytes.Cut(b, colon)
}

var colon = []byte{':'}

func checkPort(port []byte) bool {
	if len(port) == 0 {
		return true
	}
	n, ok := decimal(port)
	return ok && n <= 65535
}

func checkHostName(name []byte) bool {
	switch {
	case len(name) == 0, len(name) > maxHost:
		return false
	case name[0] == '[':
		return checkIPv6(name[1 : len(name)-1])
	case name[0] == '.', bytes.Contains(name, dots):
		return false
	}
	return all(name, isHost)
}

var dots = []byte("..")

// checkIPv6 takes no zone: it means something on one host only.
func checkIPv6(b []byte) bool {
	if bytes.IndexByte(b, '%') >= 0 || bytes.IndexByte(b, ':') < 0 {
		return false
	}
	// The string does not outlive the call, in which b does not change.
	_, err := netip.ParseAddr(unsafe.String(unsafe.SliceData(b), len(b)))
	return err == nil
}
