package l7

import (
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// What the proxy answers by itself says the status and nothing about the house
// behind it.

// retryAfter is what clients are told to wait when nobody is ready: a restart
// takes less.
const retryAfter = "Retry-After: 1\r\n"

// answer is a local answer.
type answer struct {
	status int
	fields string // whole lines
	body   []byte
}

// page returns the answer that stands for status.
func page(status int) answer {
	text := http.StatusText(status)
	if text == "" {
		text = "Error"
	}
	a := answer{status: status, fields: "Content-Type: text/plain; charset=utf-8\r\n", body: append(strconv.AppendInt(nil, int64(status), 10), " "+text+"\n"...)}
	if status == http.StatusServiceUnavailable {
		a.fields += retryAfter
	}
	return a
}

// pages are those that answer in a hurry.
var pages = func() map[int]answer {
	all := map[int]answer{}
	for _, status := range []int{400, 403, 404, 405, 408, 413, 414, 417, 429, 431, 500, 501, 502, 503, 504, 505} {
		all[status] = page(status)
	}
	return all
}()

func pageOf(status int) answer {
	if a, ok := pages[status]; ok {
		return a
	}
	return page(status)
}

// append writes a as HTTP. Head is for an answer to HEAD: without the body.
func (a *answer) append(dst []byte, now time.Time, keep, head bool) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(a.status), 10)
	dst = append(append(append(dst, ' '), http.StatusText(a.status)...), "\r\nDate: "...)
	dst = append(append(append(dst, httpDate(now)...), "\r\n"...), a.fields...)
	if a.status != http.StatusNoContent && a.status != http.StatusNotModified {
		dst = append(dst, "Content-Length: "...)
		dst = append(strconv.AppendInt(dst, int64(len(a.body)), 10), "\r\n"...)
	}
	if !keep {
		dst = append(dst, "Connection: close\r\n"...)
	}
	dst = append(dst, "\r\n"...)
	if !head && a.status != http.StatusNoContent && a.status != http.StatusNotModified {
		dst = append(dst, a.body...)
	}
	return dst
}

// date is the Date field's value, made once a second.
type date struct {
	second int64
	text   string
}

var lastDate atomic.Pointer[date]

func httpDate(now time.Time) string {
	second := now.Unix()
	if d := lastDate.Load(); d != nil && d.second == second {
		return d.text
	}
	d := &date{second: second, text: now.UTC().Format(http.TimeFormat)}
	lastDate.Store(d)
	return d.text
}

func redirectTo(status int, location string) answer {
	return answer{status: status, fields: "Location: " + location + "\r\n"}
}
