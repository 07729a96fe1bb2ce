package h1

import "strconv"

// AppendResponse writes the head for the client: HTTP/1.1, the server's fields
// without those that end here, then the frame of the body (see
// [Response.Down]). Without keepAlive it says Connection: close; so it does,
// whatever keepAlive says, if the client does not keep its connection or the
// body ends with it. An interim answer must not go to a client of HTTP/1.0.
func AppendResponse(dst []byte, r *Response, to *Request, keepAlive bool) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = append(strconv.AppendInt(dst, int64(r.Status), 10), ' ')
	dst = append(append(dst, r.Reason...), crlf...)
	for i := range r.fields {
		if f := &r.fields[i]; returned(f) {
			dst = r.appendField(dst, f)
		}
	}
	down := r.Down(to)
	dst = appendBody(dst, down)
	if down.Kind == None && r.lengths > 0 { // of HEAD and 304: the length there would be
		dst = appendBody(dst, Body{Kind: Length, Length: r.length})
	}
	switch {
	case r.Upgrade != nil:
		dst = appendUpgrade(dst, r.Upgrade)
	case r.Interim():
	case r.Status == 426 && r.upgrades == 1: // RFC 9110 15.5.22: must say which
		dst = appendUpgrade(dst, r.view(r.upgrade))
	case !r.Keeps(to, keepAlive):
		dst = append(dst, "Connection: close\r\n"...)
	}
	return append(dst, crlf...)
}

// Keeps says whether the client's connection outlives this answer.
func (r *Response) Keeps(to *Request, keepAlive bool) bool {
	return keepAlive && to.KeepAlive && r.Down(to).Kind != UntilClose
}

// returned says whether a server's field goes back as it came.
func returned(f *field) bool {
	switch f.kind {
	case other, host, expect, forwardedFor, forwardedProto, forwardedHost, vouched: // nothing special in an answer
		return !f.drop
	default:
		return false
	}
}
