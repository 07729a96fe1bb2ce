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

func TestLocalAnswers(t *testing.T) {
	r := newRig(t, func(s *l7.Snapshot) {
		s.Pages = map[string][]byte{"/srv/robots.txt": []byte("User-agent: *\n")}
		web(s, func(f *l7.Frontend) {
			f.Routes = []l7.Route{
				{Path: "/old/", Redirect: &l7.Redirect{URL: "https://new.example/", Status: 308}},
				{Path: "/gone", Respond: &l7.Respond{Status: 410, Body: "gone"}},
				{Path: "/robots.txt", Respond: &l7.Respond{Status: 200, File: "/srv/robots.txt"}},
				{Path: "/shop/", To: "shop"},
			}
		})
	})
	w := r.raw()
	for _, c := range []struct {
		path, body, location string
		status               int
	}{
		{"/old/a?b=1", "", "https://new.example/old/a?b=1", 308},
		{"/gone", "gone", "", 410},
		{"/robots.txt", "User-agent: *\n", "", 200},
		{"/nothing", "404 Not Found\n", "", 404},
		{"/shop/", "503 Service Unavailable\n", "", 503},
		{"/x/../%67one", "gone", "", 410}, // routes see through it
	} {
		w.send("GET " + c.path + " HTTP/1.1\r\nHost: a\r\n\r\n")
		resp, body := w.answer("GET")
		if resp.StatusCode != c.status || body != c.body || resp.Header.Get("Location") != c.location || resp.Header.Get("Date") == "" {
			t.Errorf("%s: %s %q %v", c.path, resp.Status, body, resp.Header)
		}
		if c.status == 503 && resp.Header.Get("Retry-After") == "" {
			t.Error("503 without Retry-After")
		}
	}
}

func TestPlainHTTPIsSentToHTTPS(t *testing.T) {
	r := newRig(t, func(s *l7.Snapshot) {
		web(s, func(f *l7.Frontend) { f.Redirect, f.Routes = "https", nil })
	})
	w := r.raw()
	w.send("GET /a?b HTTP/1.1\r\nHost: Shop.example:8080\r\n\r\n")
	if resp, _ := w.answer("GET"); resp.StatusCode != 308 || resp.Header.Get("Location") != "https://shop.example/a?b" {
		t.Errorf("got %s %v", resp.Status, resp.Header)
	}
	w.send("OPTIONS * HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n")
	if resp, _ := w.answer("GET"); resp.Header.Get("Location") != "https://[::1]/" {
		t.Errorf("got %s %v", resp.Status, resp.Header)
	}
	w.send("GET / HTTP/1.0\r\n\r\n") // which host it means, it does not say
	if resp, _ := w.answer("GET"); resp.Header.Get("Location") != "https://127.0.0.1/" {
		t.Errorf("got %s %v", resp.Status, resp.Header)
	}
}

func TestHTTPSIsFoundAtItsPort(t *testing.T) {
	for _, c := range []struct {
		binds []string
		port  string
	}{
		{[]string{":8443"}, ":8443"},
		{[]string{":8443", "[::1]:8443", "unix:/run/x"}, ":8443"},
		{[]string{":8443", ":443"}, ""},
		{[]string{"unix:/run/x"}, ""},
	} {
		cert := certificate(t, 1, "a", "a.example")
		r := newRig(t, func(s *l7.Snapshot) {
			secure(cert)(s)
			tls := s.Frontends["web"]
			tls.Bind = c.binds
			s.Frontends["secure"] = tls
			web(s, func(f *l7.Frontend) { f.TLS, f.Redirect, f.Routes = nil, "https", nil })
		})
		w := r.raw()
		w.send("GET /a HTTP/1.1\r\nHost: shop.example:8080\r\n\r\n")
		if resp, _ := w.answer("GET"); resp.Header.Get("Location") != "https://shop.example"+c.port+"/a" {
			t.Errorf("%v: got %s %v", c.binds, resp.Status, resp.Header)
		}
	}
}

func TestARedirectLeadsToNoOtherHost(t *testing.T) {
	r := newRig(t, func(s *l7.Snapshot) {
		web(s, func(f *l7.Frontend) {
			f.Routes = []l7.Route{
				{Methods: []string{"GET"}, Redirect: &l7.Redirect{URL: "/", Status: 302}},
				{Redirect: &l7.Redirect{URL: "https://b.example/", Status: 302}},
			}
		})
	})
	for ask, want := range map[string]string{
		"GET //evil.example/x":     "/evil.example/x",
		`GET /\evil.example/x`:     "", // refused
		"GET /a?b=//c":             "/a?b=//c",
		"POST //evil.example/x":    "https://b.example//evil.example/x",
		"OPTIONS *":                "https://b.example/",
		"POST http://evil.example": "https://b.example/",
	} {
		w := r.raw()
		w.send(ask + " HTTP/1.1\r\nHost: a\r\n\r\n")
		if resp, _ := w.answer("GET"); resp.Header.Get("Location") != want {
			t.Errorf("%s: to %s, want %s", ask, resp.Header.Get("Location"), want)
		}
	}
}

func TestRoutesLookAtFields(t *testing.T) {
	r := newRig(t, func(s *l7.Snapshot) {
		web(s, func(f *l7.Frontend) {
			says := func(text string) *l7.Respond { return &l7.Respond{Status: 200, Body: text} }
			f.Routes = []l7.Route{
				{Headers: map[string]string{"X-Canary": "yes", "X-Team": "*"}, Respond: says("both")},
				{Headers: map[string]string{"X-Canary": "yes"}, Respond: says("canary")},
				{Headers: map[string]string{"X-Team": "*"}, Respond: says("team")},
				{Respond: says("other")},
			}
		})
	})
	for fields, want := range map[string]string{
		"":                                  "other",
		"x-canary: yes\r\n":                 "canary",
		"X-Canary: Yes\r\n":                 "other",
		"X-Canary: no\r\nX-CANARY: yes\r\n": "canary",
		"X-Team:\r\n":                       "team",
		"X-Teams: a\r\n":                    "other",
		"X-Team: a\r\nX-Canary: yes\r\n":    "both",
	} {
		w := r.raw()
		w.send("GET / HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n")
		if _, body := w.answer("GET"); body != want {
			t.Errorf("%q: %s, want %s", fields, body, want)
		}
	}
}

func TestNobodyReadyIs503AtOnce(t *testing.T) {
	r := newRig(t, nil, serveHTTP(t, named("a")))
	r.edit(0, func(s *l7.Server) { s.Ready = false })
	if status, _ := r.get("/"); status != 503 {
		t.Errorf("got %d", status)
	}
	if n := r.proxy.Stats().Services["shop"].Nobody; n != 1 {
		t.Errorf("nobody = %d", n)
	}
}

func TestAServerThatFailsIsEjectedAndComesBackWithItsNextStart(t *testing.T) {
	r := newRig(t, func(s *l7.Snapshot) {
		pool(s, func(p *l7.Pool) { p.Balance = backstay.RoundRobin })
	}, serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }), serveHTTP(t, named("good")))
	for range 30 {
		r.get("/")
	}
	s := r.proxy.Stats().Servers["shop-000000"]
	if s.Requests != 5 || s.Ejected == nil || !strings.HasPrefix(s.Ejected.Because, "5 errors in a row, the last: HTTP") {
		t.Errorf("after 30 requests: %+v", s)
	}
	r.edit(0, func(s *l7.Server) { s.Starts++ })
	for range 4 {
		r.get("/")
	}
	if s := r.proxy.Stats().Servers["shop-000000"]; s.Requests != 7 || s.Ejected != nil {
		t.Errorf("after a new start: %+v", s)
	}
	r.edit(0, func(s *l7.Server) { s.Starts++ })
	for range 8 {
		r.get("/")
	}
	if s := r.proxy.Stats().Servers["shop-000000"]; s.Requests != 11 || s.Ejected != nil {
		t.Errorf("4 errors after a start are held against it together with the 2 before: %+v", s)
	}
	got := strings.Join(r.events.kinds(), ", ")
	if got != "ejected shop-000000, reinstated shop-000000" {
		t.Errorf("events: %s", got)
	}
}

func TestASilentServerIsNotWaitedForBetweenBytes(t *testing.T) {
	release := make(chan struct{})
	u := listenRaw(t, func(_ int, c net.Conn, in *bufio.Reader) {
		if _, _, err := request(in); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
			<-release
		}
	})
	t.Cleanup(func() { close(release) })
	r := newRig(t, func(s *l7.Snapshot) {
		route(s, func(rt *l7.Route) { rt.Timeout.Response = backstay.Duration(time.Second) })
	}, u.addr)
	resp, err := r.client().Get(r.url("/"))
	if err != nil {
		return // the cut came before the head was read
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("a whole answer: %q", body)
	}
}
