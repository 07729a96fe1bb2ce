package l7_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/internal/golden"
	"github.com/backstay/backstay/l7"
)

// api asks the proxy's own handler.
func (r *rig) api(method, path string, body any) (int, string) {
	r.tb.Helper()
	var in []byte
	switch b := body.(type) {
	case string:
		in = []byte(b)
	case nil:
	default:
		in, _ = json.Marshal(b)
	}
	w := httptest.NewRecorder()
	r.proxy.Handler().ServeHTTP(w, httptest.NewRequest(method, path, bytes.NewReader(in)))
	return w.Code, w.Body.String()
}

func TestAStateIsTakenWholeOrRefusedWithItsReason(t *testing.T) {
	r := newRig(t, nil, serveHTTP(t, named("a")))
	good := r.clone()
	good.Gen = 10
	if status, body := r.api("PUT", "/v1/state", good); status != 200 || body != "{\"gen\":10}\n" {
		t.Fatalf("got %d %s", status, body)
	}
	for name, c := range map[string]struct {
		change func(*l7.Snapshot)
		code   string
	}{
		"older":            {func(s *l7.Snapshot) { s.Gen = 9 }, "snapshot_stale"},
		"other kind":       {func(s *l7.Snapshot) { s.Backstay = "deploy" }, "snapshot_kind"},
		"newer program":    {func(s *l7.Snapshot) { s.V = 99 }, "snapshot_too_new"},
		"old program":      {func(s *l7.Snapshot) { s.V = -1 }, "snapshot_too_old"},
		"no pool":          {func(s *l7.Snapshot) { route(s, func(r *l7.Route) { r.To = "shpo" }) }, "snapshot_invalid"},
		"no action":        {func(s *l7.Snapshot) { route(s, func(r *l7.Route) { r.To = "" }) }, "snapshot_invalid"},
		"bad balance":      {func(s *l7.Snapshot) { pool(s, func(p *l7.Pool) { p.Balance = "best" }) }, "snapshot_invalid"},
		"address is none":  {func(s *l7.Snapshot) { pool(s, func(p *l7.Pool) { p.Servers[0].Address = "shop" }) }, "snapshot_invalid"},
		"bound twice":      {func(s *l7.Snapshot) { web(s, func(f *l7.Frontend) { f.Bind = []string{bind, bind} }) }, "snapshot_invalid"},
		"tls without cert": {func(s *l7.Snapshot) { web(s, func(f *l7.Frontend) { f.TLS = &l7.TLS{} }) }, "snapshot_invalid"},
		"page is missing": {func(s *l7.Snapshot) {
			route(s, func(r *l7.Route) { r.To, r.Respond = "", &l7.Respond{Status: 200, File: "/x"} })
		}, "snapshot_invalid"},
		"split header": {func(s *l7.Snapshot) {
			route(s, func(r *l7.Route) { r.To, r.Redirect = "", &l7.Redirect{Status: 308, URL: "http://a/\r\nX: y"} })
		}, "snapshot_invalid"},
	} {
		bad := r.clone()
		bad.Gen = 11
		c.change(&bad)
		status, body := r.api("PUT", "/v1/state", bad)
		var p backstay.Problem
		if err := json.Unmarshal([]byte(body), &p); err != nil || status < 400 || p.Code != c.code || p.What == "" || p.Do == "" {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	for _, text := range []string{"", "{", "[]", `{"backstay":"l7 snapshot","v":1,"gen":"x"}`} {
		if status, _ := r.api("PUT", "/v1/state", text); status != 400 {
			t.Errorf("%q: %d", text, status)
		}
	}
	if got := r.proxy.Generation(); got != 10 {
		t.Errorf("generation %d", got)
	}
	if _, body := r.get("/"); body != "a" {
		t.Errorf("then %q", body)
	}
}

func TestKeysAreNotShown(t *testing.T) {
	cert := certificate(t, 1, "a", "a.example")
	r := newRig(t, secure(cert), serveHTTP(t, named("a")))
	_, body := r.api("GET", "/v1/state", nil)
	var s l7.Snapshot
	if err := json.Unmarshal([]byte(body), &s); err != nil {
		t.Fatal(err)
	}
	if len(s.Certs) != 1 || len(s.Certs[0].PEM) > 0 || len(s.Certs[0].Chain) == 0 || s.Gen != 1 {
		t.Errorf("shown: %+v", s.Certs)
	}
}

func TestDrainIsBoundByWhoAsks(t *testing.T) {
	addr, arrived, open := gated(t)
	r := newRig(t, nil, addr)
	got := make(chan string, 1)
	go func() { _, body := r.get("/"); got <- body }()
	<-arrived
	r.edit(0, func(s *l7.Server) { s.Drain = true })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	w := httptest.NewRecorder()
	r.proxy.Handler().ServeHTTP(w, httptest.NewRequestWithContext(ctx, "POST", "/v1/drain", strings.NewReader(`{"server":"shop-000000","long":false}`)))
	if w.Code != http.StatusGatewayTimeout || !strings.Contains(w.Body.String(), `"timeout"`) {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	close(open)
	<-got
	if status, body := r.api("POST", "/v1/drain", `{"server":"shop-000000","long":true}`); status != 200 {
		t.Errorf("got %d %s", status, body)
	}
	for _, text := range []string{"", "{}", `{"srever":"x"}`, "null"} {
		if status, _ := r.api("POST", "/v1/drain", text); status != 400 {
			t.Errorf("%q: %d", text, status)
		}
	}
}

func TestStatsEventsAndUnknownPaths(t *testing.T) {
	r := newRig(t, nil, serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }), serveHTTP(t, named("good")))
	pool(&r.snap, func(p *l7.Pool) { p.Balance = backstay.RoundRobin })
	r.apply()
	waited := make(chan string, 1)
	go func() { _, body := r.api("GET", "/v1/events?wait=20s", nil); waited <- body }()
	for range 12 {
		r.get("/")
	}
	if body := <-waited; !strings.Contains(body, `"seq":1,`) || !strings.Contains(body, `"kind":"ejected"`) {
		t.Errorf("events: %s", body)
	}
	if _, body := r.api("GET", "/v1/events?after=1", nil); body != "{\"events\":[]}\n" {
		t.Errorf("after the last: %s", body)
	}
	if status, _ := r.api("GET", "/v1/events?after=x", nil); status != 400 {
		t.Errorf("bad number: %d", status)
	}
	_, body := r.api("GET", "/v1/stats", nil)
	var s l7.Stats
	if err := json.Unmarshal([]byte(body), &s); err != nil || s.Servers["shop-000000"].Ejected == nil || s.Releases["shop@1"].Lost != 5 {
		t.Errorf("stats: %s %v", body, err)
	}
	if status, body := r.api("GET", "/v2/everything", nil); status != 404 || !strings.Contains(body, `"code":"not_found"`) {
		t.Errorf("unknown path: %d %s", status, body)
	}
	if status, body := r.api("GET", "/v1/alive", nil); status != 200 || body != "{\"gen\":2}\n" {
		t.Errorf("alive: %d %s", status, body)
	}
}

// Numbers that depend on time are left out of the golden text.
var timed = regexp.MustCompile(`(?m)^(backstay_l7_request_seconds_(?:bucket|sum)\{[^}]*\}) .*$`)

func TestMetricsAreWhatTheyWere(t *testing.T) {
	r := newRig(t, nil, serveHTTP(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/bad" {
			w.WriteHeader(500)
		}
	}))
	w := r.raw()
	for _, path := range []string{"/", "/", "/bad"} {
		w.send("GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n")
		w.answer("GET")
	}
	eventually(t, "three are counted", func() bool { return r.proxy.Stats().Frontends["web"].Requests == 3 })
	_, text := r.api("GET", "/metrics", nil)
	golden.Check(t, filepath.Join("testdata", "metrics.txt"), timed.ReplaceAllString(text, "$1 T"))
}

func TestASnapshotSurvivesTheProxy(t *testing.T) {
	file := filepath.Join(t.TempDir(), "snapshot.json")
	cert := certificate(t, 1, "a", "a.example")
	r := newRig(t, secure(cert), serveHTTP(t, named("a")))
	p := l7.New(l7.Options{SnapshotFile: file})
	if err := p.Apply(t.Context(), r.clone()); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v %v", info, err)
	}
	s, err := l7.ReadSnapshot(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := l7.New(l7.Options{}).Apply(t.Context(), s); err != nil {
		t.Error(err)
	}
	if _, err := l7.ReadSnapshot(file + ".not"); !os.IsNotExist(unwrapAll(err)) {
		t.Errorf("no file: %v", err)
	}
}

func unwrapAll(err error) error {
	for {
		u, ok := err.(interface{ Unwrap() error })
		if !ok || u.Unwrap() == nil {
			return err
		}
		if os.IsNotExist(err) {
			return err
		}
		err = u.Unwrap()
	}
}

func TestTheAccessLogIsJSONAndFollowsItsFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "access.log")
	r := newRig(t, func(s *l7.Snapshot) {
		web(s, func(f *l7.Frontend) { f.AccessLog = &l7.AccessLog{Path: file, Sample: 100, Errors: 100} })
	}, serveHTTP(t, named("a")))
	w := r.raw()
	ask := func() {
		w.send("GET /a\"b?c HTTP/1.1\r\nHost: x\r\nUser-Agent: \x80\"\\\r\n\r\n")
		w.answer("GET")
	}
	lines := func(path string) []string {
		text, _ := os.ReadFile(path)
		return strings.Split(strings.TrimSpace(string(text)), "\n")
	}
	ask()
	eventually(t, "a line", func() bool { return lines(file)[0] != "" })
	var line struct {
		Frontend, Client, Method, Host, Target, Agent, Service, Instance, Release string
		Status, Bytes, Tries                                                      int
	}
	if err := json.Unmarshal([]byte(lines(file)[0]), &line); err != nil {
		t.Fatalf("%v in %s", err, lines(file)[0])
	}
	if line.Target != `/a"b?c` || line.Status != 200 || line.Instance != "shop-000000" || line.Client != "127.0.0.1" || line.Tries != 1 || line.Agent != "\ufffd\"\\" {
		t.Errorf("got %+v", line)
	}
	if err := os.Rename(file, file+".1"); err != nil {
		t.Fatal(err)
	}
	r.proxy.ReopenLogs()
	ask()
	eventually(t, "a line in the new file", func() bool { return len(lines(file)) == 1 && lines(file)[0] != "" })
	if n := len(lines(file + ".1")); n != 1 {
		t.Errorf("%d lines in the old file", n)
	}
}

func TestALogThatCannotBeWrittenIsNoTrafficsTrouble(t *testing.T) {
	file := filepath.Join(t.TempDir(), "not", "there", "access.log")
	r := newRig(t, func(s *l7.Snapshot) {
		web(s, func(f *l7.Frontend) { f.AccessLog = &l7.AccessLog{Path: file, Sample: 100} })
	}, serveHTTP(t, named("a")))
	for range 3 {
		if _, body := r.get("/"); body != "a" {
			t.Errorf("got %q", body)
		}
	}
	eventually(t, "drops are counted", func() bool {
		l := r.proxy.Stats().AccessLog[file]
		return l.Dropped == 3 && l.Because != ""
	})
}

func TestAFullDiskLosesLinesAndNothingElse(t *testing.T) {
	file := filepath.Join(t.TempDir(), "access.log")
	if err := os.Symlink("/dev/full", file); err != nil {
		t.Fatal(err)
	}
	r := newRig(t, func(s *l7.Snapshot) {
		web(s, func(f *l7.Frontend) { f.AccessLog = &l7.AccessLog{Path: file, Sample: 100} })
	}, serveHTTP(t, named("a")))
	for range 3 {
		if _, body := r.get("/"); body != "a" {
			t.Errorf("got %q", body)
		}
	}
	eventually(t, "drops are counted with their reason", func() bool {
		l := r.proxy.Stats().AccessLog[file]
		return l.Dropped == 3 && strings.Contains(l.Because, "no space left")
	})
	if err := os.Remove(file); err != nil { // there is room again
		t.Fatal(err)
	}
	r.get("/")
	eventually(t, "lines are written again", func() bool {
		text, _ := os.ReadFile(file)
		return strings.Count(string(text), "\n") == 1
	})
}

func FuzzDecodeSnapshot(f *testing.F) {
	good, _ := json.Marshal(newSnapshot())
	f.Add(good)
	for _, s := range []string{"", "{}", `{"backstay":"l7 snapshot","v":1}`, `{"backstay":"l7 snapshot","v":1,"frontends":{"a":{"bind":[":1"],"routes":[{"to":"b","timeout":{"connect":"1s"}}]}}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := l7.DecodeSnapshot(text)
		if err != nil {
			return
		}
		_ = l7.New(l7.Options{}).Apply(t.Context(), s) // whatever it says, it is an error or it is served
	})
}
