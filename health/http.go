package health

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/backstay/backstay"
)

// The most that is read of an answer, whatever it announces.
const (
	maxHead = 64 << 10 // status line and fields, interim answers included
	maxBody = 64 << 10 // as the file says of expect.body
)

// maxInterim bounds 1xx answers before the one that counts.
const maxInterim = 5

// askHTTP sends one GET on a connection of its own and reads as much of the
// answer as decides. Redirects are answers like any other.
func askHTTP(ctx context.Context, p backstay.Probe, target Target) Result {
	body, err := pattern(p.Expect.Body)
	if err != nil {
		return bad(err.Error())
	}
	request, err := get(p, target)
	if err != nil {
		return bad(err.Error())
	}
	conn, err := dial(ctx, p, target)
	if err != nil {
		return bad(told(p, "connect", err))
	}
	defer conn.Close()
	defer closeOnEnd(ctx, conn)()
	if _, err := conn.Write(request); err != nil {
		return bad(told(p, "send", err))
	}
	return judgeHTTP(conn, p, body)
}

// judgeHTTP reads one answer from r and says whether it is as expected.
func judgeHTTP(r io.Reader, p backstay.Probe, body *regexp.Regexp) Result {
	limited := &io.LimitedReader{R: r, N: maxHead}
	res, err := readHead(bufio.NewReader(limited))
	if err != nil {
		return bad(headError(p, limited, err))
	}
	defer res.Body.Close()
	said := fmt.Sprintf("HTTP %d", res.StatusCode)
	if !p.Expect.Status.Has(res.StatusCode) {
		return bad(said)
	}
	if body == nil {
		return good(said)
	}
	limited.N = 2 * maxBody // room for the framing of chunks; the body itself is cut below
	content, err := io.ReadAll(io.LimitReader(res.Body, maxBody))
	if err != nil && !body.Match(content) {
		return bad(told(p, said+", body", err))
	}
	if !body.Match(content) {
		return bad(said + ", body does not match expect.body")
	}
	return good(said)
}

// readHead reads the head of the first answer that is not an interim one.
func readHead(r *bufio.Reader) (*http.Response, error) {
	for range maxInterim {
		res, err := http.ReadResponse(r, &http.Request{Method: http.MethodGet})
		if err != nil {
			return nil, err
		}
		if res.StatusCode >= 200 || res.StatusCode == http.StatusSwitchingProtocols {
			return res, nil
		}
	}
	return nil, errors.New("too many interim answers")
}

func headError(p backstay.Probe, limited *io.LimitedReader, err error) string {
	switch {
	case limited.N <= 0:
		return fmt.Sprintf("answer: its head is larger than %d KiB", maxHead>>10)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "answer: closed before it was complete"
	default:
		return told(p, "answer", err)
	}
}

// get returns the bytes of the request. What cannot stand in one is refused: a
// line break in a field would be a second field.
func get(p backstay.Probe, target Target) ([]byte, error) {
	if !strings.HasPrefix(p.HTTP, "/") || strings.ContainsFunc(p.HTTP, notInTarget) {
		return nil, fmt.Errorf("%q is not a path; write it with a leading / and percent-encode the rest", p.HTTP)
	}
	fields := map[string]string{
		"Host": address(p, target), "User-Agent": "backstay-probe", "Accept": "*/*", "Connection": "close",
	}
	for name, value := range p.Headers {
		if !token(name) || strings.ContainsAny(value, "\r\n\x00") {
			return nil, fmt.Errorf("header %q cannot be sent", name)
		}
		fields[http.CanonicalHeaderKey(name)] = value
	}
	return write(p.HTTP, fields), nil
}

func write(path string, fields map[string]string) []byte {
	names := make([]string, 0, len(fields))
	for name := range fields {
		if name != "Host" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	b := fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\n", path, fields["Host"])
	for _, name := range names {
		b = fmt.Appendf(b, "%s: %s\r\n", name, fields[name])
	}
	return append(b, "\r\n"...)
}

func notInTarget(r rune) bool { return r <= ' ' || r >= 0x7f }

// token reports whether name may name a field: RFC 9110, 5.6.2.
func token(name string) bool {
	return name != "" && !strings.ContainsFunc(name, func(r rune) bool {
		return notInTarget(r) || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
}

func pattern(text string) (*regexp.Regexp, error) {
	if text == "" {
		return nil, nil
	}
	re, err := regexp.Compile(text)
	if err != nil {
		return nil, fmt.Errorf("expect.body: %w", err)
	}
	return re, nil
}
