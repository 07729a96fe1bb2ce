package health

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/backstay/backstay"
)

// maxMessage is the most a first message of PostgreSQL may be: the longest,
// ErrorResponse, carries a few lines of text.
const maxMessage = 64 << 10

// cannotConnectNow is SQLSTATE cannot_connect_now: starting up, shutting down
// or in recovery without hot standby.
const cannotConnectNow = "57P03"

// startup asks for a session as postgres, protocol 3.0. That user exists
// nearly everywhere, so that the server's log does not fill with refusals.
var startup = startupMessage("user", "postgres", "database", "postgres", "application_name", "backstay-probe")

// terminate says goodbye.
var terminate = []byte{'X', 0, 0, 0, 4}

func startupMessage(params ...string) []byte {
	b := binary.BigEndian.AppendUint32(make([]byte, 4), 3<<16)
	for _, p := range params {
		b = append(append(b, p...), 0)
	}
	b = append(b, 0)
	binary.BigEndian.PutUint32(b, uint32(len(b)))
	return b
}

// askPostgres begins a session. Any well-formed answer says that the server
// takes connections, a demand for a password or a refusal included, but the
// one that says it does not take any now.
func askPostgres(ctx context.Context, p backstay.Probe, target Target) Result {
	conn, err := dial(ctx, p, target)
	if err != nil {
		return bad(told(p, "connect", err))
	}
	defer conn.Close()
	defer closeOnEnd(ctx, conn)()
	if _, err := conn.Write(startup); err != nil {
		return bad(told(p, "send", err))
	}
	r := judgePostgres(conn, p)
	if r.Output == begun {
		_, _ = conn.Write(terminate)
	}
	return r
}

// begun is what is said of a session that has begun: only then does a goodbye
// leave no line in the server's log; elsewhere, going without a word does.
const begun = "answers: a session has begun"

// judgePostgres reads the first message of a server.
func judgePostgres(r io.Reader, p backstay.Probe) Result {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return bad(answerError(p, err))
	}
	kind, size := head[0], binary.BigEndian.Uint32(head[1:])
	if !strings.ContainsRune("REvN", rune(kind)) || size < 4 || size-4 > maxMessage {
		return bad("answer: not PostgreSQL")
	}
	body := make([]byte, size-4)
	if _, err := io.ReadFull(r, body); err != nil {
		return bad(answerError(p, err))
	}
	switch kind {
	case 'R':
		return authentication(body)
	case 'E':
		return refusal(body)
	default: // NegotiateProtocolVersion, NoticeResponse
		return good("answers")
	}
}

// authentication judges AuthenticationXXX: a number says which, 0 to 12 are known.
func authentication(body []byte) Result {
	switch {
	case len(body) < 4 || binary.BigEndian.Uint32(body) > 12:
		return bad("answer: not PostgreSQL")
	case binary.BigEndian.Uint32(body) == 0: // AuthenticationOk
		return good(begun)
	default:
		return good("answers, and wants to know who asks")
	}
}

// refusal judges ErrorResponse: fields of a letter and a string, ended by a zero.
func refusal(body []byte) Result {
	fields := map[byte]string{}
	for len(body) > 0 && body[0] != 0 {
		text, rest, ok := strings.Cut(string(body[1:]), "\x00")
		if !ok {
			return bad("answer: not PostgreSQL")
		}
		fields[body[0]] = text
		body = []byte(rest)
	}
	code, message := fields['C'], fields['M']
	switch {
	case len(body) != 1 || len(code) != 5:
		return bad("answer: not PostgreSQL")
	case code == cannotConnectNow:
		return bad(message)
	default:
		return good(fmt.Sprintf("answers: %s (%s)", message, code))
	}
}

func answerError(p backstay.Probe, err error) string {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "answer: closed before it was complete"
	}
	return told(p, "answer", err)
}
