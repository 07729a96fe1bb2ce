// Package h1 reads and writes HTTP/1.1 heads and chunked bodies (RFC 9112)
// for a proxy: it takes what is beyond doubt, refuses the rest, and writes
// anew whatever it passes on.
//
// A proxy stands between two parsers. What one of them reads differently is a
// hole through which a second request slips (request smuggling). So there is
// no leniency to configure here: a message is refused with an [Error] that
// names the rule, or it has exactly one reading, and what is written to the
// other side ([AppendRequest], [AppendResponse], [AppendChunk]) says that and
// nothing else. docs/reference/http1-policy.md lists every rule.
//
// After an Error nothing that follows on the connection may be read as a
// message: answer (if it was a request) and close. For an answer of a server:
// 502 or cut, and the connection is never used again.
//
// How a message is read:
//
//	n, err := req.Parse(buf, limits)    // ErrIncomplete: call again with the same bytes and more
//	err = CheckBody(req.Body, buf[n:])  // before anything is sent on: what has come of the body is sound
//	out = AppendRequest(out[:0], &req, forward)
//
// Nothing allocates once a Request or Response has grown its table of fields.
// Views ([]byte) point into the buffer given to Parse and hold until it is
// written over.
package h1
