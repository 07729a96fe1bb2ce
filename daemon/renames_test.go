package daemon

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/internal/hosttest"
)

// A file takes away the service that a request was for, and gives its frontend
// another name, while the body of the request is still arriving. It is served by
// whoever the route leads to then, and the connections to the address go on.
func TestRequestOutlivesTheServiceThatItCameFor(t *testing.T) {
	t.Parallel()
	port := hosttest.FreePort(t)
	with := shopFile(port, "")
	next := strings.NewReplacer("shop:", "next:", ", one]", ", two]", "to: shop", "to: next", "web:", "site:").Replace(with)
	_, service, _ := strings.Cut(next, "services:\n")
	service, _, _ = strings.Cut(service, "frontends:")
	n := start(t, strings.Replace(with, "frontends:", service+"frontends:", 1))
	n.whole("shop", 2)
	n.whole("next", 2)
	kept, slow := dialKept(t, port), dialKept(t, port)
	for _, c := range []*keptConn{kept, slow} {
		c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		c.wants("one ")
	}
	slow.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel")
	must(t, n.apply(next))
	n.until("the service has gone", func(s api.Status) bool { return len(s.Service("shop").Instances) == 0 })
	slow.send("lo")
	kept.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	for _, c := range []*keptConn{kept, slow} {
		c.wants("two ")
	}
}

// keptConn is a client that keeps its connection.
type keptConn struct {
	net.Conn

	t  *testing.T
	in *bufio.Reader
}

func dialKept(t *testing.T, port int) *keptConn {
	t.Helper()
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	must(t, err)
	t.Cleanup(func() { c.Close() })
	return &keptConn{Conn: c, t: t, in: bufio.NewReader(c)}
}

func (c *keptConn) send(text string) {
	c.t.Helper()
	_, err := io.WriteString(c, text)
	must(c.t, err)
}

// wants reads an answer, which is not to be the last one.
func (c *keptConn) wants(body string) {
	c.t.Helper()
	resp, err := http.ReadResponse(c.in, nil)
	must(c.t, err)
	got, err := io.ReadAll(resp.Body)
	must(c.t, err)
	if string(got) != body || resp.Close {
		c.t.Errorf("%s %q, close %v; want %q on a connection that goes on", resp.Status, got, resp.Close, body)
	}
}
