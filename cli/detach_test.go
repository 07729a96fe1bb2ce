package cli_test

import (
	"context"
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/api/apitest"
	"github.com/backstay/backstay/cli"
)

// endless is a backend whose deploys and logs go on until nobody listens.
type endless struct {
	*apitest.Backend

	lines chan struct{} // one for each line sent
}

func (b endless) Watch(ctx context.Context, _, _ string, _ int, line func(api.Progress) error) error {
	return b.forever(ctx, func(n int) error {
		return line(api.Progress{N: n, Text: "waiting", Deploy: &api.Deploy{Service: "shop", To: "shop@3", State: api.DeployRolling}})
	})
}

func (b endless) Logs(ctx context.Context, _ api.LogQuery, line func(api.LogLine) error) error {
	return b.forever(ctx, func(int) error { return line(api.LogLine{Instance: "shop-11aa11", Text: "tick"}) })
}

func (b endless) forever(ctx context.Context, line func(n int) error) error {
	for n := 1; ; n++ {
		if err := line(n); err != nil {
			return err
		}
		select {
		case b.lines <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// run runs a command line against a backend until it ends.
func run(ctx context.Context, t *testing.T, dir string, args ...string) (code backstay.ExitCode, out, talk string) {
	t.Helper()
	var o, e strings.Builder
	s := &cli.Surroundings{In: strings.NewReader(""), Out: &o, Err: &e, Getenv: func(string) string { return "" }}
	code = cli.Run(ctx, s, slices.Concat([]string{"--run-dir", dir, "--state-dir", dir}, args))
	return code, o.String(), e.String()
}

func serve(t *testing.T, b api.Backend) (dir string) {
	t.Helper()
	dir = t.TempDir()
	apitest.ServeAt(t, b, api.Actor{Name: "ann"}, filepath.Join(dir, "api.sock"))
	return dir
}

// ^C leaves a deploy going on and says how to see and to undo it; it ends what
// only follows.
func TestInterrupt(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		code backstay.ExitCode
		says string
	}{
		"deploy": {[]string{"deploy", "shop"}, backstay.ExitTimeout, "backstay abort shop"},
		"logs":   {[]string{"logs", "shop", "-f"}, backstay.ExitOK, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := endless{apitest.New(), make(chan struct{})}
			dir := serve(t, b)
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				<-b.lines
				cancel()
			}()
			code, _, talk := run(ctx, t, dir, c.args...)
			if code != c.code || !strings.Contains(talk, c.says) {
				t.Errorf("status %d, says %q", code, talk)
			}
			for _, asked := range b.Asked() {
				if strings.HasPrefix(asked, "abort") {
					t.Errorf("^C asked for %q", asked)
				}
			}
		})
	}
}

// A deploy waits for the running one as long as it was told, and no longer.
func TestDeployWaits(t *testing.T) {
	b := endless{apitest.New(), make(chan struct{}, 1<<20)}
	b.State.Services[1].Deploy.State = api.DeployRolling
	code, _, talk := run(t.Context(), t, serve(t, b), "deploy", "shop", "--wait", "50ms")
	if code != backstay.ExitTimeout || !strings.Contains(talk, "has not ended in time") {
		t.Errorf("status %d: %s", code, talk)
	}
	if asked := b.Asked(); len(asked) > 0 {
		t.Errorf("asked %q", asked)
	}
}

// ends is a backend whose running deploy ends when it is watched.
type ends struct{ *apitest.Backend }

func (b ends) Watch(ctx context.Context, service, id string, after int, line func(api.Progress) error) error {
	b.Change(func(b *apitest.Backend) { b.State.Services[1].Deploy.State = api.DeployDone })
	return b.Backend.Watch(ctx, service, id, after, line)
}

// The end of the running deploy lets the next one begin.
func TestDeployFollowsTheRunningOne(t *testing.T) {
	b := ends{apitest.New()}
	b.State.Services[1].Deploy.State = api.DeployRolling
	b.Steps = []api.Progress{{N: 1, Text: "done", Final: true, Deploy: &api.Deploy{Service: "shop", To: "shop@3", State: api.DeployDone}}}
	code, out, talk := run(t.Context(), t, serve(t, b), "deploy", "shop", "--wait", "1m", "--version", "v3")
	if code != backstay.ExitOK || len(b.Asked()) != 1 || !strings.HasPrefix(out, "shop@3: done") {
		t.Errorf("status %d, asked %q, %s%s", code, b.Asked(), out, talk)
	}
}

// What watches shows one value after another until it is told to end.
func TestWatchStatus(t *testing.T) {
	dir := serve(t, apitest.New())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	frames := 0
	out := writer(func(b []byte) {
		var st api.Status
		if err := json.Unmarshal(b, &st); err != nil || st.Generation != 4 {
			t.Errorf("frame %q: %v", b, err)
		}
		if frames++; frames == 2 {
			cancel()
		}
	})
	s := &cli.Surroundings{Out: out, Err: &strings.Builder{}, Getenv: func(string) string { return "" }}
	if code := cli.Run(ctx, s, []string{"--run-dir", dir, "status", "-w", "-o", "json"}); code != backstay.ExitOK || frames != 2 {
		t.Errorf("status %d after %d frames", code, frames)
	}
}

type writer func([]byte)

func (w writer) Write(b []byte) (int, error) { w(b); return len(b), nil }
