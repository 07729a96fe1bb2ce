package daemon

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/internal/hosttest"
	"github.com/backstay/backstay/l7"
)

// snapshot is what the proxy was told last, without its number.
func (n *node) snapshot() string {
	n.Helper()
	s, err := l7.ReadSnapshot(filepath.Join(n.opt.Dirs.proxy(), "snapshot.json"))
	must(n, err)
	s.Gen = 0
	text, err := json.MarshalIndent(s, "", " ")
	must(n, err)
	return string(text)
}

// An agent that comes back tells the proxy what the one before has told it: no
// instance is missing for a moment, and none is another.
func TestNewAgentTellsTheProxyTheSame(t *testing.T) {
	t.Parallel()
	n := start(t, shopFile(hosttest.FreePort(t), ""))
	n.whole("shop", 2)
	n.until("everybody told", func(s api.Status) bool { return told(s) == 2 })
	before, gen := n.snapshot(), n.status().Role("proxy").Newest
	var seen sync.Map
	done, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		for {
			seen.Store(n.snapshot(), true)
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	for range 3 {
		n.kill("agent")
		s := n.until("everybody told", func(s api.Status) bool { return told(s) == 2 })
		if now := s.Role("proxy").Newest; now <= gen {
			t.Errorf("snapshot %d after %d: it must grow", now, gen)
		}
	}
	close(done)
	<-watched
	seen.Range(func(s, _ any) bool {
		if s != before {
			t.Errorf("the proxy was told\n%s\nand had\n%s", s, before)
		}
		return true
	})
}

func told(s api.Status) (n int) {
	for _, service := range s.Services {
		for _, i := range service.Instances {
			if i.Server != nil && i.Server.Told {
				n++
			}
		}
	}
	return n
}

const twoFile = `schema: 1
services:
  shop:
    run: { exec: [DIR/prog, serve, "127.0.0.1:${port.http}", one], user: "USER", env: { WORD: "${secret.word}" } }
    ports: { http: auto }
    probes: { readiness: { http: /, period: 200ms, timeout: 200ms } }
    deploy: { min_ready: 100ms, on_failure: pause }
  other:
    run: { exec: [SELF, serve, "127.0.0.1:${port.http}", two], user: "USER" }
    ports: { http: auto }
    deploy: { min_ready: 100ms }
secrets:
  word: { file: DIR/word }
`

func startTwo(t *testing.T) *node {
	t.Helper()
	n := newNode(t)
	must(t, os.WriteFile(n.dir+"/word", []byte("sesame-1\n"), 0o600))
	must(t, os.Link(self, n.dir+"/prog"))
	n.write(twoFile)
	must(t, launchKeeper(t.Context(), n.opt))
	n.whole("shop", 1)
	n.whole("other", 1)
	return n
}

// replace puts another program in the place of prog.
func (n *node) replace() {
	n.Helper()
	text, err := os.ReadFile(self)
	must(n, err)
	must(n, os.WriteFile(n.dir+"/new", append(text, 0), 0o755))
	must(n, os.Rename(n.dir+"/new", n.dir+"/prog"))
}

// What lies on the disk counts when a file is applied or a service deployed. It
// rolls nothing because the agent has died, or because something else is asked.
func TestChangedContentsRollWhenAskedAndNeverElse(t *testing.T) {
	t.Parallel()
	n := startTwo(t)
	id := n.whole("shop", 1).Instances[0].ID
	n.replace()
	must(t, os.WriteFile(n.dir+"/word", []byte("sesame-2\n"), 0o600))
	n.kill("agent")
	two := 2
	_, err := n.client.Scale(t.Context(), "other", &two)
	must(t, err)
	n.whole("other", 2)
	_, err = n.client.Do(t.Context(), "start", "service/shop")
	must(t, err)
	if now := n.whole("shop", 1); now.Release != "shop@1" || now.Instances[0].ID != id {
		t.Fatalf("nobody asked for it: %s, %s; had %s", now.Release, now.Instances[0].ID, id)
	}
	plan, err := n.client.Plan(t.Context(), n.opt.File, []byte(n.fill(twoFile)))
	must(t, err)
	text := fmt.Sprintf("%+v", plan)
	for _, want := range []string{"the contents of secret word have changed", "the contents of " + n.dir + "/prog have changed"} {
		if !strings.Contains(text, want) {
			t.Errorf("plan does not say %q: %s", want, text)
		}
	}
	if strings.Contains(text, "sesame") {
		t.Errorf("plan shows a secret: %s", text)
	}
	_, err = n.client.Deploy(t.Context(), "shop", api.DeployAsk{})
	must(t, err)
	n.until("shop@2", func(s api.Status) bool { return s.Services[1].Release == "shop@2" })
	n.noSecretAnywhere("sesame")
}

// noSecretAnywhere looks through all that was written down or is shown.
func (n *node) noSecretAnywhere(secret string) {
	n.Helper()
	s, err := json.Marshal(n.status())
	must(n, err)
	if bytes.Contains(s, []byte(secret)) {
		n.Error("status shows a secret")
	}
	for _, dir := range []string{n.opt.Dirs.State, n.opt.Dirs.Log, n.opt.Dirs.proxy()} {
		_ = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() || strings.Contains(path, "keeper-") {
				return nil //nolint:nilerr // it has gone meanwhile
			}
			if text, err := os.ReadFile(path); err == nil && bytes.Contains(text, []byte(secret)) {
				n.Errorf("%s holds a secret", path)
			}
			return nil
		})
	}
	procs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range procs {
		if text, err := os.ReadFile(path); err == nil && bytes.Contains(text, []byte(n.dir)) && bytes.Contains(text, []byte(secret)) {
			n.Errorf("%s shows a secret", path)
		}
	}
}

// An agent that cannot read a secret, or finds a program gone, looks after what
// runs all the same, and overrides stand.
func TestAgentComesBackToAHostThatHasLostThings(t *testing.T) {
	t.Parallel()
	n := startTwo(t)
	two := 2
	_, err := n.client.Scale(t.Context(), "other", &two)
	must(t, err)
	_, err = n.client.Do(t.Context(), "stop", "service/shop")
	must(t, err)
	n.whole("shop", 0)
	must(t, os.Remove(n.dir+"/word"))
	must(t, os.Remove(n.dir+"/prog"))
	n.kill("agent")
	n.whole("other", 2)
	s := n.status()
	if len(s.Overrides) != 2 || len(s.Services[1].Instances) != 0 {
		t.Errorf("overrides %+v, instances of shop %+v", s.Overrides, s.Services[1].Instances)
	}
	if !slices.ContainsFunc(s.Problems, func(p backstay.Problem) bool { return p.Where == "secrets.word" }) {
		t.Errorf("the lost secret is no problem: %+v", s.Problems)
	}
	if err := n.apply(twoFile); codeOf(err) != "secret_unreadable" && codeOf(err) != "invalid_file" {
		t.Errorf("apply: %v", err)
	}
	n.whole("other", 2)
}

// A file that is broken at boot has the last good one in force, and goes on
// saying so over the death of agents.
func TestLastGoodIsSaidLoudly(t *testing.T) {
	t.Parallel()
	n := start(t, shopFile(hosttest.FreePort(t), ""))
	n.whole("shop", 2)
	gen := n.status().Generation
	ctx := t.Context()
	must(t, n.client.Down(ctx, func(api.Progress) error { return nil }))
	must(t, leave(ctx, n.opt.Dirs))
	n.write("schema: 1\nservices: {")
	must(t, launchKeeper(ctx, n.opt))
	n.until("the last good file", func(s api.Status) bool { return s.Config.Source == "last_good" && s.Config.Refused != nil })
	n.whole("shop", 2)
	n.kill("agent")
	s := n.until("the same", func(s api.Status) bool { return s.Config.Digest != "" })
	if s.Config.Source != "last_good" || s.Config.Refused == nil {
		t.Errorf("after the agent's death: %+v", s.Config)
	}
	if s.Generation <= gen {
		t.Errorf("generation %d after %d: it must grow", s.Generation, gen)
	}
}
