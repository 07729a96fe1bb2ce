package l7

import (
	"errors"
	"net/http"
	"time"

	"github.com/backstay/backstay/l7/h1"
)

// settle gives the client the answer that came, or the one that stands for it.
func (c *conn) settle(t try) bool {
	switch {
	case t.outcome == answered && c.ex.resp.Upgrade != nil:
		return c.tunnel()
	case t.outcome == answered:
		return c.relay()
	case t.outcome == late:
		return c.sayError(http.StatusGatewayTimeout)
	default:
		return c.sayError(http.StatusBadGateway)
	}
}

// sayError answers with a page instead of a server. The body of the request has
// been read, or the connection ends.
func (c *conn) sayError(status int) bool {
	ex := &c.ex
	keep := c.stopStream() && c.req.KeepAlive && !c.closing.Load()
	a := pageOf(status)
	out := a.append((*ex.out)[:0], time.Now(), keep, string(c.req.Method) == http.MethodHead)
	ex.status, ex.class, ex.sent = status, classOf(status), int64(len(out))
	if err := c.writeAll(out, c.front.stall); err != nil {
		return c.aborted()
	}
	if !keep {
		c.lingers = true
	}
	return keep
}

// settleFault ends a request whose client did not send it to its end.
func (c *conn) settleFault() bool {
	fault := c.fault()
	c.ex.dropUpstream()
	c.stopStream()
	return c.blame(fault)
}

// blame answers a client for what is wrong with its body, and ends the
// connection.
func (c *conn) blame(fault error) bool {
	ex := &c.ex
	c.home().bad.Add(1)
	c.p.refused.requests.count(fault)
	var a answer
	e, broken := errors.AsType[*h1.Error](fault)
	switch {
	case broken:
		a, ex.refused = refusedPage(e), e.Code
	case errors.Is(fault, errTooLarge):
		a, ex.refused = pageOf(http.StatusRequestEntityTooLarge), ruleBody
	case isTimeout(fault):
		a, ex.refused = pageOf(http.StatusRequestTimeout), ruleStall
	default: // it has left
		ex.status, ex.class = statusLeft, classLeft
		return c.aborted()
	}
	ex.status, ex.class = a.status, classOf(a.status)
	ex.sent = c.turnAwayWith(a)
	return false
}
