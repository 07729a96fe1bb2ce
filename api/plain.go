package api

import (
	"encoding/json"
	"fmt"
	"net"
	"strings"

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
		return nil, err
	}
	return &plainConn{Conn: c}, nil
}

type plainConn struct{ net.Conn }

// plainHead is how net/http begins such a refusal, after its status line.
const plainHead = "\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"

// expectation is how it begins the one that has no text. No handler here sends
// that status.
const expectation = "HTTP/1.1 417 Expectation Failed\r\n"

// plainCodes are the codes of such refusals by their status; any other is a
// malformed request.
var plainCodes = map[string]string{
	"HTTP/1.1 431": "head_too_large", "HTTP/1.1 505": "wrong_http_version", "HTTP/1.1 501": "unsupported_encoding",
	"HTTP/1.1 417": "unmet_expectation",
}

// Write implements [net.Conn]. A refusal of net/http is one write.
func (c *plainConn) Write(b []byte) (int, error) {
	text, is := refusalOf(string(b[:min(len(b), maxRefusal)]))
	if !is {
		return c.Conn.Write(b)
	}
	if _, err := c.Conn.Write(text); err != nil {
		return 0, err
	}
	return len(b), nil
}

// maxRefusal is longer than any refusal of net/http.
const maxRefusal = 1 << 10

// refusalOf returns the same refusal as a problem.
func refusalOf(b string) (text []byte, is bool) {
	status, why, found := strings.Cut(b, plainHead)
	if strings.HasPrefix(b, expectation) {
		status, why, found = strings.TrimSuffix(expectation, "\r\n"), "only 100-continue can be expected", true
	}
	if !found || !strings.HasPrefix(status, "HTTP/1.1 ") || strings.ContainsAny(status, "\r\n") {
		return nil, false
	}
	p := backstay.Problem{
		Code: "malformed_request", What: "what came is no HTTP request that is read here", Where: "connection", Why: short(why),
		Do: "send HTTP/1.1 with a Host header and a head of at most 16 KiB, as backstay status does",
	}
	if code, ok := plainCodes[status[:min(len(status), len("HTTP/1.1 431"))]]; ok {
		p.Code = code
	} else {
		status = "HTTP/1.1 400 Bad Request"
	}
	body, err := json.MarshalIndent(&p, "", "  ")
	if err != nil {
		return nil, false
	}
	return fmt.Appendf(nil, "%s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s\n", status, len(body)+1, body), true
}
