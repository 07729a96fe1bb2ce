package e2e

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/config"
	"github.com/backstay/backstay/internal/hosttest"
)

// How much of each sort of nonsense: 2 000 in all in the short form.
const (
	badFiles = 1100
	badCalls = 600
	badLines = 300
	minCodes = 60
)

const quietShop = `schema: 1
services:
  shop:
    version: v1
    run:
      exec: ["DIR/shop/${version}/shop", --listen, "127.0.0.1:${port.http}", --version, "${version}"]
      user: USER
      env: { GREETING: hello }
      rlimits: { nofile: 1024, core: 0B }
    ports: { http: auto }
    replicas: 2
    probes:
      startup: { http: /healthz, period: 250ms, timeout: 250ms, failure_threshold: 120 }
      readiness: { http: /healthz, period: 1s, timeout: 500ms, headers: { Host: shop.example }, expect: 200-299 }
      liveness: { http: /livez, period: 2s }
    restart: { policy: always, backoff: 100ms..30s, reset_after: 60s, limit: 10/10m }
    stop: { drain: 5s, drain_long: 10s, signal: SIGTERM, grace: 2s }
    logs: { max_size: 64MiB, max_files: 10, on_full: block }
    deploy: { strategy: rolling, max_surge: 1, max_unavailable: 0, min_ready: 300ms, retries: 1, on_failure: rollback, keep_releases: 5 }
    traffic: { balance: p2c, keepalive: 64, outlier: { consecutive_errors: 5, eject: 30s, max_ejected: 50% } }
frontends:
  web:
    bind: ["127.0.0.1:PORT"]
    limits: { header: 64KiB, fields: 200, conns: 20000 }
    timeout: { header: 10s, idle: 75s, body_stall: 20s }
    allow: [127.0.0.0/8]
    routes:
      - { host: [shop.example], path: /old/, redirect: { url: "https://shop.example/", status: 308 } }
      - { path: /gone, respond: { status: 410, body: gone } }
      - { to: shop, timeout: { connect: 2s, response: 30s }, retry: { if: [connect, reset, 502], attempts: 1, budget: 20% } }
`

// hostile is a node with what it must not lose under nonsense.
type hostile struct {
	*node

	random *rand.Rand
	good   string
	before string
	codes  map[string]int
}

// Malformed files, API calls and command lines: no panic, nothing changes, and
// every error says what, where and what to do.
func TestNonsenseChangesNothing(t *testing.T) {
	n := newNode(t)
	n.installShop(map[string]string{"v1": ""})
	h := &hostile{node: n, random: seed(t), codes: map[string]int{}}
	h.good = strings.ReplaceAll(quietShop, "PORT", fmt.Sprint(hosttest.FreePort(t)))
	n.write(h.good)
	h.good = n.fill(h.good)
	n.start()
	n.whole("shop", 2)
	n.settled("shop")
	h.before = h.picture()
	for _, part := range []string{"/configs/", "/deploys/", "/releases/", "shop-", "agent pid"} {
		if !strings.Contains(h.before, part) {
			t.Fatalf("there is no %s in the picture of what must not change:\n%s", part, h.before)
		}
	}
	factor := pick(1, 10)
	h.files(badFiles * factor)
	h.calls(badCalls * factor)
	h.lines(badLines * factor)
	if now := h.picture(); now != h.before {
		t.Errorf("something has changed:\n%s\nwas\n%s", now, h.before)
	}
	if len(h.codes) < minCodes {
		t.Errorf("%d codes were reached, want at least %d: %v", len(h.codes), minCodes, h.codes)
	}
	for _, f := range []string{n.dirs.Log + "/backstay/agent.log", n.dirs.Log + "/backstay/proxy.log"} {
		if text, _ := os.ReadFile(f); bytes.Contains(text, []byte("panic")) {
			t.Errorf("%s tells of a panic", f)
		}
	}
	t.Logf("%d codes", len(h.codes))
}

// picture is all that must not change: what is kept on disk, byte for byte, and
// what runs.
func (h *hostile) picture() string {
	h.t.Helper()
	var b strings.Builder
	for _, sub := range []string{"configs", "deploys", "releases", "identity", "overrides.json"} {
		_ = filepath.WalkDir(filepath.Join(h.dirs.State, sub), func(p string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				text, _ := os.ReadFile(p)
				sum := sha256.Sum256(text)
				fmt.Fprintf(&b, "%s %s\n", strings.TrimPrefix(p, h.dirs.State), hex.EncodeToString(sum[:8]))
			}
			return nil
		})
	}
	s := h.status()
	fmt.Fprintf(&b, "config %s, generation %d\n", s.Config.Digest, s.Generation)
	for _, i := range s.Service("shop").Instances {
		fmt.Fprintf(&b, "%s %s pid %d, %d starts, ready %v, drained %v\n", i.ID, i.State, i.PID, i.Starts, i.Ready, i.Drained)
	}
	for _, r := range s.Roles {
		fmt.Fprintf(&b, "%s pid %d\n", r.Name, r.PID)
	}
	return b.String()
}

// files offers files that are broken: those of config's own corpus, and the good
// one with a few characters, words or lines changed.
func (h *hostile) files(n int) {
	h.t.Helper()
	corpus, _ := filepath.Glob("../config/testdata/*.bad.yaml")
	if len(corpus) < 40 {
		h.t.Fatalf("only %d bad files in config/testdata", len(corpus))
	}
	for _, name := range corpus {
		text, err := os.ReadFile(name)
		if err != nil {
			h.t.Fatal(err)
		}
		h.offer(text)
	}
	h.refused(n-len(corpus), func() bool {
		text := mutate(h.random, []byte(h.good))
		if _, err := config.Parse("mutant.yaml", text); err == nil {
			return false // some mutants are still good
		}
		h.offer(text)
		return true
	})
}

// refused calls try until it was refused n times: what means something does not
// count.
func (h *hostile) refused(n int, try func() bool) {
	h.t.Helper()
	const patience = 20
	refused := 0
	for tries := 0; refused < n; tries++ {
		if tries > patience*n {
			h.t.Fatalf("of %d tries %d were refused, want %d", tries, refused, n)
		}
		if try() {
			refused++
		}
	}
}

// offer applies a text that must be refused.
func (h *hostile) offer(text []byte) {
	h.t.Helper()
	status, body := h.call(http.MethodPut, "/v1/config?name=bad.yaml", map[string]string{"Content-Type": "application/yaml"}, text)
	if status < 400 {
		if _, err := config.Parse("bad.yaml", text); err == nil {
			h.t.Fatalf("a good file was offered by mistake; the test is wrong:\n%s", text)
		}
		h.t.Fatalf("a bad file was taken:\n%s", text)
	}
	var r api.Refusal
	if err := json.Unmarshal(body, &r); err != nil {
		h.t.Fatalf("refused with %d and no problem: %q", status, body)
	}
	h.fullyTold(r.Problem, string(text))
	for _, m := range r.Mistakes {
		h.fullyTold(m, string(text))
	}
}

// fullyTold checks that a problem says what, where and what to do.
func (h *hostile) fullyTold(p backstay.Problem, of string) {
	h.t.Helper()
	h.codes[p.Code]++
	if p.Code == "" || p.What == "" || p.Where == "" || p.Do == "" {
		h.t.Errorf("not fully told: %+v\nabout %.300q", p, of)
	}
	if p.Code == "internal" {
		h.t.Errorf("a fault of our own: %+v\nabout %.300q", p, of)
	}
}

// mutate changes text in one to three places.
func mutate(random *rand.Rand, text []byte) []byte {
	text = slices.Clone(text)
	words := []string{"services", "shop", ":", "{", "}", "[", "]", "-1", "0", "9999999999999999999", "30", "yes", "\t", "\x00", "${port.x}", "&a", "*a", "<<", "null", "'", "\"", "\n", "#", "!!str", "é", "\xff", "%", "10/0s", "5s..1s"}
	for range 1 + random.IntN(3) {
		at := random.IntN(len(text) + 1)
		switch random.IntN(4) {
		case 0:
			text = slices.Insert(text, at, []byte(words[random.IntN(len(words))])...)
		case 1:
			end := min(len(text), at+1+random.IntN(12))
			text = slices.Delete(text, at, end)
		case 2:
			if at < len(text) {
				text[at] = byte(random.IntN(256))
			}
		case 3:
			lines := bytes.SplitAfter(text, []byte("\n"))
			i, j := random.IntN(len(lines)), random.IntN(len(lines))
			lines[i], lines[j] = lines[j], lines[i]
			text = bytes.Join(lines, nil)
		}
	}
	return text
}

// call sends one request to the agent's socket as it is.
func (h *hostile) call(method, path string, head map[string]string, body []byte) (int, []byte) {
	h.t.Helper()
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: backstay\r\nConnection: close\r\nContent-Length: %d\r\n", method, path, len(body))
	for k, v := range head {
		fmt.Fprintf(&b, "%s: %s\r\n", k, v)
	}
	b.WriteString("\r\n")
	b.Write(body)
	status, text, err := h.raw(method, b.Bytes())
	if err != nil {
		h.t.Fatalf("%s %s: %v\n%s", method, path, err, h.story())
	}
	return status, text
}

// raw sends bytes and reads an answer, if one comes.
func (h *hostile) raw(method string, text []byte) (int, []byte, error) {
	c, err := net.DialTimeout("unix", h.dirs.API(), hang)
	if err != nil {
		return 0, nil, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(hang))
	go func() { _, _ = c.Write(text) }()
	resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, body, err
}

// calls makes API calls that mean nothing.
func (h *hostile) calls(n int) {
	h.t.Helper()
	methods := []string{"GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "get", "BREW"}
	names := []string{"shpo", "..", "%2e%2e", "shop-000000", "SHOP", "a/b", strings.Repeat("x", 300), "%00", "ü", "-", "1"}
	verbs := []string{"deploy", "rollback", "pause", "resume", "abort", "scale", "releases", "history", "progress", "fly", "", "deploy/../stop"}
	bodies := []string{"", "{", "[]", "null", `{"replicas":"many"}`, `{"replicas":-1}`, `{"replicas":1e9}`, `{"x":1}`, `{"version":"v1","version":"v2"}`, `{"version":"../../etc"}`, `{"to":-5}`, `{"again":"yes"}`, "\xff\xfe", strings.Repeat("[", 5000), `{"version":"` + strings.Repeat("v", 70000) + `"}`}
	queries := []string{"", "?x=1", "?ref=service/nothing", "?ref=", "?ref=a/b/c/d", "?tail=-1", "?tail=x", "?since=yesterday", "?after=zzz", "?from=a&to=b", "?follow=maybe", "?name=" + strings.Repeat("n", 400), "?ref=service/shop&ref=service/shop"}
	h.refused(n, func() bool {
		method := methods[h.random.IntN(len(methods))]
		var path string
		switch h.random.IntN(4) {
		case 0:
			path = "/v1/services/" + names[h.random.IntN(len(names))] + "/" + verbs[h.random.IntN(len(verbs))]
		case 1:
			path = "/v1/instances/" + names[h.random.IntN(len(names))] + "/" + []string{"restart", "drain", "undrain", "start", "stop"}[h.random.IntN(5)]
		case 2:
			path = "/v1/" + []string{"why", "events", "logs", "diff", "configs", "status", "validate", "plan", "nothing", "version", ""}[h.random.IntN(11)] + queries[1+h.random.IntN(len(queries)-1)]
		default:
			path = []string{"/", "/v2/status", "//v1/status", "/v1/services", "/v1/services/shop", "/v1/services/shop/scale", "/v1/services/shop/rollback", "/v1/services/shop/pause", "/v1/services/shop/resume", "/v1/services/shop/abort", "/v1/config"}[h.random.IntN(11)]
		}
		body := bodies[h.random.IntN(len(bodies))]
		if path == "/v1/services/shop/scale" && method == "PUT" && body == "null" || strings.HasPrefix(path, "/v1/events?") && strings.Contains(path, "follow") {
			return false // these mean something
		}
		head := map[string]string{}
		if h.random.IntN(2) == 0 {
			head["Content-Type"] = []string{"application/json", "text/html", "application/yaml", ""}[h.random.IntN(4)]
		}
		if h.random.IntN(6) == 0 {
			head["If-Match"] = "zz"
		}
		return h.oneCall(method, path, head, body)
	})
	for _, text := range []string{"", "\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "\x16\x03\x01\x02\x00\x01", "GET /v1/status HTTP/1.1\r\n\r\n", "GET /v1/status HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", strings.Repeat("A", 100000) + "\r\n\r\n"} {
		if text != "" {
			_, _, _ = h.raw(http.MethodGet, []byte(text+"\r\n\r\n"))
		}
	}
}

// oneCall makes a call and reports whether it was refused.
func (h *hostile) oneCall(method, path string, head map[string]string, body string) bool {
	h.t.Helper()
	status, text := h.call(method, path, head, []byte(body))
	if status < 400 || method == "HEAD" {
		return false // it meant something, and only reads: the picture would show otherwise
	}
	var p backstay.Problem
	if err := json.Unmarshal(text, &p); err != nil {
		h.t.Errorf("%s %.200s answered %d without a problem: %.200q", method, path, status, text)
		return true
	}
	h.fullyTold(p, method+" "+path+" "+body)
	return true
}

// told reports whether an error says what is wrong and what to do, as text or as
// JSON.
func told(errs string) bool {
	text := strings.HasPrefix(errs, "backstay: ") || strings.Contains(errs, "\nbackstay: ")
	return text && strings.Contains(errs, "\n  do ") || strings.Contains(errs, `"what": `) && strings.Contains(errs, `"do": `)
}

// lines runs command lines that mean nothing.
func (h *hostile) lines(n int) {
	h.t.Helper()
	commands := []string{"status", "why", "logs", "deploy", "rollback", "pause", "resume", "abort", "releases", "history", "diff", "scale", "restart", "drain", "undrain", "events", "validate", "plan", "apply", "statsu", "", "--", "-", "fly"}
	args := []string{"shpo", "shop-zzzzzz", "service/none", "--nonsense", "-x", "--output", "-o", "xml", "--version", "", "-n", "many", "--since", "yesterday", "/nonexistent.yaml", "/dev/null", "-1", "99999999999999999999", "shop@0", "shop@x", "--to", "\x1b[31m", "--wait", "5", "ü", strings.Repeat("y", 5000)}
	h.refused(n, func() bool {
		line := []string{commands[h.random.IntN(len(commands))]}
		for range h.random.IntN(4) {
			line = append(line, args[h.random.IntN(len(args))])
		}
		out, errs, status := h.cli(line...)
		all := out + errs
		if strings.Contains(all, "panic:") || strings.Contains(all, "goroutine ") {
			h.t.Errorf("backstay %q panicked: %s", line, all)
		}
		if strings.Contains(errs, "\x1b[31m") {
			h.t.Errorf("backstay %q repeats what drives a terminal: %q", line, errs)
		}
		if status != 0 && status != int(backstay.ExitChanges) && !told(errs) {
			h.t.Errorf("backstay %q ended with %d and does not say what to do: %q", line, status, errs)
		}
		return status != 0 && status != int(backstay.ExitChanges)
	})
}
