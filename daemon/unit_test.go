package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/config"
	"github.com/backstay/backstay/internal/hosttest"
	"github.com/backstay/backstay/internal/keeperwire"
	"github.com/backstay/backstay/internal/nettest"
	"github.com/backstay/backstay/registry"
)

// recorder keeps events.
type recorder struct{ all []backstay.Event }

func (r *recorder) Record(e backstay.Event) { r.all = append(r.all, e) }

func parse(t *testing.T, text string) *config.File {
	t.Helper()
	f, err := config.ParseIn(nil, "x.yaml", []byte(text))
	must(t, err)
	return f
}

// Each override of a service is by whom that one was, and since when; a file that
// knew one name for all is read.
func TestTwoOverridesOfAServiceHaveTwoAuthors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "overrides.json")
	must(t, os.WriteFile(path, []byte(`{"backstay":"overrides","v":1,"services":{"shop":{"replicas":3,"by":"ann","at":"2026-01-02T03:04:05Z"}}}`), 0o600))
	o := openOverrides(path)
	must(t, o.set("shop", "bob", func(v *override) { v.Stopped = true }))
	all := overridesOf("shop", openOverrides(path).of("shop"), config.Service{})
	if len(all) != 2 || all[0].What != "replicas" || all[0].By != "ann" || all[0].Since.Year() != 2026 || all[0].Since.Month() != 1 ||
		all[1].What != "stopped" || all[1].By != "bob" || all[1].Since.Equal(all[0].Since) {
		t.Errorf("%+v", all)
	}
}

// An override is by whom it was, since when it was, until it is another; the
// file ends it by saying the same.
func TestOverridesKeepWhoAndWhen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "overrides.json")
	o := openOverrides(path)
	n := 3
	must(t, o.set("shop", "ann", func(v *override) { v.Replicas = &n }))
	was := o.of("shop")
	must(t, o.set("shop", "bob", func(v *override) { v.Replicas = &n }))
	if now := o.of("shop"); now.By != "ann" || !now.At.Equal(was.At) {
		t.Errorf("the same again: %+v, was %+v", now, was)
	}
	must(t, o.set("shop", "bob", func(v *override) { v.Stopped = true }))
	must(t, o.restore("shop", was))
	again := openOverrides(path)
	if now := again.of("shop"); now.By != "ann" || !now.At.Equal(was.At) || now.Stopped {
		t.Errorf("restored: %+v, was %+v", now, was)
	}
	var told recorder
	o.settle(parse(t, "schema: 1\nservices: { shop: { run: { exec: [/bin/x] }, replicas: 2 } }\n"), &told)
	if len(told.all) != 0 || o.of("shop").empty() {
		t.Error("the file says something else, and the override is gone")
	}
	o.settle(parse(t, "schema: 1\nservices: { shop: { run: { exec: [/bin/x] }, replicas: 3 } }\n"), &told)
	if len(told.all) != 1 || told.all[0].Kind != backstay.OverrideGone || !o.of("shop").empty() {
		t.Errorf("the file says the same: %+v, %+v", told.all, o.of("shop"))
	}
}

// What cannot be written leaves the overrides as they were, in memory too.
func TestOverrideThatCannotBeKeptIsNone(t *testing.T) {
	dir := t.TempDir()
	o := openOverrides(filepath.Join(dir, "gone", "overrides.json"))
	err := o.set("shop", "ann", func(v *override) { v.Stopped = true })
	if codeOf(err) != "disk" || !o.of("shop").empty() {
		t.Errorf("%v, %+v", err, o.of("shop"))
	}
}

// The number of a file is above that of all before, also of those that were in
// force before the host was restarted; a text alone is no good file.
func TestGenerationsGrowAndTextsAloneAreNotGood(t *testing.T) {
	dir := t.TempDir()
	c := configs{dir: filepath.Join(dir, "configs"), force: filepath.Join(dir, "config.json")}
	must(t, os.Mkdir(c.dir, 0o700))
	if got := c.nextGen(nil); got != 1 {
		t.Errorf("the first is %d", got)
	}
	must(t, c.keepText(kept{Digest: "aaaaaaaa"}, []byte("a")))
	if _, _, err := c.last(); err == nil {
		t.Error("a text that was never in force is the last good one")
	}
	for i := range keptConfigs + 5 {
		k := kept{Digest: strings.Repeat(string(rune('a'+i)), 8), Gen: c.nextGen(nil), At: time.Unix(int64(i), 0), Source: "file"}
		must(t, c.keepText(k, []byte("x")))
		must(t, c.keep(k))
	}
	if got := c.nextGen(nil); got != keptConfigs+6 {
		t.Errorf("generation %d, want %d", got, keptConfigs+6)
	}
	files, _ := filepath.Glob(c.dir + "/*")
	if len(files) != 2*keptConfigs {
		t.Errorf("%d files are kept, want %d", len(files), 2*keptConfigs)
	}
	must(t, os.WriteFile(c.force, []byte(`{"backstay":"config","v":2}`), 0o600))
	if _, _, err := c.inForce(); err == nil || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("a newer file: %v", err)
	}
}

// What a keeper refuses has a code of the API.
func TestRefusalsOfTheKeeperAreProblems(t *testing.T) {
	ref := backstay.NewRef("instance", "shop-7f3a9c")
	for want, err := range map[string]error{
		"not_found":   &keeperwire.Msg{Kind: keeperwire.Err, Code: "no_slot", Text: "there is no shop-7f3a9c"},
		"not_running": &keeperwire.Msg{Kind: keeperwire.Err, Code: "not_running", Text: "x"},
		"internal":    &keeperwire.Msg{Kind: keeperwire.Err, Code: "bad_spec", Text: "no spec"},
		"keeper_gone": context.DeadlineExceeded,
		"stopped":     &backstay.Problem{Code: "stopped"},
	} {
		got := codeOf(problemOf(ref, errors.Join(err)))
		if got != want {
			t.Errorf("%v: %s, want %s", err, got, want)
		}
		if _, known := api.Lookup(got); !known {
			t.Errorf("%s is no code of the API", got)
		}
	}
}

// Who may not apply a file gets no command of it run by planning it: the agent
// is root.
func TestPlanOfOthersRunsNothing(t *testing.T) {
	dir := t.TempDir()
	o := Options{File: dir + "/x.yaml", Dirs: DirsIn(dir), Log: slog.New(slog.DiscardHandler)}
	must(t, o.Dirs.make())
	a, err := newAgent(o)
	must(t, err)
	defer a.bus.Close()
	text := "schema: 1\nservices: { shop: { run: { exec: [/bin/true], user: \"USER\", env: { X: \"${secret.x}\" } }, ports: { http: auto } } }\nsecrets: { x: { command: [/usr/bin/touch, DIR/ran] } }\n"
	text = (&node{T: t, dir: dir}).fill(text)
	ask := api.ConfigAsk{Name: "x.yaml", Text: []byte(text), By: api.Actor{UID: 4711, PID: 1}}
	p, err := a.Plan(t.Context(), ask)
	if err != nil || len(p.Changes) == 0 || len(p.Notes) == 0 {
		t.Fatalf("plan: %+v, %v", p, err)
	}
	ask.By = api.Actor{} // nobody knows who
	_, err = a.Plan(t.Context(), ask)
	must(t, err)
	if exists(dir + "/ran") {
		t.Fatal("a command of a file was run for somebody who may not apply it")
	}
	ask.By = api.Actor{UID: uint32(os.Geteuid()), PID: 1}
	_, err = a.Plan(t.Context(), ask)
	must(t, err)
	if !exists(dir + "/ran") {
		t.Error("the plan of one who may apply it has not read the secret")
	}
}

// The proxy is told nothing of the agent's environment that may be a secret, and
// has the group of its user.
func TestProxyGetsNoSecretOfTheAgent(t *testing.T) {
	t.Setenv("DB_PASSWORD", "sesame")
	t.Setenv("CREDENTIALS_DIRECTORY", "/run/credentials/x")
	t.Setenv("TZ", "UTC")
	a := &agent{Options: Options{Dirs: DirsIn("/x")}}
	s, err := a.proxySpec(account{4711, 4712, true}, nil)
	must(t, err)
	text := strings.Join(s.Env, "\n")
	if strings.Contains(text, "sesame") || strings.Contains(text, "CREDENTIALS") || !strings.Contains(text, "TZ=UTC") {
		t.Errorf("environment: %s", text)
	}
	if !s.SetIDs || s.UID != 4711 || s.GID != 4712 {
		t.Errorf("ids: %+v", s)
	}
}

// An answer of a proxy that is no longer there tells nothing about the next.
func TestAcknowledgementIsOfOneProcess(t *testing.T) {
	p := newProxy("/x", nil, &board{}, slog.New(slog.DiscardHandler), backstay.Discard)
	e := registry.Endpoint{Instance: "shop-1", Ready: true}
	snap := registry.Snapshot{Endpoints: []registry.Endpoint{e}}
	p.startedAnew(1)
	p.acknowledged(1, 7, snap)
	if !p.knows(e) {
		t.Error("it has acknowledged it")
	}
	drained := e
	drained.Drain = true
	if p.knows(drained) {
		t.Error("it has not heard of the drain")
	}
	p.startedAnew(2)
	if acked, _ := p.generations(); acked != 0 || p.knows(e) {
		t.Error("another process knows nothing")
	}
	p.acknowledged(1, 8, snap)
	if acked, _ := p.generations(); acked != 0 || p.knows(e) {
		t.Error("the answer was of the process before")
	}
}

// Two names of one address are told as such.
func TestOwnAddressIsNamedWhereItIsInTheWay(t *testing.T) {
	l := newLink("/x", slog.New(slog.DiscardHandler))
	l.keep(heldName(":8080"), nil)
	for address, ours := range map[string]bool{"127.0.0.1:8080": true, "[::1]:8080": true, "127.0.0.1:8081": false, "unix:/x": false} {
		err := l.bindProblem(address, errors.New("address already in use"))
		if strings.Contains(err.Error(), "itself listens at :8080") != ours {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// Where a page has a metric already, the one that follows is left out.
func TestMetricsAreNotRepeated(t *testing.T) {
	own := "# HELP a x\n# TYPE a gauge\na 1\n"
	theirs := "# HELP a x\n# TYPE a gauge\na{b=\"c\"} 2\n# HELP d y\n# TYPE d counter\nd 3"
	if got, want := string(without([]byte(theirs), families([]byte(own)))), "# HELP d y\n# TYPE d counter\nd 3"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// Metrics are for this host.
func TestMetricsAreServedOnLoopbackOnly(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", ":0", "192.0.2.1:80", "localhost:0", "nonsense"} {
		a := &agent{Options: Options{Metrics: address}}
		if err := a.serveMetrics(t.Context()); codeOf(err) != "bad_flag_value" {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// What somebody sends is not repeated in a way that drives a terminal.
func TestNonsenseIsShownAsText(t *testing.T) {
	dir := t.TempDir()
	o := Options{File: dir + "/x.yaml", Dirs: DirsIn(dir), Log: slog.New(slog.DiscardHandler)}
	must(t, o.Dirs.make())
	a, err := newAgent(o)
	must(t, err)
	defer a.bus.Close()
	for _, pair := range [][2]string{{"\x1b[31m", "running"}, {"shop@\x1b[31m", "shop@1"}} {
		_, err := a.Diff(t.Context(), pair[0], pair[1])
		if err == nil || strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%q: %q", pair, err)
		}
	}
}

// What a release is made of is told in the keys of the file, and contents by the
// beginnings of their digests alone.
func TestReleasesDifferInKeysOfTheFile(t *testing.T) {
	t.Parallel()
	rel := backstay.Release{
		Version: "v1", Exec: backstay.Exec{Argv: []string{"/srv/x", "-a"}, Env: map[string]string{"A": "b"}, Umask: 0o22},
		Ports: map[string]backstay.Port{"http": {}, "dns": {Number: 53, UDP: true}}, Executable: "0123456789abcdef",
		EnvFiles: map[string][]byte{"/etc/x.env": []byte("PASSWORD=hidden")}, Secrets: map[string]string{"db": "fedcba9876543210"},
	}
	got, err := flat(rel)
	must(t, err)
	for key, want := range map[string]string{
		"version": "v1", "run.exec[0]": "/srv/x", "run.exec[1]": "-a", "run.env.A": "b", "run.umask": "022", "ports.http": "auto", "ports.dns": "53/udp",
		"contents of the program": "01234567", "contents of secret db": "fedcba98",
	} {
		if got[key] != want {
			t.Errorf("%s is %q, want %q", key, got[key], want)
		}
	}
	if all := fmt.Sprint(got); strings.Contains(all, "hidden") || !strings.Contains(all, "contents of /etc/x.env") {
		t.Errorf("%s", all)
	}
	for want, c := range map[string][3]string{
		"k a → b": {"k", "a", "b"}, "k added: b": {"k", "", "b"}, "k taken out, was a": {"k", "a", ""},
	} {
		if got := differs(c[0], c[1], c[2]); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// Liveness may take down as many as a deploy may have missing.
func TestLivenessIsToldHowManyMayBeMissing(t *testing.T) {
	f, err := config.Parse("f.yaml", []byte(strings.Replace((&node{}).fill(versionFile), "min_ready: 100ms", "max_unavailable: 50%", 1)))
	must(t, err)
	if got := services(f)["shop"].MaxUnavailable; got.Of(4, false) != 2 {
		t.Errorf("of four, %d", got.Of(4, false))
	}
}

// What cannot be read is not forgotten, with its text; what can be is, as ever.
func TestKeptFilesOfANewerVersionStay(t *testing.T) {
	dir := t.TempDir()
	c := configs{dir: filepath.Join(dir, "configs"), force: filepath.Join(dir, "config.json")}
	must(t, os.Mkdir(c.dir, 0o700))
	newer := []string{c.path("11111111", ".json"), c.path("11111111", ".yaml"), c.path("22222222", ".json"), c.path("22222222", ".yaml")}
	for i, path := range newer {
		must(t, os.WriteFile(path, []byte([]string{`{"backstay":"config","v":2}`, "", `{"backs`, ""}[i]), 0o600))
	}
	for i := range keptConfigs + 5 {
		text := []byte{byte('a' + i)}
		k := kept{Digest: config.Digest(text), Gen: uint64(i + 1)}
		must(t, errors.Join(c.keepText(k, text), c.keep(k)))
	}
	for _, path := range newer {
		if !exists(path) {
			t.Errorf("%s is gone", path)
		}
	}
	if files, _ := filepath.Glob(c.dir + "/*"); len(files) != 2*keptConfigs+len(newer) {
		t.Errorf("%d files are kept", len(files))
	}
	if k, _, err := c.last(); err != nil || k.Gen != keptConfigs+5 {
		t.Errorf("the last good one is %+v, %v", k, err)
	}
}

// Who is told to ask again is told with the version that was asked for.
func TestAskingAgainNamesTheVersion(t *testing.T) {
	undone := &backstay.Problem{Code: "release_rolled_back", Do: "mend it, or backstay deploy shop --again"}
	for _, c := range []struct {
		ask  api.DeployAsk
		want string
	}{
		{api.DeployAsk{}, "mend it, or backstay deploy shop --again"},
		{api.DeployAsk{Version: "v3"}, "mend it, or backstay deploy shop --version v3 --again"},
		{api.DeployAsk{Reset: true, Version: "v2"}, "mend it, or backstay deploy shop --reset --again"},
	} {
		p := new(backstay.Problem)
		if err := askAgain(undone, c.ask, "v2"); !errors.As(err, &p) || p.Do != c.want {
			t.Errorf("%+v: %v", c.ask, err)
		}
	}
	if err := askAgain(fs.ErrNotExist, api.DeployAsk{Version: "v3"}, "v2"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// A directory of another user is no place for sockets, and the problem says whose
// directory to name.
func TestARunDirectoryOfAnotherUser(t *testing.T) {
	hosttest.NeedRoot(t, "to be another user")
	dir := t.TempDir()
	must(t, os.Chmod(filepath.Dir(dir), 0o755))
	d := DirsIn(dir)
	must(t, d.make())
	for _, dir := range []string{d.Run, d.State, d.Log} {
		must(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			return errors.Join(err, os.Chmod(path, 0o777))
		}))
	}
	nettest.Unprivileged(t)
	p := new(backstay.Problem)
	if err := d.make(); !errors.As(err, &p) || p.Code != "bad_directory" || p.What != "the run directory is another user's" || !strings.Contains(p.Do, "--run-dir") {
		t.Errorf("%v", err)
	}
}
