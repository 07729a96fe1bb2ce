package h1

import "bytes"

// target is a request target taken apart.
type target struct {
	path      span
	query     span // with its ?; empty without
	authority span // of absolute-form
	absolute  bool
}

// readTarget reads the target between two places of the buffer.
func (r *Request) readTarget(from, to int) error {
	b := r.buf[from:to]
	switch {
	case !all(b, isTarget):
		return badTarget(b)
	case len(b) == 1 && b[0] == '*':
		if !bytes.Equal(r.view(r.method), options) {
			return errAsterisk
		}
	case b[0] != '/':
		return r.readAbsolute(from, to)
	}
	return r.split(from, to)
}

var options = []byte("OPTIONS")

// badTarget is the refusal of the first byte that no target has.
func badTarget(b []byte) error {
	for _, c := range b {
		if c == '#' {
			return errFragment
		}
		if class[c]&isTarget == 0 {
			break
		}
	}
	return errTargetByte
}

// readAbsolute reads absolute-form, RFC 9112 3.2.2. Both schemes are taken:
// whether TLS ended here is known to the proxy and told in X-Forwarded-Proto.
func (r *Request) readAbsolute(from, to int) error {
	b := r.buf[from:to]
	n := schemeLen(b)
	if n == 0 {
		return errTargetForm
	}
	end := bytes.IndexAny(b[n:], "/?")
	if end < 0 {
		end = len(b) - n
	}
	authority, ok := checkAuthority(b[n : n+end])
	if !ok {
		return errAuthority
	}
	r.target.absolute = true
	r.target.authority = span{int32(from + n), int32(from + n + len(authority))}
	return r.split(from+n+end, to)
}

func schemeLen(b []byte) int {
	for _, s := range [...]string{"http://", "https://"} {
		if len(b) > len(s) && Same(b[:len(s)], s) {
			return len(s)
		}
	}
	return 0
}

// split parts path and query.
func (r *Request) split(from, to int) error {
	b := r.buf[from:to]
	q := bytes.IndexByte(b, '?')
	if q < 0 {
		q = len(b)
	}
	r.target.path = span{int32(from), int32(from + q)}
	r.target.query = span{int32(from + q), int32(to)}
	return checkPath(b[:q])
}

// checkPath refuses what has two readings in a path, which is compared with
// routes here and read again by a server. Some take a backslash for a slash, as
// browsers do. Queries are not looked at: browsers send it there.
func checkPath(path []byte) error {
	if bytes.IndexByte(path, '\\') >= 0 {
		return errBackslash
	}
	return checkEscapes(path)
}

// checkEscapes wants two hex digits after each %. People type 100% into search
// boxes, but that is a query.
func checkEscapes(path []byte) error {
	for {
		i := bytes.IndexByte(path, '%')
		if i < 0 {
			return nil
		}
		if len(path) < i+3 || !all(path[i+1:i+3], isHex) {
			return errEscape
		}
		path = path[i+3:]
	}
}
