package l7_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/backstay/backstay/l7"
)

func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	addr := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s", r.URL.Path, body)
	})
	r := newRig(t, nil, addr)
	w := r.raw()
	w.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\n" +
		"POST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" +
		"POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n0\r\n\r\n" +
		"GET /4 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	for _, want := range []string{"/1 ", "/2 abc", "/3 de", "/4 "} {
		if _, body := w.answer("GET"); body != want {
			t.Errorf("got %q, want %q", body, want)
		}
	}
	w.ended()
}

func TestARejectedRequestIsAnsweredOnceAndReachesNobody(t *testing.T) {
	u := listenRaw(t, func(_ int, _ net.Conn, _ *bufio.Reader) { t.Error("a server was asked") })
	r := newRig(t, nil, u.addr)
	for name, text := range map[string]string{
		"both frames": "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"no host":     "GET / HTTP/1.1\r\n\r\n",
		"bare lf":     "GET / HTTP/1.1\nHost: a\n\n",
		"bad chunk":   "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
	} {
		w := r.raw()
		w.send(text + "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
		resp, _ := w.answer("GET")
		if resp.StatusCode != 400 || !resp.Close {
			t.Errorf("%s: %s, close %v", name, resp.Status, resp.Close)
		}
		w.ended()
	}
}

func TestExpectIsAnsweredByTheServer(t *testing.T) {
	addr := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		body, _ := io.ReadAll(r.Body) // net/http sends 100 now
		_, _ = w.Write(body)
	})
	r := newRig(t, nil, addr)
	w := r.raw()
	w.send("POST /yes HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
	if resp, _ := w.answer("POST"); resp.StatusCode != 100 {
		t.Fatalf("got %s before the body", resp.Status)
	}
	w.send("hello")
	if resp, body := w.answer("POST"); resp.StatusCode != 200 || body != "hello" {
		t.Errorf("got %s %q", resp.Status, body)
	}
	w = r.raw()
	w.send("POST /no HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
	if resp, _ := w.answer("POST"); resp.StatusCode != 403 || !resp.Close {
		t.Errorf("got %s, close %v", resp.Status, resp.Close)
	}
}

func TestInterimAnswersPassToThoseWhoKnowThem(t *testing.T) {
	u := listenRaw(t, func(_ int, c net.Conn, in *bufio.Reader) {
		for {
			if _, _, err := request(in); err != nil {
				return
			}
			_, _ = io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"+ok("done"))
		}
	})
	r := newRig(t, nil, u.addr)
	w := r.raw()
	w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if resp, _ := w.answer("GET"); resp.StatusCode != 103 || resp.Header.Get("Link") != "</a.css>" {
		t.Errorf("got %s %v", resp.Status, resp.Header)
	}
	if resp, body := w.answer("GET"); resp.StatusCode != 200 || body != "done" {
		t.Errorf("got %s %q", resp.Status, body)
	}
	w = r.raw()
	w.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n")
	if resp, body := w.answer("GET"); resp.StatusCode != 200 || body != "done" || !resp.Close {
		t.Errorf("1.0 got %s %q", resp.Status, body)
	}
	w.ended()
}

// Sixteen are taken; a server that goes on is not waited for.
func TestInterimAnswersAreCounted(t *testing.T) {
	u := listenRaw(t, func(_ int, c net.Conn, in *bufio.Reader) {
		for {
			req, _, err := request(in)
			if err != nil {
				return
			}
			n, _ := strconv.Atoi(req.URL.Path[1:])
			_, _ = io.WriteString(c, strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", n)+ok("done"))
		}
	})
	r := newRig(t, nil, u.addr)
	for n, want := range map[int]int{16: 200, 17: 502} {
		w := r.raw()
		w.send("GET /" + strconv.Itoa(n) + " HTTP/1.1\r\nHost: a\r\n\r\n")
		for range 16 {
			if resp, _ := w.answer("GET"); resp.StatusCode != 102 {
				t.Fatalf("%d: got %s", n, resp.Status)
			}
		}
		if resp, _ := w.answer("GET"); resp.StatusCode != want {
			t.Errorf("%d: at last %s, want %d", n, resp.Status, want)
		}
	}
}

func TestAnOldClientGetsAnAnswerThatItCanRead(t *testing.T) {
	addr := serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) {
		w.(http.Flusher).Flush() // chunked
		_, _ = io.WriteString(w, "streamed")
	})
	w := newRig(t, nil, addr).raw()
	w.send("GET / HTTP/1.0\r\n\r\n")
	resp, body := w.answer("GET")
	if body != "streamed" || len(resp.TransferEncoding) > 0 || !resp.Close {
		t.Errorf("got %q %v close %v", body, resp.TransferEncoding, resp.Close)
	}
	w.ended()
}

func TestHeadHasNoBodyAndKeepsTheConnection(t *testing.T) {
	addr := serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "7")
		_, _ = io.WriteString(w, "content")
	})
	w := newRig(t, nil, addr).raw()
	w.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
	if resp, _ := w.answer("HEAD"); resp.ContentLength != 7 {
		t.Errorf("length %d", resp.ContentLength)
	}
	w.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if _, body := w.answer("GET"); body != "content" {
		t.Errorf("then %q", body)
	}
}

func TestForwardedFieldsSayWhoAskedUnlessSomebodyTrustedKnowsBetter(t *testing.T) {
	addr := serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		h := r.Header
		fmt.Fprintf(w, "%s|%s|%s", h.Get("X-Forwarded-For"), h.Get("X-Forwarded-Proto"), h.Get("X-Forwarded-Host"))
	})
	const fields = "X-Forwarded-For: 6.6.6.6, 9.9.9.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: shop.example\r\n"
	ask := func(r *rig) string {
		w := r.raw()
		w.send("GET / HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n")
		_, body := w.answer("GET")
		return body
	}
	if got := ask(newRig(t, nil, addr)); got != "127.0.0.1|http|a" {
		t.Errorf("untrusted: %s", got)
	}
	trusting := func(deny string) *rig {
		return newRig(t, func(s *l7.Snapshot) {
			web(s, func(f *l7.Frontend) {
				f.TrustedProxies = prefixes("127.0.0.0/8")
				f.Deny = prefixes(deny)
			})
		}, addr)
	}
	if got := ask(trusting("6.6.6.6/32")); got != "6.6.6.6, 9.9.9.9, 127.0.0.1|https|shop.example" {
		t.Errorf("trusted: %s", got) // 6.6.6.6 is hearsay of 9.9.9.9, so deny does not see it
	}
	if got := ask(trusting("9.9.9.9/32")); got != "403 Forbidden\n" {
		t.Errorf("denied client behind a trusted proxy: %s", got)
	}
}
