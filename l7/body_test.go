package l7_test

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/l7"
)

// bigBody is a body that no buffer here holds.
func bigBody(n int) string { return strings.Repeat("0123456789abcdef", n/16) }

func TestBodiesOfAnySizeAndFramePassBothWays(t *testing.T) {
	addr := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/length" {
			w.Header().Set("Content-Length", fmt.Sprint(r.ContentLength))
		}
		body, _ := io.ReadAll(r.Body)
		_, _ = w.Write(body)
	})
	r := newRig(t, nil, addr)
	c := r.client()
	for _, size := range []int{0, 16, 4 << 10, 64 << 10, 64<<10 + 16, 3 << 20} {
		for _, method := range []string{"POST", "PUT"} {
			for _, path := range []string{"/length", "/chunked"} {
				body := bigBody(size)
				var in io.Reader = strings.NewReader(body)
				if path == "/chunked" {
					in = io.MultiReader(in) // of a length that nobody knows
				}
				req, _ := http.NewRequest(method, r.url(path), in)
				resp, err := c.Do(req)
				if err != nil {
					t.Fatalf("%s %s %d: %v", method, path, size, err)
				}
				back, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || sha256.Sum256(back) != sha256.Sum256([]byte(body)) {
					t.Errorf("%s %s %d: %d bytes came back, %v", method, path, size, len(back), err)
				}
			}
		}
	}
	if s := r.proxy.Stats(); s.Frontends["web"].Conns > 2 {
		t.Errorf("%d connections for requests one after the other", s.Frontends["web"].Conns)
	}
}

func TestAnAnswerBeforeTheEndOfTheBodyPassesAndEndsTheConnection(t *testing.T) {
	u := listenRaw(t, func(_ int, c net.Conn, in *bufio.Reader) {
		if _, err := http.ReadRequest(in); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
			_, _ = io.CopyN(io.Discard, in, 1<<20)
		}
	})
	r := newRig(t, nil, u.addr)
	w := r.raw()
	w.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\nsome")
	resp, body := w.answer("POST")
	if resp.StatusCode != 413 || body != "big" || !resp.Close {
		t.Errorf("got %s %q close %v", resp.Status, body, resp.Close)
	}
	w.ended()
}

// What is left of a body that was answered early must not stand before the next
// request, which may be somebody else's, even if the server does not close.
func TestAServerThatAnsweredBeforeTheEndOfABodyGetsNoMoreOnThatConnection(t *testing.T) {
	heads := make(chan string, 8)
	u := listenRaw(t, func(_ int, c net.Conn, in *bufio.Reader) {
		for {
			head := ""
			for !strings.HasSuffix(head, "\r\n\r\n") {
				line, err := in.ReadString('\n')
				if err != nil {
					return
				}
				head += line
			}
			heads <- head
			_, _ = io.WriteString(c, ok("early"))
		}
	})
	r := newRig(t, nil, u.addr)
	for range 3 {
		w := r.raw()
		w.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\nsome")
		if resp, body := w.answer("POST"); resp.StatusCode != 200 || body != "early" || !resp.Close {
			t.Errorf("got %s %q close %v", resp.Status, body, resp.Close)
		}
		w.ended()
		if status, body := r.get("/"); status != 200 || body != "early" {
			t.Errorf("then %d %q", status, body)
		}
		for _, want := range []string{"POST / ", "GET / "} {
			if head := comes(t, "a head", heads); !strings.HasPrefix(head, want) {
				t.Errorf("the server reads %q", head)
			}
		}
	}
}

func TestAnAnswerThatEndsWithItsConnectionIsFramedAnew(t *testing.T) {
	u := listenRaw(t, func(_ int, c net.Conn, in *bufio.Reader) {
		if _, _, err := request(in); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\nuntil the end")
		}
	})
	w := newRig(t, nil, u.addr).raw()
	for range 2 { // the client's connection goes on
		w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if resp, body := w.answer("GET"); body != "until the end" || resp.Header.Get("Date") == "" {
			t.Errorf("got %q %v", body, resp.Header)
		}
	}
}

// What a server sends bit by bit arrives bit by bit: nothing waits for more.
func TestAStreamedAnswerIsNotHeldBack(t *testing.T) {
	next := make(chan struct{})
	addr := serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) {
		for i := range 3 {
			fmt.Fprintf(w, "event %d\n", i)
			w.(http.Flusher).Flush()
			<-next
		}
	})
	r := newRig(t, nil, addr)
	resp, err := r.client().Get(r.url("/"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	in := bufio.NewReader(resp.Body)
	for i := range 3 {
		if line, err := in.ReadString('\n'); line != fmt.Sprintf("event %d\n", i) {
			t.Errorf("got %q %v", line, err)
		}
		next <- struct{}{}
	}
}

// A request and its answer may be one conversation.
func TestBodyAndAnswerFlowAtTheSameTime(t *testing.T) {
	addr := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).EnableFullDuplex()
		in := bufio.NewReader(r.Body)
		for {
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			_, _ = io.WriteString(w, strings.ToUpper(line))
			w.(http.Flusher).Flush()
		}
	})
	w := newRig(t, nil, addr).raw()
	w.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nhello\n\r\n")
	resp, err := http.ReadResponse(w.in, nil)
	if err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(resp.Body)
	for _, word := range []string{"HELLO\n", "AGAIN\n", "ONCE MORE\n"} {
		if got, err := in.ReadString('\n'); got != word {
			t.Fatalf("got %q %v", got, err)
		}
		next := map[string]string{"HELLO\n": "6\r\nagain\n\r\n", "AGAIN\n": "a\r\nonce more\n\r\n", "ONCE MORE\n": "0\r\n\r\n"}[word]
		w.send(next)
	}
	if rest, err := io.ReadAll(in); len(rest) > 0 || err != nil {
		t.Errorf("rest %q %v", rest, err)
	}
}

func TestABodyThatBreaksWhileItIsAnsweredEndsBoth(t *testing.T) {
	ended := make(chan error, 1)
	u := listenRaw(t, func(_ int, c net.Conn, in *bufio.Reader) {
		for line := ""; line != "\r\n"; {
			line, _ = in.ReadString('\n')
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
		_, err := io.Copy(io.Discard, in)
		ended <- err
	})
	r := newRig(t, nil, u.addr)
	w := r.raw()
	w.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
	resp, err := http.ReadResponse(w.in, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(resp.Body, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	w.send("zz\r\n")
	if rest, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("the answer ended well, with %q", rest)
	}
	if err := comes(t, "the server is told", ended); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the server was left waiting")
	}
	eventually(t, "it is counted", func() bool { return r.proxy.Stats().Frontends["web"].Classes["cut"] == 1 })
	if s := r.proxy.Stats().Servers["shop-000000"]; s.Failed > 0 {
		t.Errorf("the server is blamed: %+v", s)
	}
}

// half answers with the head and half of a body, and the rest once more is closed.
func half(t *testing.T, more chan struct{}) *upstream {
	t.Helper()
	return listenRaw(t, func(_ int, c net.Conn, in *bufio.Reader) {
		if _, _, err := request(in); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf")
			<-more
			_, _ = io.WriteString(c, "more")
		}
	})
}

func TestAnAnswerThatPausesForLongerThanIdleIsCut(t *testing.T) {
	more := make(chan struct{})
	u := half(t, more)
	t.Cleanup(func() { close(more) })
	r := newRig(t, func(s *l7.Snapshot) {
		route(s, func(rt *l7.Route) { rt.Timeout.Idle = short })
	}, u.addr)
	w := r.raw()
	w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	all, err := io.ReadAll(w.in)
	if strings.HasSuffix(string(all), "more") || os.IsTimeout(err) {
		t.Errorf("came %q, %v", all, err)
	}
	eventually(t, "it is counted", func() bool { return r.proxy.Stats().Frontends["web"].Classes["cut"] == 1 })
}

// A stream of events may have a short time to its first byte and long pauses.
func TestAnAnswerMayPauseForLongerThanItsFirstByteMayTake(t *testing.T) {
	const response = 500 * time.Millisecond
	more := make(chan struct{})
	u := half(t, more)
	r := newRig(t, func(s *l7.Snapshot) {
		route(s, func(rt *l7.Route) { rt.Timeout.Response = backstay.Duration(response) })
	}, u.addr)
	w := r.raw()
	w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	resp, err := http.ReadResponse(w.in, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(resp.Body, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	<-time.After(2 * response) // the pause is what is tried here
	close(more)
	if rest, err := io.ReadAll(resp.Body); err != nil || string(rest) != "more" {
		t.Errorf("after the pause: %q, %v", rest, err)
	}
}

// What is in the buffers in between counts for nothing: the server has not read it.
func TestAnUploadThatItsServerDoesNotReadIs504(t *testing.T) {
	release := make(chan struct{})
	u := listenRaw(t, func(_ int, _ net.Conn, _ *bufio.Reader) { <-release })
	t.Cleanup(func() { close(release) })
	r := newRig(t, func(s *l7.Snapshot) {
		route(s, func(rt *l7.Route) { rt.Timeout.Response = short })
		web(s, func(f *l7.Frontend) { f.Timeout.BodyStall = backstay.Duration(time.Hour) }) // is not about servers
	}, u.addr)
	for _, method := range []string{"PUT", "POST"} {
		w := r.raw()
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			_, _ = io.WriteString(w.Conn, method+" / HTTP/1.1\r\nHost: a\r\nContent-Length: 67108864\r\n\r\n"+bigBody(64<<20))
		}()
		if resp, _ := w.answer(method); resp.StatusCode != 504 {
			t.Errorf("%s: %s", method, resp.Status)
		}
		w.Close()
		<-sent
	}
	eventually(t, "two failures of the server", func() bool {
		s := r.proxy.Stats().Servers["shop-000000"]
		return s.Failed == 2 && s.InFlight == 0
	})
}
