package l7

import "bytes"

// hostName appends to dst the name in a Host field or an authority: in lower
// case, without port, without the dot that may end it.
func hostName(dst, host []byte) []byte {
	if i := bytes.LastIndexByte(host, ':'); i >= 0 && bytes.IndexByte(host[i:], ']') < 0 {
		host = host[:i]
	}
	host = bytes.TrimSuffix(host, []byte("."))
	for _, c := range host {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		dst = append(dst, c)
	}
	return dst
}

// cleanPath returns path as routes see it: escapes decoded, backslashes turned,
// doubled slashes made one, dot segments resolved. A server may read /a/../b,
// /%62 and /%5Cb as /b, and a route that keeps people from /b must too. The server gets the path as
// it came. Most paths are clean and returned as they are; the others are
// written to dst, which is returned grown.
func cleanPath(dst, path []byte) (clean, grown []byte) {
	if isClean(path) {
		return path, dst
	}
	dst = dst[:0]
	for i := 0; i < len(path); i++ {
		c := path[i]
		if hi, lo := hexAt(path, i+1), hexAt(path, i+2); c == '%' && hi >= 0 && lo >= 0 {
			c = byte(hi<<4 | lo)
			i += 2
		}
		if c == '\\' { // it was escaped: h1 refuses a plain one
			c = '/'
		}
		dst = append(dst, c)
	}
	dst = resolve(dst)
	return dst, dst
}

func isClean(path []byte) bool {
	for i, c := range path {
		switch {
		case c == '%':
			return false
		case c == '/' && i+1 < len(path) && (path[i+1] == '/' || path[i+1] == '.'):
			return false
		}
	}
	return true
}

// hexAt returns the value of the digit at i, or -1.
func hexAt(b []byte, i int) int {
	if i >= len(b) {
		return -1
	}
	switch c := b[i]; {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c|0x20 && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	default:
		return -1
	}
}

// resolve removes empty and dot segments in place (RFC 3986, 5.2.4).
func resolve(path []byte) []byte {
	if len(path) == 0 || path[0] != '/' {
		return path
	}
	out := path[:1]
	for rest := path[1:]; len(rest) > 0; {
		segment, after, more := bytes.Cut(rest, []byte("/"))
		rest = after
		switch string(segment) {
		case "", ".":
		case "..":
			out = out[:max(1, bytes.LastIndexByte(out[:len(out)-1], '/')+1)]
		default:
			out = append(out, segment...)
			if more {
				out = append(out, '/')
			}
		}
	}
	return out
}
