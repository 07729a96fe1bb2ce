package health_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"go.uber.org/goleak"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/health"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server says what to every connection, after it has read something, and then
// keeps it or closes it.
func server(t *testing.T, talk func(net.Conn)) health.Target {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			talk(c)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return target(l.Addr())
}

func target(a net.Addr) health.Target {
	tcp, _ := a.(*net.TCPAddr)
	return health.Target{Address: "127.0.0.1", Port: uint16(tcp.Port)}
}

// says answers text at once.
func says(text string) func(net.Conn) {
	return func(c net.Conn) {
		_, _ = c.Read(make([]byte, 4096))
		_, _ = io.WriteString(c, text)
	}
}

func probe(change func(p *backstay.Probe)) backstay.Probe {
	var p backstay.Probe
	p.SetDefaults()
	p.Timeout = backstay.Duration(5 * time.Second) // far above what loopback takes; those who test it shorten it
	change(&p)
	return p
}

var (
	httpProbe     = probe(func(p *backstay.Probe) { p.HTTP = "/healthz" })
	redisProbe    = probe(func(p *backstay.Probe) { p.Redis = true })
	postgresProbe = probe(func(p *backstay.Probe) { p.Postgres = true })
	tcpProbe      = probe(func(p *backstay.Probe) { p.TCP = true })
)

func errorResponse(code, message string) string {
	body := "SFATAL\x00C" + code + "\x00M" + message + "\x00\x00"
	return "E\x00\x00\x00" + string(rune(len(body)+4)) + body
}

func TestAnswers(t *testing.T) {
	big := strings.Repeat("x", 100<<10)
	for name, c := range map[string]struct {
		p      backstay.Probe
		answer string
		good   bool
		output string // what Output has in it
	}{
		"http 200":             {httpProbe, "HTTP/1.1 200 OK\r\n\r\n", true, "HTTP 200"},
		"http 204 without end": {httpProbe, "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", true, "HTTP 204"},
		"http 503":             {httpProbe, "HTTP/1.1 503 No\r\n\r\n", false, "HTTP 503"},
		"http redirect":        {httpProbe, "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n", true, "HTTP 302"},
		"http 1.0":             {httpProbe, "HTTP/1.0 200 OK\r\n\r\nhello", true, "HTTP 200"},
		"http interim":         {httpProbe, "HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 500 No\r\n\r\n", false, "HTTP 500"},
		"http interim for ever": {
			httpProbe, strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 9) + "HTTP/1.1 200 OK\r\n\r\n", false, "too many interim answers",
		},
		"http huge head":  {httpProbe, "HTTP/1.1 200 OK\r\nX: " + big + "\r\n\r\n", false, "larger than 64 KiB"},
		"http garbage":    {httpProbe, "\x00\x01\x02\r\n\r\n", false, "malformed"},
		"http tls bytes":  {httpProbe, "\x15\x03\x01\x00\x02\x02\x46\r\n", false, "malformed"},
		"http nothing":    {httpProbe, "", false, "closed before it was complete"},
		"http half head":  {httpProbe, "HTTP/1.1 200 OK\r\nX: y\r\n", false, "closed before it was complete"},
		"http bad status": {httpProbe, "HTTP/1.1 99999 OK\r\n\r\n", false, "malformed"},
		"body matches": {
			probe(func(p *backstay.Probe) { p.HTTP, p.Expect.Body = "/", `"ok": *true` }),
			"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n{\"ok\":\r\n6\r\n true}\r\n0\r\n\r\n", true, "HTTP 200",
		},
		"body does not": {
			probe(func(p *backstay.Probe) { p.HTTP, p.Expect.Body = "/", "^ok$" }),
			"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnope", false, "HTTP 200, body does not match",
		},
		"body too late in it": {
			probe(func(p *backstay.Probe) { p.HTTP, p.Expect.Body = "/", "end" }),
			"HTTP/1.1 200 OK\r\n\r\n" + big + "end", false, "body does not match",
		},
		"body pattern broken": {probe(func(p *backstay.Probe) { p.HTTP, p.Expect.Body = "/", "(" }), "", false, "expect.body"},
		"redis pong":          {redisProbe, "+PONG\r\n", true, "PONG"},
		"redis noauth":        {redisProbe, "-NOAUTH Authentication required.\r\n", true, "password"},
		"redis loading":       {redisProbe, "-LOADING Redis is loading the dataset in memory\r\n", false, "LOADING"},
		"redis masterdown":    {redisProbe, "-MASTERDOWN Link with MASTER is down\r\n", false, "MASTERDOWN"},
		"redis other reply":   {redisProbe, ":1\r\n", false, "not Redis"},
		"redis http":          {redisProbe, "HTTP/1.1 400 Bad Request\r\n\r\n", false, "not Redis"},
		"redis long":          {redisProbe, "+" + big, false, "longer"},
		"redis half":          {redisProbe, "+PON", false, "closed"},
		"redis noauthx":       {redisProbe, "-NOAUTHX no\r\n", false, "NOAUTHX"},
		"postgres trust":      {postgresProbe, "R\x00\x00\x00\x08\x00\x00\x00\x00", true, "session has begun"},
		"postgres password":   {postgresProbe, "R\x00\x00\x00\x17\x00\x00\x00\x0aSCRAM-SHA-256\x00\x00", true, "wants to know who asks"},
		"postgres no role":    {postgresProbe, errorResponse("28000", "no role"), true, "28000"},
		"postgres starting":   {postgresProbe, errorResponse("57P03", "the database system is starting up"), false, "starting up"},
		"postgres other auth": {postgresProbe, "R\x00\x00\x00\x08\x00\x00\x00\x63", false, "not PostgreSQL"},
		"postgres huge":       {postgresProbe, "E\x7f\xff\xff\xff", false, "not PostgreSQL"},
		"postgres short":      {postgresProbe, "E\x00\x00\x00\x03", false, "not PostgreSQL"},
		"postgres half":       {postgresProbe, "E\x00\x00\x00\x20SFATAL", false, "closed"},
		"postgres no code":    {postgresProbe, "E\x00\x00\x00\x0cSFATAL\x00\x00", false, "not PostgreSQL"},
		"postgres no end":     {postgresProbe, "E\x00\x00\x00\x0aC57P03", false, "not PostgreSQL"},
		"postgres http":       {postgresProbe, "HTTP/1.1 400 Bad Request\r\n\r\n", false, "not PostgreSQL"},
		"tcp":                 {tcpProbe, "", true, "connected"},
	} {
		t.Run(name, func(t *testing.T) {
			r := health.Ask(t.Context(), c.p, server(t, says(c.answer)))
			if r.Good != c.good || r.Unknown || !strings.Contains(r.Output, c.output) {
				t.Errorf("%+v, want good=%v and %q", r, c.good, c.output)
			}
			checkLine(t, r.Output)
		})
	}
}

func checkLine(tb testing.TB, s string) {
	tb.Helper()
	if len(s) > health.MaxOutput || !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
		tb.Errorf("%d bytes, or not one clean line: %q", len(s), s)
	}
}

// TestSilenceEndsAtTheTimeout is about servers that hold on: no byte, one byte,
// half a head, a body that never ends.
func TestSilenceEndsAtTheTimeout(t *testing.T) {
	body := httpProbe
	body.Expect.Body = "never"
	for name, c := range map[string]struct {
		p      backstay.Probe
		first  string
		output string
	}{
		"http":     {httpProbe, "", "answer: no answer in 50ms"},
		"head":     {httpProbe, "HTTP/1.1 200 OK\r\nX: ", "answer: no answer in 50ms"},
		"body":     {body, "HTTP/1.1 200 OK\r\n\r\nand", "HTTP 200, body: no answer in 50ms"},
		"redis":    {redisProbe, "+", "reply: no answer in 50ms"},
		"postgres": {postgresProbe, "R\x00", "answer: no answer in 50ms"},
	} {
		t.Run(name, func(t *testing.T) {
			hold := make(chan struct{})
			to := server(t, func(conn net.Conn) {
				_, _ = io.WriteString(conn, c.first)
				<-hold
			})
			defer close(hold)
			c.p.Timeout = backstay.Duration(50 * time.Millisecond)
			r := health.Ask(t.Context(), c.p, to)
			if r.Good || r.Unknown || r.Output != c.output {
				t.Errorf("%+v, want %q", r, c.output)
			}
		})
	}
}

func TestSlowBytesDoNotStretchTheTimeout(t *testing.T) {
	p := httpProbe
	p.Timeout = backstay.Duration(100 * time.Millisecond)
	to := server(t, func(c net.Conn) {
		for range 1000 {
			if _, err := io.WriteString(c, "H"); err != nil {
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
	began := time.Now()
	if r := health.Ask(t.Context(), p, to); r.Good {
		t.Errorf("%+v", r)
	}
	if took := time.Since(began); took > time.Second { // ten times what it may take: a guard against hanging
		t.Errorf("took %v", took)
	}
}

func TestNobodyThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	to := target(l.Addr())
	_ = l.Close()
	for _, p := range []backstay.Probe{httpProbe, tcpProbe, redisProbe, postgresProbe} {
		if r := health.Ask(t.Context(), p, to); r.Good || r.Output != "connect: connection refused" {
			t.Errorf("%s: %+v", p.Kind(), r)
		}
	}
}

func TestWhoAskedHasGone(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	asked := make(chan struct{})
	hold := make(chan struct{})
	defer close(hold)
	to := server(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 1))
		close(asked)
		<-hold
	})
	go func() { <-asked; cancel() }()
	if r := health.Ask(ctx, httpProbe, to); r.Good || !r.Unknown {
		t.Errorf("%+v", r)
	}
}

func TestRequestIsAsTheFileSays(t *testing.T) {
	got := make(chan *http.Request, 1)
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r }))
	defer s.Close()
	p := httpProbe
	p.HTTP, p.Headers = "/a?b=c", map[string]string{"host": "shop.example", "X-Probe": "yes", "user-agent": "me"}
	if r := health.Ask(t.Context(), p, target(s.Listener.Addr())); !r.Good {
		t.Fatal(r.Output)
	}
	r := <-got
	if r.Host != "shop.example" || r.Header.Get("X-Probe") != "yes" || r.UserAgent() != "me" || r.URL.String() != "/a?b=c" || !r.Close {
		t.Errorf("%+v", r)
	}
}

func TestNothingIsSmuggledIntoTheRequest(t *testing.T) {
	for name, change := range map[string]func(p *backstay.Probe){
		"path":      func(p *backstay.Probe) { p.HTTP = "/ HTTP/1.1\r\nX: y" },
		"no slash":  func(p *backstay.Probe) { p.HTTP = "healthz" },
		"value":     func(p *backstay.Probe) { p.Headers = map[string]string{"X": "a\r\nY: b"} },
		"name":      func(p *backstay.Probe) { p.Headers = map[string]string{"X:": "a"} },
		"no name":   func(p *backstay.Probe) { p.Headers = map[string]string{"": "a"} },
		"zero byte": func(p *backstay.Probe) { p.Headers = map[string]string{"X": "a\x00"} },
	} {
		p := httpProbe
		change(&p)
		// Nobody listens there: a request that was refused never got so far.
		if r := health.Ask(t.Context(), p, health.Target{Address: "127.0.0.1", Port: 1}); r.Good || strings.Contains(r.Output, "connect") {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

type runner struct {
	exit   backstay.Exit
	output string
	err    error
	late   bool
}

func (r runner) Run(ctx context.Context, _, _ string, _ []string) (backstay.Exit, []byte, error) {
	if r.late {
		<-ctx.Done()
	}
	return r.exit, []byte(r.output), r.err
}

func TestExec(t *testing.T) {
	p := probe(func(p *backstay.Probe) {
		p.Exec, p.Timeout = []string{"/bin/check"}, backstay.Duration(20*time.Millisecond)
	})
	for name, c := range map[string]struct {
		run           health.Runner
		good, unknown bool
		output        string
	}{
		"passes":  {runner{exit: backstay.Exit{Known: true}, output: "all\nis well\n"}, true, false, "exited 0: is well"},
		"fails":   {runner{exit: backstay.Exit{Known: true, Code: 2}, output: "no\tway\x1b[2J"}, false, false, "exited 2: no way [2J"},
		"killed":  {runner{exit: backstay.Exit{Known: true, Signal: 9}}, false, false, "killed by SIGKILL"},
		"late":    {runner{exit: backstay.Exit{Known: true, Signal: 9}, late: true}, false, false, "no answer in 20ms"},
		"unknown": {runner{exit: backstay.Exit{}}, false, false, "ended, exit status unknown"},
		"no run":  {runner{err: errors.New("keeper is away")}, false, true, "exec: keeper is away"},
		"nobody":  {nil, false, true, "exec: nobody here runs commands"},
		"huge":    {runner{exit: backstay.Exit{Known: true}, output: strings.Repeat("é", 5000)}, true, false, "exited 0: é"},
	} {
		t.Run(name, func(t *testing.T) {
			r := health.AskWith(t.Context(), p, health.Target{}, c.run)
			if r.Good != c.good || r.Unknown != c.unknown || !strings.HasPrefix(r.Output, c.output) {
				t.Errorf("%+v", r)
			}
			checkLine(t, r.Output)
		})
	}
}

func TestProbeThatAsksNothingOrTwoThingsIsUnknown(t *testing.T) {
	for _, p := range []backstay.Probe{{}, probe(func(p *backstay.Probe) { p.TCP, p.Redis = true, true })} {
		if r := health.Ask(t.Context(), p, health.Target{}); r.Good || !r.Unknown {
			t.Errorf("%+v", r)
		}
	}
}

func TestDescribe(t *testing.T) {
	to := health.Target{Address: "127.0.0.1", Port: 20001}
	for want, p := range map[string]backstay.Probe{
		"http 127.0.0.1:20001/healthz": httpProbe,
		"redis 10.0.0.7:20001":         probe(func(p *backstay.Probe) { p.Redis, p.Address = true, "10.0.0.7" }),
		"tcp [::1]:20001":              probe(func(p *backstay.Probe) { p.TCP, p.Address = true, "::1" }),
		"exec /bin/check":              probe(func(p *backstay.Probe) { p.Exec = []string{"/bin/check", "secret"} }),
		"none":                         {},
	} {
		if got := health.Describe(p, to); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
