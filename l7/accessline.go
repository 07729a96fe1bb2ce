package l7

import (
	"bytes"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"strconv"
	"time"
	"unicode/utf8"
)

// logged draws whether a line is written, and returns where to; nil is nowhere.
func (f *front) logged(failed bool) *accessLog {
	if f.log == nil {
		return nil
	}
	share := f.says.AccessLog.Sample
	if failed {
		share = max(share, f.says.AccessLog.Errors)
	}
	if share < 100 && rand.Float64()*100 >= float64(share) {
		return nil
	}
	return f.log
}

// logAccess queues the line of the request that has just ended, if it is one of
// those that are logged. It may have lasted longer than the log of its frontend.
func (c *conn) logAccess() {
	c.refresh()
	if l := c.front.logged(c.ex.status >= http.StatusInternalServerError || c.ex.class == classCut); l != nil {
		line := getBuffer(logLines)
		*line = c.appendLine((*line)[:0])
		l.put(line)
	}
}

// logRefused queues the line of what was refused before it was a request, by the
// rule of that name: all that is known of it is how it begins.
func (c *conn) logRefused(rule string, status int, sent int64) {
	l := c.front.logged(false)
	if l == nil {
		return
	}
	b := getBuffer(logLines)
	*b = c.appendBegin((*b)[:0], c.front, c.addr)
	*b = appendJSON(append(*b, `,"line":`...), firstLine(c.in[:c.n]))
	*b = appendEnd(*b, status, sent, c.now()-c.since)
	*b = append(appendJSON(append(*b, `,"refused":`...), rule), "}\n"...)
	l.put(b)
}

// firstLine returns the first line of b that is not empty.
func firstLine(b []byte) []byte {
	b = bytes.TrimLeft(b, "\r\n")
	if end := bytes.IndexAny(b, "\r\n"); end >= 0 {
		b = b[:end]
	}
	return b
}

// appendBegin writes the beginning of any line.
func (c *conn) appendBegin(b []byte, f *front, client netip.Addr) []byte {
	b = time.Now().UTC().AppendFormat(append(b, `{"time":"`...), "2006-01-02T15:04:05.000000Z")
	b = appendJSON(append(b, `","frontend":`...), f.name)
	b = client.AppendTo(append(b, `,"client":"`...))
	return appendJSON(append(b, `","proto":`...), c.proto)
}

// appendEnd writes what came of it and how long that took, in nanoseconds.
func appendEnd(b []byte, status int, sent, took int64) []byte {
	b = strconv.AppendInt(append(b, `,"status":`...), int64(status), 10)
	b = strconv.AppendInt(append(b, `,"bytes":`...), sent, 10)
	return strconv.AppendFloat(append(b, `,"seconds":`...), float64(took)/1e9, 'f', 6, 64)
}

// appendLine writes the request as one JSON object.
func (c *conn) appendLine(b []byte) []byte {
	ex := &c.ex
	b = c.appendBegin(b, ex.front, c.q.client)
	b = appendJSON(append(b, `,"method":`...), c.req.Method)
	b = appendJSON(append(b, `,"host":`...), c.req.Authority)
	b = appendJSON(append(b, `,"target":`...), c.req.Target)
	if agent, ok := c.req.Get("user-agent"); ok {
		b = appendJSON(append(b, `,"agent":`...), agent)
	}
	b = appendEnd(b, ex.status, ex.sent, c.p.now()-ex.began)
	if ex.refused != "" {
		b = appendJSON(append(b, `,"refused":`...), ex.refused)
	}
	if m := ex.member; m != nil {
		b = appendJSON(append(b, `,"service":`...), m.service)
		b = appendJSON(append(b, `,"instance":`...), m.id)
		b = appendJSON(append(b, `,"release":`...), m.series.release)
		b = strconv.AppendInt(append(b, `,"tries":`...), int64(len(ex.tried)), 10)
	}
	if ex.class == classCut {
		b = append(b, `,"cut":true`...)
	}
	if ex.aborted {
		b = append(b, `,"aborted":true`...)
	}
	return append(b, "}\n"...)
}

const hexDigits = "0123456789abcdef"

// appendJSON writes s, of which at most logField bytes, as a JSON string. What
// is not UTF-8 is written as the character that stands for it.
func appendJSON[T string | []byte](b []byte, s T) []byte {
	s = s[:min(len(s), logField)]
	b = append(b, '"')
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ' || c == 0x7f:
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		case c < utf8.RuneSelf:
			b = append(b, c)
		default:
			r, n := utf8.DecodeRuneInString(string(s[i:min(len(s), i+utf8.UTFMax)]))
			b = utf8.AppendRune(b, r)
			i += n
			continue
		}
		i++
	}
	return append(b, '"')
}
