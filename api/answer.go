package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/backstay/backstay"
)

// answer sends v.
func (c *call) answer(v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ") // read by people with curl in an outage
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	c.send(http.StatusOK, b.Bytes())
	return nil
}

func (c *call) send(status int, text []byte) {
	c.begun = true
	h := c.w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	_ = c.rc.SetWriteDeadline(time.Now().Add(writeWithin))
	c.w.WriteHeader(status)
	_, _ = c.w.Write(text) // a client that has gone needs no answer
}

// refuse answers p.
func (c *call) refuse(p *backstay.Problem) { c.refuseAll(&Refusal{Problem: *p}) }

// refuseAll answers r: as the whole answer, or as the last line of a stream.
func (c *call) refuseAll(r *Refusal) {
	if c.begun {
		_ = c.line(tail{r})
		return
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		panic(fmt.Sprintf("encode refusal %v: %v", r, err)) // strings only
	}
	c.send(httpStatus(&r.Problem), append(text, '\n'))
}

// tail is the last line of a stream that did not come to its end.
type tail struct {
	Problem *Refusal `json:"problem"`
}

// stream sends an answer of lines as from tells them. It begins with the first
// line, so that what is refused before has the status of its problem.
func (c *call) stream(from func() error) error {
	if err := from(); err != nil {
		return err
	}
	c.begin()
	return c.flush()
}

func (c *call) begin() {
	if c.begun {
		return
	}
	c.begun = true
	h := c.w.Header()
	h.Set("Content-Type", "application/x-ndjson")
	h.Set("Cache-Control", "no-store")
	c.w.WriteHeader(http.StatusOK)
}

// line sends one line of a stream.
func (c *call) line(v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode line: %w", err)
	}
	c.begin()
	_ = c.rc.SetWriteDeadline(time.Now().Add(writeWithin))
	if _, err := c.w.Write(append(text, '\n')); err != nil {
		return fmt.Errorf("write line: %w", err)
	}
	return c.flush()
}

func (c *call) flush() error {
	if err := c.rc.Flush(); err != nil {
		return fmt.Errorf("write line: %w", err)
	}
	return nil
}
