package h1_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/backstay/backstay/l7/h1"
	"github.com/backstay/backstay/l7/h1/corpus"
)

// outcome is what became of a case, in the words of the corpus.
type outcome struct {
	label  string
	golden string
	rest   []byte // of what was sent, not read
}

func forwardOf(c *corpus.Case) *h1.Forward {
	return &h1.Forward{
		Peer: "192.0.2.7", Proto: "http", Host: "listener.example:8080",
		Trusted: c.Has("trusted"), Expect: true,
	}
}

func refusal(word string, err error) outcome {
	e, ok := errors.AsType[*h1.Error](err)
	switch {
	case !ok:
		return outcome{label: word + " early"}
	case word == "reject":
		return outcome{label: fmt.Sprintf("reject %d %s", e.Status, e.Code)}
	case e.Status != 502:
		return outcome{label: fmt.Sprintf("status %d of a server's fault", e.Status)}
	}
	return outcome{label: word + " " + e.Code}
}

// request does what a proxy does with a request that has come as a whole.
func request(sent []byte, f *h1.Forward) outcome {
	var r h1.Request
	n, err := r.Parse(sent, h1.Limits{})
	if err != nil {
		return refusal("reject", err)
	}
	if err := h1.CheckBody(r.Body, sent[n:]); err != nil {
		return refusal("reject", err)
	}
	body, rest, err := readBody(r.Body, r.Body, sent[n:])
	if err != nil {
		return refusal("reject", err)
	}
	return outcome{"forward" + traits(&r), string(h1.AppendRequest(nil, &r, f)) + string(body), rest}
}

func traits(r *h1.Request) string {
	s := ""
	for _, t := range []struct {
		has  bool
		word string
	}{{!r.KeepAlive, " closes"}, {r.Upgrade != nil, " upgrade"}, {r.Expect, " expect"}} {
		if t.has {
			s += t.word
		}
	}
	return s
}

// readBody reads a body and writes it with another frame.
func readBody(from, to h1.Body, b []byte) (written, rest []byte, err error) {
	switch from.Kind {
	case h1.None:
		return nil, b, nil
	case h1.Length:
		if int64(len(b)) < from.Length {
			return b, nil, h1.ErrIncomplete
		}
		return b[:from.Length], b[from.Length:], nil
	case h1.UntilClose:
		return closeBody(to, writeData(to, nil, b)), nil, nil
	default:
		return readChunks(to, b)
	}
}

func readChunks(to h1.Body, b []byte) (written, rest []byte, err error) {
	var c h1.ChunkReader
	for len(b) > 0 && !c.Done() {
		data, n, err := c.Next(b)
		if err != nil {
			return written, nil, err
		}
		written, b = writeData(to, written, data), b[n:]
	}
	if !c.Done() {
		return written, nil, h1.ErrIncomplete
	}
	return closeBody(to, written), b, nil
}

func writeData(to h1.Body, dst, data []byte) []byte {
	if to.Kind == h1.Chunked {
		return h1.AppendChunk(dst, data)
	}
	return append(dst, data...)
}

func closeBody(to h1.Body, dst []byte) []byte {
	if to.Kind == h1.Chunked {
		return append(dst, h1.LastChunk...)
	}
	return dst
}

// askedBy is the request that a case answers.
func askedBy(c *corpus.Case) *h1.Request {
	var r h1.Request
	if _, err := r.Parse(c.Asked(), h1.Limits{}); err != nil {
		panic(err)
	}
	return &r
}

// answer does what a proxy does with all that a server sends before it closes.
func answer(sent []byte, to *h1.Request) outcome {
	var r h1.Response
	var out []byte
	for {
		n, err := r.Parse(sent, to, h1.Limits{})
		if err != nil {
			return refusal("refuse", err)
		}
		sent = sent[n:]
		if !r.Interim() {
			break
		}
		if to.Minor > 0 && (r.Status != 100 || to.Expect) {
			out = h1.AppendResponse(out, &r, to, true)
		}
	}
	out = h1.AppendResponse(out, &r, to, true)
	if r.Upgrade != nil {
		return outcome{"return tunnel", string(out), sent}
	}
	body, rest, err := readBody(r.Body, r.Down(to), sent)
	out = append(out, body...)
	if err != nil {
		o := refusal("cut", ofAnswer(err))
		o.golden = string(out)
		return o
	}
	return outcome{returned(&r, to, rest), string(out), nil}
}

func ofAnswer(err error) error {
	if e, ok := errors.AsType[*h1.Error](err); ok {
		return e.OfAnswer()
	}
	return err
}

func returned(r *h1.Response, to *h1.Request, rest []byte) string {
	words := []string{"return", "closes", "discards"}
	if r.Keeps(to, true) {
		words[1] = "keeps"
	}
	if r.KeepAlive && len(rest) == 0 {
		words[2] = "reuses"
	}
	return strings.Join(words, " ")
}

func label(c *corpus.Case) string {
	return strings.Join(append([]string{c.Label}, c.Args...), " ")
}

// rendered shows bytes so that a difference can be seen.
func rendered(b []byte) string {
	return strings.ReplaceAll(fmt.Sprintf("%q", bytes.ReplaceAll(b, []byte("\r\n"), []byte("\r\n\x00"))), `\x00`, "\n\t")
}
