package h1

import "strconv"

// Forward is what the proxy adds to a request.
type Forward struct {
	Peer    string // the client's IP address, for X-Forwarded-For; none: "unknown"
	Proto   string // http or https, as the client spoke
	Trusted bool   // believe what the client says about where the request came from
	Host    string // for HTTP/1.0 requests that have none: the address the client connected to
	Expect  bool   // pass Expect: 100-continue on
}

// AppendRequest writes the head for the server: HTTP/1.1, origin-form, Host
// first, then the client's fields without those that end here, then
// X-Forwarded-*, then the frame of the body.
//
// X-Forwarded-For grows by the peer; -Proto and -Host are set. From a peer
// that is not trusted, all such fields (also Forwarded and X-Real-IP) are
// replaced or dropped, because servers believe them.
func AppendRequest(dst []byte, r *Request, f *Forward) []byte {
	dst = append(append(dst, r.Method...), ' ')
	dst = append(append(dst, r.Path...), r.Query...)
	dst = append(dst, " HTTP/1.1\r\nHost: "...)
	dst = append(appendAuthority(dst, r, f), crlf...)
	for i := range r.fields {
		if passed(&r.fields[i], f.Trusted) {
			dst = r.appendField(dst, &r.fields[i])
		}
	}
	dst = r.appendForwarded(dst, f)
	dst = appendBody(dst, r.Body)
	if r.Expect && f.Expect {
		dst = append(dst, "Expect: 100-continue\r\n"...)
	}
	return append(appendUpgrade(dst, r.Upgrade), crlf...)
}

const crlf = "\r\n"

func appendAuthority(dst []byte, r *Request, f *Forward) []byte {
	if len(r.Authority) == 0 {
		return append(dst, f.Host...)
	}
	return append(dst, r.Authority...)
}

// passed says whether a request's field goes on as it came.
func passed(f *field, trusted bool) bool {
	switch f.kind {
	case other:
		return !f.drop
	case vouched:
		return trusted // Connection cannot take it away: it may be older than the peer
	default:
		return false
	}
}

func (h *head) appendField(dst []byte, f *field) []byte {
	dst = append(append(dst, h.view(f.name)...), ": "...)
	return append(append(dst, h.view(f.value)...), crlf...)
}

func (r *Request) appendForwarded(dst []byte, f *Forward) []byte {
	dst = append(dst, "X-Forwarded-For: "...)
	if f.Trusted {
		dst = r.appendKnown(dst, forwardedFor, ", ")
	}
	peer := f.Peer
	if peer == "" {
		peer = "unknown" // a Unix socket; RFC 7239 6.2 has the word
	}
	dst = append(append(dst, peer...), "\r\nX-Forwarded-Proto: "...)
	n := len(dst)
	if f.Trusted {
		dst = r.appendOnly(dst, forwardedProto)
	}
	if len(dst) == n {
		dst = append(dst, f.Proto...)
	}
	dst = append(dst, "\r\nX-Forwarded-Host: "...)
	n = len(dst)
	if f.Trusted {
		dst = r.appendOnly(dst, forwardedHost)
	}
	if len(dst) == n {
		dst = appendAuthority(dst, r, f)
	}
	return append(dst, crlf...)
}

// appendKnown writes all values of a kind, each followed by sep.
func (r *Request) appendKnown(dst []byte, k kind, sep string) []byte {
	for i := range r.fields {
		f := &r.fields[i]
		if f.kind == k && f.value.from < f.value.to {
			dst = append(append(dst, r.view(f.value)...), sep...)
		}
	}
	return dst
}

// appendOnly writes the value of a kind if there is exactly one field of it.
func (r *Request) appendOnly(dst []byte, k kind) []byte {
	var only *field
	for i := range r.fields {
		if r.fields[i].kind != k {
			continue
		}
		if only != nil {
			return dst
		}
		only = &r.fields[i]
	}
	if only == nil {
		return dst
	}
	return append(dst, r.view(only.value)...)
}

func appendBody(dst []byte, b Body) []byte {
	switch b.Kind {
	case Length:
		dst = append(dst, "Content-Length: "...)
		dst = append(strconv.AppendInt(dst, b.Length, 10), crlf...)
	case Chunked:
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	default: // says nothing
	}
	return dst
}

func appendUpgrade(dst, protocol []byte) []byte {
	if protocol == nil {
		return dst
	}
	dst = append(dst, "Connection: Upgrade\r\nUpgrade: "...)
	return append(append(dst, protocol...), crlf...)
}
