package l7_test

import (
	"bufio"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/backstay/backstay/l7"
)

// last is a listener that notes what is done to it, with what else is told.
type last struct {
	net.Listener

	story chan string
}

func (l last) SetDeadline(t time.Time) error {
	l.story <- "deadline"
	return l.Listener.(*net.TCPListener).SetDeadline(t)
}

func (l last) Close() error {
	l.story <- "close"
	return l.Listener.Close()
}

// A listener closes after everybody else has, deafened first, and who is in its
// queue is served. One that a snapshot asks for again by then is not closed.
func TestUnbindClosesLastAndServesTheQueue(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := last{tcp, make(chan string, 16)}
	p := l7.New(l7.Options{
		Log:    slog.New(slog.DiscardHandler),
		Gone:   func(bind string) { l.story <- "gone " + bind },
		Deafen: func(net.Listener) error { l.story <- "deafen"; return nil },
		Hear:   func(net.Conn) error { return nil },
	})
	ended := make(chan error, 1)
	go func() { ended <- p.Run(t.Context(), func() {}) }()
	p.SetListener(bind, l)
	s := newSnapshot()
	route(&s, func(r *l7.Route) { r.To, r.Respond = "", &l7.Respond{Status: 200, Body: "here"} })
	with := s.Frontends
	for i, fronts := range []map[string]l7.Frontend{with, {}, with, {}, {}} {
		s.Gen, s.Frontends = uint64(i+1), fronts
		if err := p.Apply(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		if i == 2 { // it has come back
			p.Unbind(false)
		}
		c, err := net.Dial("tcp", tcp.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		w := &wire{tb: t, Conn: c, in: bufio.NewReader(c)}
		w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if resp, body := w.answer("GET"); body != "here" || resp.Close != (len(fronts) == 0) {
			t.Errorf("generation %d: %q, close %v", s.Gen, body, resp.Close)
		}
	}
	go p.Unbind(false)
	for _, want := range []string{"gone " + bind, "deafen", "deadline"} {
		if got := <-l.story; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	p.Unbind(false) // whoever asks a second time waits for the same end
	select {
	case got := <-l.story:
		if got != "close" {
			t.Errorf("%q, want close", got)
		}
	default:
		t.Error("it is not closed yet")
	}
	if c, err := net.Dial("tcp", tcp.Addr().String()); err == nil {
		c.Close()
		t.Error("its address is still served")
	}
}

// Before the end all listeners close, whatever the snapshot names.
func TestUnbindAllClosesAll(t *testing.T) {
	r := newRig(t, nil, serveHTTP(t, named("a")))
	if status, body := r.api("POST", "/v1/unbind", `{"every":true}`); status != 400 {
		t.Errorf("got %d %s", status, body)
	}
	r.proxy.Unbind(false)
	w := r.raw()
	if status, body := r.api("POST", "/v1/unbind", `{"all":true}`); status != 200 || body != "{\"all\":true}\n" {
		t.Errorf("got %d %s", status, body)
	}
	if c, err := net.Dial("tcp", r.addr); err == nil {
		c.Close()
		t.Error("its address is still served")
	}
	w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if _, body := w.answer("GET"); body != "a" {
		t.Errorf("who was there before: %q", body)
	}
}
