package l7

import (
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/backstay/backstay/l7/h1"
)

// refuse answers what is no request and ends the connection: what follows has
// no certain reading.
func (c *conn) refuse(err error) bool {
	c.home().bad.Add(1)
	c.p.refused.requests.count(err)
	a, rule := pageOf(http.StatusBadRequest), ""
	if e, ok := errors.AsType[*h1.Error](err); ok {
		a, rule = refusedPage(e), e.Code
	}
	c.front.local.add(classOf(a.status), c.now()-c.since)
	c.logRefused(rule, a.status, c.turnAwayWith(a))
	return false
}

// turnAway answers with a page and ends the connection. It returns how many
// bytes that took.
func (c *conn) turnAway(status int) int64 { return c.turnAwayWith(pageOf(status)) }

func (c *conn) turnAwayWith(a answer) int64 {
	text := a.append(nil, time.Now(), false, false)
	if c.writeAll(text, c.front.stall) == nil {
		c.lingers = true
	}
	return int64(len(text))
}

// Bounds of lingering: a client that has not read its answer yet would lose it
// to the reset that unread bytes cause (RFC 9112, 9.6).
const (
	lingerTime  = time.Second
	lingerBytes = 256 << 10
)

// farewell says that nothing more comes and waits for the client to say so too.
// By then its request is over and counted: a client that takes its time here is
// in nobody's way.
func (c *conn) farewell() {
	if !c.lingers {
		return
	}
	if secure, ok := c.Conn.(*tls.Conn); ok {
		_ = secure.CloseWrite()
	}
	if half, ok := c.raw.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	c.idleSince.Store(leaving)
	_ = c.raw.SetReadDeadline(time.Now().Add(lingerTime))
	for total := 0; total < lingerBytes; {
		n, err := c.raw.Read(*c.small)
		if total += n; err != nil {
			return
		}
	}
}

// reset ends the connection so that the client cannot take what it has for all.
func (c *conn) reset() {
	if tcp, ok := c.raw.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.raw.Close()
}
