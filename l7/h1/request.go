package h1

import (
	"bytes"
	"errors"
)

// Request is the head of a request. The zero value is ready; one Request reads
// the requests of a connection one after the other.
type Request struct {
	Method    []byte // as sent: methods are case-sensitive
	Target    []byte // as sent, for logs
	Path      []byte // "/", "/a%20b", or "*" of OPTIONS; never empty, not decoded
	Query     []byte // with its "?"; empty without
	Authority []byte // HOST or HOST:PORT that is asked for: of the target, else of Host; empty only in HTTP/1.0
	Minor     int    // of the version: 0 or 1
	Body      Body
	KeepAlive bool   // the client may send another request
	Upgrade   []byte // the protocol to switch to if the server agrees; nil without
	Expect    bool   // waits for 100 (Continue) before it sends the body

	head
	method span
	whole  span // target
	target target
	blanks int // empty lines before the request line
}

// Reset forgets a request that was not read to its end. [Request.Parse] calls
// it by itself after a complete or refused one.
func (r *Request) Reset() {
	kept := r.head
	kept.reset()
	*r = Request{head: kept}
}

// Parse reads a head at the start of buf and returns its length. After
// [ErrIncomplete] call it again with the same bytes and more; the buffer may
// have moved. Any other error is an [*Error].
func (r *Request) Parse(buf []byte, limits Limits) (int, error) {
	if r.done {
		r.Reset()
	}
	limits = limits.orDefault()
	r.buf = buf
	n, err := r.parse(buf[:min(len(buf), limits.Head)], limits)
	if errors.Is(err, ErrIncomplete) && len(buf) >= limits.Head {
		err = r.tooLong()
	}
	r.done = !errors.Is(err, ErrIncomplete)
	return n, err
}

func (r *Request) tooLong() error {
	if !r.started {
		return errLineTooLong
	}
	return errHeadTooLarge
}

func (r *Request) parse(b []byte, limits Limits) (int, error) {
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
	if err := r.conclude(); err != nil {
		return 0, err
	}
	return n, nil
}

// maxBlanks is how many empty lines are skipped before a request line. RFC
// 9112 2.2 asks for at least one; old clients end a body with a line of its
// own and then an empty one.
const maxBlanks = 2

func (r *Request) readLine(b []byte) error {
	for {
		from, to, err := r.line(b)
		if err != nil {
			return err
		}
		if from < to {
			r.started = true
			return r.readRequestLine(from, to)
		}
		if r.blanks++; r.blanks > maxBlanks {
			return errEmptyLines
		}
	}
}

// readRequestLine reads METHOD SP TARGET SP VERSION, with single spaces.
func (r *Request) readRequestLine(from, to int) error {
	line := r.buf[from:to]
	first, last := bytes.IndexByte(line, ' '), bytes.LastIndexByte(line, ' ')
	method := line
	if first >= 0 {
		method = line[:first]
	}
	switch {
	case !isTokenText(method):
		return errMethod
	case last <= first+1: // HTTP/0.9, or nothing between two spaces
		return errRequestLine
	}
	minor, err := version(line[last+1:])
	if err != nil {
		return err
	}
	if bytes.Equal(method, connect) {
		return errConnect
	}
	r.minor = minor
	r.method = span{int32(from), int32(from + first)}
	r.whole = span{int32(from + first + 1), int32(from + last)}
	return r.readTarget(from+first+1, from+last)
}

var connect = []byte("CONNECT")

// version reads HTTP/1.0 or HTTP/1.1; what looks like another version is
// refused as that.
func version(b []byte) (minor uint8, err error) {
	switch string(b) {
	case "HTTP/1.1":
		return 1, nil
	case "HTTP/1.0":
		return 0, nil
	}
	if len(b) == 8 && string(b[:5]) == "HTTP/" && digit(b[5]) && b[6] == '.' && digit(b[7]) {
		return 0, errVersion
	}
	return 0, errRequestLine
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

// conclude judges the whole and fills in the views.
func (r *Request) conclude() error {
	if err := r.checkHosts(); err != nil {
		return err
	}
	r.Method, r.Target = r.view(r.method), r.view(r.whole)
	r.fillTarget()
	r.Minor = int(r.minor)
	r.KeepAlive = r.minor == 1 && !r.close // RFC 9112 9.3: not with HTTP/1.0 clients
	r.fillBody()
	if !r.Body.Empty() && bytes.Equal(r.Method, trace) {
		return errTraceBody
	}
	return r.fillOptions()
}

var trace = []byte("TRACE")

func (r *Request) checkHosts() error {
	switch {
	case r.hosts > 1:
		return errManyHosts
	case r.hosts == 0 && r.minor == 1:
		return errNoHost
	case r.hosts == 0:
		r.Authority = r.view(r.target.authority)
		return nil
	}
	authority, ok := checkAuthority(r.view(r.host))
	if !ok {
		return errHost
	}
	r.Authority = authority
	if r.target.absolute { // wins, RFC 9112 3.2.2
		r.Authority = r.view(r.target.authority)
	}
	return nil
}

func (r *Request) fillTarget() {
	r.Path, r.Query = r.view(r.target.path), r.view(r.target.query)
	if len(r.Path) > 0 {
		return
	}
	r.Path = root // of an absolute target, RFC 9112 3.2.1
	if len(r.Query) == 0 && bytes.Equal(r.Method, options) {
		r.Path = asterisk // RFC 9112 3.2.4
	}
}

var root, asterisk = []byte("/"), []byte("*")

func (r *Request) fillBody() {
	switch {
	case r.chunked:
		r.Body = Body{Kind: Chunked}
	case r.lengths > 0:
		r.Body = Body{Kind: Length, Length: r.length}
	}
}

// fillOptions reads what the client offers or asks for besides. An upgrade
// with a body is left out: the server would have to read the body first, and
// where that ends and the tunnel begins two programs must never have to agree on.
func (r *Request) fillOptions() error {
	if r.Body.Empty() {
		r.Upgrade = r.switchable()
	}
	if r.expects == 0 {
		return nil
	}
	if r.expects > 1 || !Same(r.view(r.expect), "100-continue") {
		return errExpect
	}
	r.Expect = r.minor == 1 && !r.Body.Empty() // RFC 9110 10.1.1: not in HTTP/1.0
	return nil
}
