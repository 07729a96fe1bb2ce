package h1

import "errors"

// ErrIncomplete means that the bytes so far are sound but not all.
var ErrIncomplete = errors.New("h1: message is not complete")

// Error is a refusal. All values are made once, in this file: compare with ==
// or [errors.Is].
type Error struct {
	Status int    // to answer with; 502 if a server's answer is refused
	Code   string // of the rule: a row of docs/reference/http1-policy.md
	What   string // is wrong, one line

	answer *Error
}

// Error says what is wrong.
func (e *Error) Error() string { return "h1: " + e.What + " (" + e.Code + ")" }

// OfAnswer is the same refusal where it was a server that broke the rule:
// with status 502.
func (e *Error) OfAnswer() *Error { return e.answer }

var rules []*Error

// Codes are those of all rules, in the order of this file.
func Codes() []string {
	codes := make([]string, len(rules))
	for i, e := range rules {
		codes[i] = e.Code
	}
	return codes
}

func rule(status int, code, what string) *Error {
	e := &Error{Status: status, Code: code, What: what}
	e.answer = &Error{Status: 502, Code: code, What: what}
	e.answer.answer = e.answer
	rules = append(rules, e)
	return e
}

// Bytes and lines of any head.
var (
	errBareCR       = rule(400, "bare_cr", "CR without LF in the head")
	errBareLF       = rule(400, "bare_lf", "LF without CR in the head")
	errControl      = rule(400, "control_byte", "control byte in the head")
	errObsFold      = rule(400, "obs_fold", "line of the head begins with whitespace")
	errNoColon      = rule(400, "no_colon", "field line without a colon")
	errEmptyName    = rule(400, "empty_name", "field without a name")
	errSpaceColon   = rule(400, "space_before_colon", "whitespace before the colon of a field")
	errName         = rule(400, "bad_field_name", "field name is not a token")
	errHeadTooLarge = rule(431, "head_too_large", "head is longer than the limit")
	errTooMany      = rule(431, "too_many_fields", "more fields than the limit")
)

// Request line.
var (
	errEmptyLines  = rule(400, "empty_lines", "more than two empty lines before the request line")
	errRequestLine = rule(400, "bad_request_line", "request line is not METHOD TARGET VERSION")
	errMethod      = rule(400, "bad_method", "method is not a token")
	errConnect     = rule(501, "connect", "CONNECT is not served")
	errVersion     = rule(505, "bad_version", "version is neither 1.1 nor 1.0")
	errLineTooLong = rule(414, "line_too_long", "request line is longer than the limit")
	errTargetByte  = rule(400, "target_byte", "byte in the target that no URI has")
	errFragment    = rule(400, "target_fragment", "target with a fragment")
	errTargetForm  = rule(400, "target_form", "target is neither /path nor http(s)://authority/path")
	errAsterisk    = rule(400, "target_asterisk", "target * of another method than OPTIONS")
	errBackslash   = rule(400, "target_backslash", "backslash in the path")
	errEscape      = rule(400, "target_escape", "path with a % that is not followed by two hex digits")
	errAuthority   = rule(400, "target_authority", "authority in the target is not HOST or HOST:PORT")
)

// Meaning of fields.
var (
	errNoHost      = rule(400, "no_host", "request of version 1.1 without Host")
	errManyHosts   = rule(400, "many_hosts", "more than one Host")
	errHost        = rule(400, "bad_host", "Host is not HOST or HOST:PORT")
	errLength      = rule(400, "bad_length", "Content-Length is not one decimal number")
	errManyLengths = rule(400, "many_lengths", "more than one Content-Length")
	errCoding      = rule(400, "bad_transfer_encoding", "Transfer-Encoding is not exactly one chunked")
	errOldCoding   = rule(400, "old_transfer_encoding", "Transfer-Encoding in a message of version 1.0")
	errBothFrames  = rule(400, "length_and_transfer_encoding", "both Content-Length and Transfer-Encoding")
	errConnection  = rule(400, "bad_connection", "Connection is not a list of at most 32 tokens")
	errNominated   = rule(400, "connection_nominates", "Connection names Host, Content-Length or Transfer-Encoding")
	errUpgrade     = rule(400, "bad_upgrade", "Upgrade is not a list of protocols")
	errExpect      = rule(417, "bad_expect", "Expect is not exactly one 100-continue")
	errTraceBody   = rule(400, "trace_body", "TRACE with a body")
)

// Answers only.
var (
	errStatusLine = rule(502, "bad_status_line", "status line is not VERSION STATUS REASON")
	errStatus     = rule(502, "bad_status", "status is not between 100 and 599")
	errBodyless   = rule(502, "framed_bodyless", "a status without a body has Content-Length or Transfer-Encoding")
	errSwitch     = rule(502, "unasked_upgrade", "101 without the Upgrade that was asked for")
)

// Chunked bodies.
var (
	errChunkSize   = rule(400, "chunk_size", "chunk size is not 1 to 16 hex digits")
	errChunkBig    = rule(400, "chunk_overflow", "chunk size is above 2^63-1")
	errChunkExt    = rule(400, "chunk_extension", "chunk extension is malformed")
	errChunkExtBig = rule(400, "chunk_extensions_too_large", "chunk extensions are longer than the limit")
	errChunkEnd    = rule(400, "chunk_end", "chunk data is not followed by CRLF")
	errTrailer     = rule(400, "bad_trailer", "trailer line is malformed")
	errTrailerBig  = rule(400, "trailers_too_large", "trailers are longer than the limit")
)
