package health

import (
	"bufio"
	"context"
	"errors"
	"io"
	"strings"

	"github.com/backstay/backstay"
)

// maxReply is the most that is read of a Redis reply: errors are one line.
const maxReply = 512

// askRedis sends PING. A server that wants a password first serves those who
// have one: -NOAUTH passes. -LOADING and -MASTERDOWN do not.
func askRedis(ctx context.Context, p backstay.Probe, target Target) Result {
	conn, err := dial(ctx, p, target)
	if err != nil {
		return bad(told(p, "connect", err))
	}
	defer conn.Close()
	defer closeOnEnd(ctx, conn)()
	if _, err := io.WriteString(conn, "*1\r\n$4\r\nPING\r\n"); err != nil {
		return bad(told(p, "send", err))
	}
	return judgeRedis(conn, p)
}

// judgeRedis reads one reply: RESP simple string or error.
func judgeRedis(r io.Reader, p backstay.Probe) Result {
	line, err := bufio.NewReaderSize(io.LimitReader(r, maxReply), maxReply).ReadString('\n')
	switch {
	case errors.Is(err, io.EOF) && len(line) >= maxReply:
		return bad("reply: longer than a reply to PING can be")
	case errors.Is(err, io.EOF):
		return bad("reply: closed before it was complete")
	case err != nil:
		return bad(told(p, "reply", err))
	}
	line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
	word, _, _ := strings.Cut(line, " ")
	switch {
	case line == "+PONG":
		return good("PONG")
	case word == "-NOAUTH":
		return good("NOAUTH: it answers, and wants a password")
	case strings.HasPrefix(line, "-"):
		return bad(line[1:])
	default:
		return bad("reply: not Redis: " + Line(line))
	}
}
