package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/api/apitest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var root = api.Actor{UID: 0, Name: "root"}

// raw sends bytes to a socket and returns all that comes back until the answer is
// over.
func raw(t *testing.T, socket, request string) (status int, body string) {
	t.Helper()
	return send(t, socket, request, true)
}

// whole is raw for a request that lacks nothing: its client stays to the end. One
// that has ended its side may be taken for one that has left.
func whole(t *testing.T, socket, request string) (status int, body string) {
	t.Helper()
	return send(t, socket, request, false)
}

func send(t *testing.T, socket, request string, end bool) (status int, body string) {
	t.Helper()
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	if u, ok := c.(*net.UnixConn); ok && end {
		_ = u.CloseWrite()
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("answer to %q: %v", request, err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func request(method, target, body string, headers ...string) string {
	return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: backstay\r\nConnection: close\r\nContent-Length: %d\r\n%s\r\n%s",
		method, target, len(body), strings.Join(append(headers, ""), "\r\n"), body)
}

// problem checks that an answer is a whole problem and returns it.
func problem(t *testing.T, what string, status int, body string) backstay.Problem {
	t.Helper()
	var p backstay.Problem
	if err := json.Unmarshal([]byte(body), &p); err != nil {
		t.Fatalf("%s: %d %q is no problem: %v", what, status, body, err)
	}
	if p.Code == "" || p.What == "" || p.Where == "" || p.Do == "" {
		t.Errorf("%s: lacks something: %+v", what, p)
	}
	row, known := api.Lookup(p.Code)
	if !known || status < 400 || row.HTTP != status {
		t.Errorf("%s: code %q with status %d", what, p.Code, status)
	}
	return p
}

// tooBig has no room in a head nor in a body of a command.
var tooBig = strings.Repeat("x", 70<<10)

// wrongRequests are the code of each, and its bytes.
var wrongRequests = map[string]struct{ code, request string }{
	"garbage":             {"malformed_request", "\x00\x01\x02\r\n\r\n"},
	"no host":             {"malformed_request", "GET /v1/status HTTP/1.1\r\n\r\n"},
	"two lengths":         {"malformed_request", "POST /v1/plan HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx"},
	"long head":           {"head_too_large", "GET /v1/status HTTP/1.1\r\nHost: x\r\nX: " + tooBig + "\r\n\r\n"},
	"bad version":         {"wrong_http_version", "GET /v1/status HTTP/9.9\r\nHost: x\r\n\r\n"},
	"encoding":            {"unsupported_encoding", "POST /v1/plan HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"},
	"expectation":         {"unmet_expectation", "POST /v1/plan HTTP/1.1\r\nHost: x\r\nExpect: cake\r\nContent-Length: 1\r\n\r\nx"},
	"unknown path":        {"unknown_path", request("GET", "/v1/statu", "")},
	"root":                {"unknown_path", request("GET", "/", "")},
	"climbing":            {"unknown_path", request("GET", "/v1/../v1/status", "")},
	"trailing slash":      {"unknown_path", request("GET", "/v1/status/", "")},
	"wrong method":        {"wrong_method", request("DELETE", "/v1/status", "")},
	"head":                {"wrong_method", request("PATCH", "/v1/services/shop/scale", "{}")},
	"bad query":           {"bad_query", request("GET", "/v1/status?a=%zz", "")},
	"semicolon":           {"bad_query", request("GET", "/v1/status?a;b", "")},
	"long query":          {"bad_query", request("GET", "/v1/status?a="+strings.Repeat("x", 5000), "")},
	"unknown parameter":   {"unknown_parameter", request("GET", "/v1/events?folow=true", "")},
	"repeated parameter":  {"repeated_parameter", request("GET", "/v1/events?tail=1&tail=2", "")},
	"missing parameter":   {"missing_parameter", request("GET", "/v1/diff?from=a", "")},
	"bad number":          {"bad_parameter", request("GET", "/v1/events?tail=-1", "")},
	"bad flag":            {"bad_parameter", request("GET", "/v1/events?follow=yes", "")},
	"bad time":            {"bad_parameter", request("GET", "/v1/events?since=yesterday", "")},
	"bad header":          {"bad_header", request("PUT", "/v1/config", "x", "If-Match: W/\"1\"")},
	"wrong media type":    {"wrong_media_type", request("POST", "/v1/services/shop/deploy", "{}", "Content-Type: text/xml")},
	"unexpected body":     {"unexpected_body", request("GET", "/v1/status", "x")},
	"missing body":        {"missing_body", request("POST", "/v1/services/shop/deploy", "")},
	"large body":          {"body_too_large", request("POST", "/v1/services/shop/deploy", tooBig)},
	"large file":          {"body_too_large", request("POST", "/v1/plan", strings.Repeat("x", 1<<20+1))},
	"cut body":            {"body_cut", "POST /v1/services/shop/deploy HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{}"},
	"no object":           {"bad_json", request("POST", "/v1/services/shop/deploy", "[1]")},
	"two objects":         {"bad_json", request("POST", "/v1/services/shop/deploy", "{}{}")},
	"half an object":      {"bad_json", request("POST", "/v1/services/shop/deploy", `{"version":`)},
	"deep":                {"bad_json", request("POST", "/v1/services/shop/deploy", `{"version":`+strings.Repeat("[", 1000)+strings.Repeat("]", 1000)+"}")},
	"unknown field":       {"unknown_field", request("POST", "/v1/services/shop/deploy", `{"versions":"v2"}`)},
	"field in capitals":   {"unknown_field", request("POST", "/v1/services/shop/deploy", `{"Version":"v2"}`)},
	"field twice":         {"repeated_field", request("POST", "/v1/services/shop/deploy", `{"version":"v2","version":"v3"}`)},
	"missing field":       {"missing_field", request("PUT", "/v1/services/shop/scale", `{}`)},
	"wrong type":          {"wrong_type", request("PUT", "/v1/services/shop/scale", `{"replicas":"3"}`)},
	"half a number":       {"wrong_type", request("PUT", "/v1/services/shop/scale", `{"replicas":1.5}`)},
	"negative":            {"bad_value", request("PUT", "/v1/services/shop/scale", `{"replicas":-1}`)},
	"too many":            {"bad_value", request("PUT", "/v1/services/shop/scale", `{"replicas":100000}`)},
	"version climbs":      {"bad_value", request("POST", "/v1/services/shop/deploy", `{"version":"../../etc"}`)},
	"negative release":    {"bad_value", request("POST", "/v1/services/shop/rollback", `{"to":-3}`)},
	"bad name":            {"bad_name", request("POST", "/v1/services/Shop/stop", "")},
	"escaped name":        {"bad_name", request("POST", "/v1/services/sh%2fop/stop", "")},
	"bad instance":        {"bad_name", request("POST", "/v1/instances/-/stop", "")},
	"bad ref":             {"bad_ref", request("GET", "/v1/logs?ref=shop", "")},
	"bad kind":            {"bad_ref", request("GET", "/v1/why?ref=srevice/shop", "")},
	"not there":           {"not_found", request("POST", "/v1/services/nope/stop", "")},
	"ref not there":       {"not_found", request("GET", "/v1/why?ref=service/shp", "")},
	"file changed":        {"changed_meanwhile", request("PUT", "/v1/config", "x", `If-Match: "00000000"`)},
	"no such deploy name": {"bad_parameter", request("GET", "/v1/services/shop/progress?deploy=%2e%2e", "")},
}

// Each wrong request is refused by its own code, and nothing was changed.
func TestWrongRequestsAreToldApart(t *testing.T) {
	b := apitest.New()
	socket := apitest.Serve(t, b, root)
	before := apitest.World()
	seen := map[string]bool{}
	for name, c := range wrongRequests {
		t.Run(name, func(t *testing.T) {
			status, body := raw(t, socket, c.request)
			p := problem(t, name, status, body)
			if p.Code != c.code {
				t.Errorf("code %q, want %q: %s", p.Code, c.code, body)
			}
			seen[p.Code] = true
		})
	}
	if asked := b.Asked(); len(asked) > 0 || !reflect.DeepEqual(b.State, before) {
		t.Errorf("something was changed: %q", asked)
	}
	if len(seen) < 20 {
		t.Errorf("only %d codes", len(seen))
	}
}

// What a field takes is said in words, not in those of Go.
func TestAWrongTypeIsToldInWords(t *testing.T) {
	socket := apitest.Serve(t, apitest.New(), root)
	for _, c := range []struct{ path, body, do string }{
		{"PUT /v1/services/shop/scale", `{"replicas":"3"}`, "send a whole number"},
		{"POST /v1/services/shop/deploy", `{"version":2}`, "send a text"},
		{"POST /v1/services/shop/deploy", `{"again":"yes"}`, "send true or false"},
	} {
		method, path, _ := strings.Cut(c.path, " ")
		status, body := raw(t, socket, request(method, path, c.body))
		if p := problem(t, path, status, body); p.Do != c.do {
			t.Errorf("%s %s: %q, want %q", path, c.body, p.Do, c.do)
		}
	}
}

// An empty file is a file with a mistake, in the words that validate has for it
// where no agent is asked.
func TestAnEmptyFileIsJudgedAsAFile(t *testing.T) {
	b := apitest.New()
	b.Mistake = func(name string, text []byte) error {
		return &backstay.Problem{Code: "invalid_file", What: "the file is empty", Where: name, Do: fmt.Sprint(len(text))}
	}
	socket := apitest.Serve(t, b, root)
	for _, path := range []string{"POST /v1/validate", "POST /v1/plan", "PUT /v1/config"} {
		method, path, _ := strings.Cut(path, " ")
		status, body := raw(t, socket, request(method, path+"?name=x.yaml", ""))
		if p := problem(t, path, status, body); p.What != "the file is empty" || p.Where != "x.yaml" || p.Do != "0" {
			t.Errorf("%s: %+v", path, p)
		}
	}
}

// A user of the socket's group operates; only root and the agent's own user
// change the file; nobody is nobody.
func TestRights(t *testing.T) {
	for name, c := range map[string]struct {
		who           api.Actor
		apply, deploy int
	}{
		"root":  {root, 200, 200},
		"owner": {api.Actor{UID: 1000, Name: "ops"}, 200, 200},
		"group": {api.Actor{UID: 1001, GID: 50, Name: "dev"}, 403, 200},
	} {
		t.Run(name, func(t *testing.T) {
			socket := apitest.Serve(t, apitest.New(), c.who)
			if status, body := raw(t, socket, request("PUT", "/v1/config", "schema: 1")); status != c.apply {
				t.Errorf("apply: %d %s", status, body)
			}
			if status, body := raw(t, socket, request("POST", "/v1/services/shop/deploy", "{}")); status != c.deploy {
				t.Errorf("deploy: %d %s", status, body)
			}
		})
	}
}

// A connection whose other end is not known may read and nothing else.
func TestUnknownPeerChangesNothing(t *testing.T) {
	b := apitest.New()
	h := api.Handler(b, api.Options{Log: quiet(), Owner: 0})
	for target, want := range map[string]int{"/v1/services/shop/stop": 403, "/v1/down": 403} {
		w := serve(h, "POST", target, "")
		if w.Code != want {
			t.Errorf("%s: %d %s", target, w.Code, w.Body)
		}
		problem(t, target, w.Code, w.Body.String())
	}
	if w := serve(h, "GET", "/v1/status", ""); w.Code != 200 {
		t.Errorf("status: %d", w.Code)
	}
	if asked := b.Asked(); len(asked) > 0 {
		t.Errorf("changed: %q", asked)
	}
}

// A panic in the backend is an internal problem, not an end of the agent.
func TestPanicIsAProblem(t *testing.T) {
	b := apitest.New()
	b.Panic = "index out of range"
	socket := apitest.Serve(t, b, root)
	for range 3 {
		status, body := raw(t, socket, request("GET", "/v1/status", ""))
		if p := problem(t, "panic", status, body); p.Code != "internal" || strings.Contains(body, "goroutine") {
			t.Errorf("%d %s", status, body)
		}
	}
}

// What a backend returns as its error has a status and a problem.
func TestErrorsOfTheBackend(t *testing.T) {
	for code, err := range map[string]error{
		"internal": errors.New("read /x: no"), "canceled": context.Canceled, "timeout": context.DeadlineExceeded,
		"disk": fmt.Errorf("apply: %w", &backstay.Problem{Code: "disk", What: "the disk is full", Where: "/var", Do: "free some"}),
	} {
		b := apitest.New()
		b.Fail = err
		status, body := raw(t, apitest.Serve(t, b, root), request("GET", "/v1/status", ""))
		if p := problem(t, code, status, body); p.Code != code {
			t.Errorf("%v: %s", err, body)
		}
	}
}

// A stream that breaks off says why in its last line.
func TestStreamTellsWhyItEnds(t *testing.T) {
	b := apitest.New()
	b.Past = []backstay.Event{{ID: "n1/1/1", Kind: backstay.Adopted}, {ID: "n1/1/2", Kind: backstay.Adopted}}
	b.Broken = 1
	_, body := raw(t, apitest.Serve(t, b, root), request("GET", "/v1/events", ""))
	lines := strings.Split(strings.TrimSpace(body), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], "n1/1/1") || !strings.Contains(lines[1], `{"problem":{"code":"canceled"`) {
		t.Errorf("%q", lines)
	}
}

// Every endpoint answers a right request.
func TestEveryEndpoint(t *testing.T) {
	b := apitest.New()
	b.Steps = []api.Progress{{N: 1, Text: "one", Final: true}}
	socket := apitest.Serve(t, b, root)
	query := map[string]string{"/v1/why": "?ref=shop", "/v1/logs": "?ref=service/shop", "/v1/diff": "?from=shop@1&to=shop@2", "/v1/services/{service}/outcome": "?release=shop@3"}
	bodies := map[string]string{"/v1/services/shop/scale": `{"replicas":4}`, "/v1/services/shop/deploy": `{"version":"v3"}`, "/v1/services/shop/rollback": `{"to":1}`}
	for _, e := range api.Endpoints() {
		path := strings.NewReplacer("{service}", "shop", "{instance}", "shop-11aa11").Replace(e.Path)
		body := bodies[path]
		if body == "" && e.Body != "" {
			body = "schema: 1"
		}
		if status, text := whole(t, socket, request(e.Method, path+query[e.Path], body)); status != 200 {
			t.Errorf("%s %s: %d %s", e.Method, path, status, text)
		}
	}
	if len(b.Asked()) != 19 {
		t.Errorf("%d changes: %q", len(b.Asked()), b.Asked())
	}
}

// 500 mutations of good requests: each answer is a good one or a whole problem,
// and nothing of what was refused was done.
func TestMutatedRequests(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("BACKSTAY_SEED"); s != "" {
		_, _ = fmt.Sscan(s, &seed)
	}
	t.Logf("BACKSTAY_SEED=%d go test ./api -run TestMutatedRequests", seed)
	random := rand.New(rand.NewPCG(seed, 3))
	good := []string{
		request("GET", "/v1/status", ""), request("GET", "/v1/events?tail=5&ref=service/shop", ""), request("GET", "/v1/why?ref=service/shop", ""),
		request("PUT", "/v1/services/shop/scale", `{"replicas":4}`), request("POST", "/v1/services/shop/deploy", `{"version":"v3","again":true}`),
		request("PUT", "/v1/config?name=x.yaml", "schema: 1\nservices: {}\n", `If-Match: "3f9a1c22"`), request("POST", "/v1/instances/shop-11aa11/drain", ""),
	}
	socket := apitest.Serve(t, apitest.New(), root)
	codes := map[string]int{}
	for range 500 {
		text := mutate(random, good[random.IntN(len(good))])
		status, body := raw(t, socket, text)
		if status < 400 {
			continue
		}
		codes[problem(t, fmt.Sprintf("%q", text), status, body).Code]++
	}
	if len(codes) < 5 {
		t.Errorf("only these codes: %v", codes)
	}
}

// mutate changes a few bytes of a request, each in one of the ways in which
// requests go wrong.
func mutate(random *rand.Rand, s string) string {
	b := []byte(s)
	for range 1 + random.IntN(3) {
		at := random.IntN(len(b))
		switch random.IntN(4) {
		case 0:
			b[at] ^= 1 << random.IntN(7)
		case 1:
			b = append(b[:at], b[min(at+1+random.IntN(4), len(b)):]...)
		case 2:
			b = append(b[:at], append([]byte(string(b[at:min(at+6, len(b))])), b[at:]...)...)
		default:
			b[at] = byte(random.IntN(256))
		}
		if len(b) == 0 {
			return "x\r\n\r\n"
		}
	}
	return string(b) + "\r\n\r\n"
}

// Each code used anywhere in this module for a problem has a row.
func TestEveryCodeHasARow(t *testing.T) {
	used := usedCodes(t, "..")
	if len(used) < 40 {
		t.Fatalf("only %d codes found: the search is broken", len(used))
	}
	for code, where := range used {
		if _, ok := api.Lookup(code); !ok {
			t.Errorf("%s: code %q has no row in api/codes.go", where, code)
		}
	}
}

// Each row has its own code, a sentence, and a status that goes with it.
func TestCodesAreSound(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range api.Codes {
		if seen[c.Code] || c.Text == "" || c.Code != strings.ToLower(c.Code) || strings.HasSuffix(c.Text, ".") {
			t.Errorf("%+v", c)
		}
		seen[c.Code] = true
		if c.Exit < 0 || c.Exit > backstay.ExitRefused || c.Exit == backstay.ExitOK {
			t.Errorf("%s: exit %d", c.Code, c.Exit)
		}
	}
}
