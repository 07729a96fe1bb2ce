package h1

import (
	"bytes"
	"errors"
)

// Response is the head of an answer. The zero value is ready; one Response
// reads the answers of a connection one after the other.
type Response struct {
	Status    int // 100 to 599
	Reason    []byte
	Minor     int // of the server's version
	Body      Body
	KeepAlive bool   // the server's connection may be used again once the body has been read
	Upgrade   []byte // of 101: the protocol that the connection speaks from here on

	head
	reason span
}

// Interim says that another answer to the same request follows: 1xx, but 101.
func (r *Response) Interim() bool { return r.Status < 200 && r.Status != 101 }

// Reset forgets an answer that was not read to its end. [Response.Parse]
// calls it by itself after a complete or refused one.
func (r *Response) Reset() {
	kept := r.head
	kept.reset()
	*r = Response{head: kept}
}

// Parse reads the head of an answer to a request at the start of buf and
// returns its length. After [ErrIncomplete] call it again with the same bytes
// and more; the buffer may have moved. Any other error is an [*Error] of
// status 502.
func (r *Response) Parse(buf []byte, to *Request, limits Limits) (int, error) {
	if r.done {
		r.Reset()
	}
	r.answer = true
	limits = limits.orDefault()
	r.buf = buf
	n, err := r.parse(buf[:min(len(buf), limits.Head)], to, limits)
	if errors.Is(err, ErrIncomplete) && len(buf) >= limits.Head {
		err = errHeadTooLarge
	}
	r.done = !errors.Is(err, ErrIncomplete)
	if refused, ok := errors.AsType[*Error](err); ok {
		err = refused.answer
	}
	return n, err
}

func (r *Response) parse(b []byte, to *Request, limits Limits) (int, error) {
	if !r.started {
		if err := r.readLine(b); err != nil {
			return 0, err
		}
	}
	n, err := r.readFields(b, limits.Fields)
	if err != nil {
		return 0, err
	}
	if err := r.weigh(); err != nil {
		return 0, err
	}
	if err := r.conclude(to); err != nil {
		return 0, err
	}
	return n, nil
}

func (r *Response) readLine(b []byte) error {
	from, to, err := r.line(b)
	if err != nil {
		return err
	}
	r.started = true
	return r.readStatusLine(from, to)
}

// readStatusLine reads VERSION SP STATUS [SP REASON]. The second space is
// missing from many servers that send no reason.
func (r *Response) readStatusLine(from, to int) error {
	line := r.buf[from:to]
	if len(line) < 12 || line[8] != ' ' || len(line) > 12 && line[12] != ' ' {
		return errStatusLine
	}
	minor, err := version(line[:8])
	if err != nil {
		return errStatusLine
	}
	r.minor = minor
	status, ok := decimal(line[9:12])
	if !ok {
		return errStatusLine
	}
	if status < 100 || status > 599 {
		return errStatus
	}
	r.Status = int(status)
	r.reason = span{int32(min(from+13, to)), int32(to)}
	return nil
}

func (r *Response) conclude(to *Request) error {
	r.Reason = r.view(r.reason)
	r.Minor = int(r.minor)
	if r.Status == 101 {
		return r.concludeSwitch(to)
	}
	if err := r.fillBody(to); err != nil {
		return err
	}
	r.KeepAlive = r.minor == 1 && !r.close && r.Body.Kind != UntilClose
	return nil
}

// concludeSwitch wants the protocol that was asked for, and no body before it.
func (r *Response) concludeSwitch(to *Request) error {
	r.Upgrade = r.switchable()
	switch {
	case r.Upgrade == nil, !sameBytes(r.Upgrade, to.Upgrade):
		return errSwitch
	case r.chunked, r.lengths > 0:
		return errBodyless
	}
	return nil
}

func (r *Response) fillBody(to *Request) error {
	switch {
	case r.Status < 200, r.Status == 204:
		// RFC 9110 8.6, RFC 9112 6.1. A length of 0 means no harm and is common.
		if r.chunked || r.length > 0 {
			return errBodyless
		}
		r.lengths = 0
	case r.Status == 304, bytes.Equal(to.Method, headMethod):
		// The frame is that of the answer to a GET.
	case r.chunked:
		r.Body = Body{Kind: Chunked}
	case r.lengths > 0:
		r.Body = Body{Kind: Length, Length: r.length}
	default:
		r.Body = Body{Kind: UntilClose}
	}
	return nil
}

var headMethod = []byte("HEAD")

// Down is the frame of the body towards the client: chunked if the length is
// not known, until close for HTTP/1.0.
func (r *Response) Down(to *Request) Body {
	switch r.Body.Kind {
	case Chunked, UntilClose:
		if to.Minor == 0 {
			return Body{Kind: UntilClose}
		}
		return Body{Kind: Chunked}
	default:
		return r.Body
	}
}
