package config_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/config"
)

// hang is when a file counts as one that never ends: a hundred times what the
// worst one takes.
const hang = 30 * time.Second

// FuzzParse: no bytes make it panic or hang; what is refused says what, where
// and what to do; what loads once loads again and is the same.
func FuzzParse(f *testing.F) {
	for _, name := range corpus(f, "*.yaml", 200) {
		f.Add(read(f, name))
	}
	f.Fuzz(func(t *testing.T, text []byte) { judge(t, text) })
}

// FuzzExpand: whatever expands, expands the same when the version is put in
// first, as it is for a release.
func FuzzExpand(f *testing.F) {
	for _, s := range []string{"", "$", "$$", "$${", "${version}", "a${port.http}b", "$$${version}", "${", "${version.}", "$${version}${version}"} {
		f.Add(s)
	}
	look := func(kind, name string) (string, error) { return kind + "." + name, nil }
	f.Fuzz(func(t *testing.T, s string) {
		once, err := config.Expand(s, look)
		first := config.ExpandVersion(s, "version.")
		twice, err2 := config.Expand(first, look)
		if once != twice || (err == nil) != (err2 == nil) {
			t.Errorf("%q is %q, %v; with the version first %q, then %q, %v", s, once, err, first, twice, err2)
		}
	})
}

// TestMutantsOfGoodFilesSayWhy breaks good files in 2000 ways. Set
// BACKSTAY_SEED to see those of another seed.
func TestMutantsOfGoodFilesSayWhy(t *testing.T) {
	seed := uint64(1)
	if s := os.Getenv("BACKSTAY_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	t.Logf("BACKSTAY_SEED=%d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // not a secret
	files := corpus(t, "*.good.yaml", 12)
	full := read(t, "testdata/full.good.yaml") // most keys have most to go wrong
	refused, reached := 0, map[string]bool{}
	for range 2000 {
		text := read(t, files[rnd.IntN(len(files))])
		if rnd.IntN(2) == 0 {
			text = full
		}
		for range 1 + rnd.IntN(4) {
			text = mutate(rnd, text)
		}
		e := judge(t, text)
		if e == nil {
			continue
		}
		refused++
		for _, m := range e.Found {
			reached[m.Code] = true
		}
	}
	t.Logf("%d of 2000 refused, %d codes", refused, len(reached))
	if refused < 1000 || len(reached) < 60 {
		t.Errorf("the mutants are too tame: %d refused, %d codes", refused, len(reached))
	}
}

// judge holds text against what every text is promised, and returns its
// mistakes; nil if it is good.
func judge(t *testing.T, text []byte) *config.Error {
	t.Helper()
	start := time.Now()
	f, err := config.ParseIn(newFake(0), "x.yaml", text)
	if took := time.Since(start); took > hang {
		t.Errorf("%q takes %s", text, took)
	}
	if err == nil {
		again(t, f, text)
		return nil
	}
	e := new(config.Error)
	if f != nil || !errors.As(err, &e) || len(e.Found) == 0 {
		t.Fatalf("%q: %v, %v", text, f, err)
	}
	codes, lines := config.Codes(), strings.Count(string(text), "\n")+1
	for i, m := range e.Found {
		nowhere := m.Line == 0 && m.Code != "empty_file" && m.Code != "too_large"
		if !slices.Contains(codes, m.Code) || m.What == "" || m.Hint == "" || nowhere || m.Line > lines || m.Line > 0 && m.Column < 1 {
			t.Errorf("%q: mistake %+v", text, m)
		}
		if i > 0 && m.Line < e.Found[i-1].Line {
			t.Errorf("%q: line %d is told after line %d", text, m.Line, e.Found[i-1].Line)
		}
	}
	tellable(t, e)
	return e
}

// tellable refuses messages that would drive a terminal or are no JSON.
func tellable(t *testing.T, e *config.Error) {
	t.Helper()
	if i := strings.IndexFunc(e.Error(), func(r rune) bool { return r < ' ' && r != '\n' || r >= 0x7f && r < 0xa0 }); i >= 0 {
		t.Errorf("the message holds %q at %d:\n%q", e.Error()[i], i, e.Error())
	}
	text, err := json.Marshal(e)
	var back []backstay.Problem
	if err == nil {
		err = json.Unmarshal(text, &back)
	}
	if err != nil || len(back) != len(e.Found) {
		t.Fatalf("%s: %v", text, err)
	}
	for _, p := range back {
		if p.Code == "" || p.What == "" || p.Where == "" || p.Do == "" {
			t.Errorf("problem %+v", p)
		}
	}
}

// again loads a good file a second time, without its host, and makes its releases.
func again(t *testing.T, f *config.File, text []byte) {
	t.Helper()
	same, err := config.ParseIn(nil, "x.yaml", text)
	if err != nil || config.Dump(f) != config.Dump(same) || len(config.Diff(f, same)) > 0 {
		t.Fatalf("%q loads as something else: %v, %v", text, config.Diff(f, same), err)
	}
	look := func(kind, name string) (string, error) { return kind + name, nil }
	for _, name := range f.ServiceNames() {
		r, err := config.ReleaseOf(f, name, "")
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		for _, s := range append(append([]string{r.Exec.Dir}, r.Exec.Argv...), r.Exec.EnvFile...) {
			if _, err := config.Expand(s, look); err != nil {
				t.Errorf("%q: %v", text, err)
			}
		}
	}
}

// odd are words that mean something elsewhere in the file, or nowhere.
var odd = strings.Fields(`30 30s -1 0 007 1e9 99999 1.5 true yes null ~ [] {} "" '' auto shop 80/udp 5% 10/10m 1s..2s 3MiB *x &x
	!!str ${version} ${port.http} ${secret.db-url} ${env.HOME} ${ $${x} /x ../x :80 [::1]:80 unix:/x vip/a:80 rolling canary always
	SIGTERM SIGFOO GET get https *.example.com EXAMPLE.com root nobody <<: services: shop: run: exec: --- ... %YAML # , ] } : ? - |`)

// keys are lines that do no good in most places.
var keys = strings.Split(strings.TrimSpace(`
watchdog: 10s
replicas: 0
user: nobody
user: slow
version: "a/b"
ready: probe
depends_on: { shop: ready, cache: completed, shp: started }
ports: { http: 8080, dns: 53/udp }
stop: { signal: TERM, grace: 30, drain: 1d }
probes: { liveness: {}, readiness: { tcp: true, http: /x, timeout: 1m }, startup: { http: x, expect: { body: "(" } } }
deploy: { strategy: recreate, max_surge: 0, progress_deadline: 1s }
traffic: { balance: maglev, keepalive: -1 }
env: { LISTEN_FDS: "1", A-B: x, C: "\x00", D: "${secret.x}" }
env_file: [/etc/shop/broken-env, /etc/shop/locked]
rlimits: { files: 1 }
groups: [adm, adm]
routes: []
redirect: https
bind: [":80", ":80", "*:1", 0.0.0.0:443]
host: ["*", EXAMPLE.com]
path: img
methods: [get]
headers: { "a b": x, X: " y", x: z }
clients: [10.0.0.1]
to: shp
port: web
respond: { status: 204, body: x, file: x }
redirect: { url: "x y", status: 200 }
retry: { if: [200, x], attempts: 99, per_try_timeout: 2h }
tls: { certs: [{ cert: /etc/tls/shop.pem, key: /etc/tls/other.key }, { cert: /etc/shop/env, key: /etc/tls/open.key }] }
access_log: { path: x }
limits: { header: 1B, conns: 0 }
x: { file: x, env: "=", credential: a/b, command: [] }`), "\n")

// mutate returns text with one thing changed.
func mutate(rnd *rand.Rand, text []byte) []byte {
	lines := strings.SplitAfter(string(text), "\n")
	i, j := rnd.IntN(len(lines)), rnd.IntN(len(lines))
	words := strings.Fields(lines[i])
	switch rnd.IntN(10) {
	case 0:
		lines[i] = ""
	case 1:
		lines[i] += lines[i]
	case 2:
		lines[i], lines[j] = lines[j], lines[i]
	case 3:
		lines[i] = " " + lines[i]
	case 4, 5, 6: // another word in place of one
		if len(words) > 0 {
			word := words[rnd.IntN(len(words))]
			lines[i] = strings.Replace(lines[i], word, odd[rnd.IntN(len(odd))], 1)
		}
	case 7: // a letter less
		if n := len(lines[i]); n > 0 {
			k := rnd.IntN(n)
			lines[i] = lines[i][:k] + lines[i][k+1:]
		}
	case 9: // another key beside one
		indent := lines[i][:len(lines[i])-len(strings.TrimLeft(lines[i], " "))]
		lines[i] += indent + keys[rnd.IntN(len(keys))] + "\n"
	case 8: // any byte anywhere
		k := rnd.IntN(len(lines[i]) + 1)
		lines[i] = lines[i][:k] + fmt.Sprintf("%c", rune(rnd.IntN(256))) + lines[i][k:]
	}
	return []byte(strings.Join(lines, ""))
}
