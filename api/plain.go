package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"

	"github.com/backstay/backstay"
)

// Listener makes l speak JSON even where net/http refuses a request before any
// handler sees it, which it does as plain text straight to the connection.
func Listener(l net.Listener) net.Listener { return plainListener{l} }

type plainListener struct{ net.Listener }

// Accept implements [net.Listener].
func (l plainListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err //nolint:wrapcheck // net/http looks at it
	}
	return &plainConn{Conn: c}, nil
}

type plainConn struct{ net.Conn }

// plainHead is how net/http begins such a refusal, after its status line.
var plainHead = []byte("\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n")

// Write implements [net.Conn]. A refusal of net/http is one write.
func (c *plainConn) Write(b []byte) (int, error) {
	text, is := refusalOf(b)
	if !is {
		return c.Conn.Write(b) //nolint:wrapcheck // net/http looks at it
	}
	if _, err := c.Conn.Write(text); err != nil {
		return 0, err //nolint:wrapcheck // as above
	}
	return len(b), nil
}

// refusalOf returns the same refusal as a problem.
func refusalOf(b []byte) (text []byte, is bool) {
	status, why, found := bytes.Cut(b, plainHead)
	if !found || !bytes.HasPrefix(status, []byte("HTTP/1.1 ")) || bytes.ContainsAny(status, "\r\n") {
		return nil, false
	}
	body, err := json.MarshalIndent(&backstay.Problem{
		Code: "malformed_request", What: "what came is no HTTP request that is read here", Where: "connection", Why: short(string(why)),
		Do: "send HTTP/1.1 with a Host header and a head of at most 16 KiB; backstay status does",
	}, "", "  ")
	if err != nil {
		return nil, false
	}
	return fmt.Appendf(nil, "%s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s\n", status, len(body)+1, body), true
}
