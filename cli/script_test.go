package cli_test

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/api/apitest"
	"github.com/backstay/backstay/cli"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"backstay": func() {
		os.Args = append([]string{os.Args[0], "--run-dir", os.Getenv("RUN"), "--state-dir", os.Getenv("STATE"), "--log-dir", os.Getenv("LOGS")}, os.Args[1:]...)
		os.Exit(cli.Main())
	}})
}

// TestScripts runs the command lines of testdata/script against a backend that
// keeps its state in memory. Their own commands are:
//
//	exits N ARGS…    backstay ARGS ends with status N
//	backend WORD     changes the backend
//	asked WORD…      the backend was last asked for this; nothing: for nothing
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", UpdateScripts: os.Getenv("UPDATE") != "",
		Setup: setup,
		Cmds:  map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "backend": change, "asked": asked},
	})
}

type backendKey struct{}

func setup(e *testscript.Env) error {
	for name, dir := range map[string]string{"RUN": "r", "STATE": "s", "LOGS": "l", "NONE": "none"} {
		e.Setenv(name, filepath.Join(e.WorkDir, dir))
	}
	e.Setenv("TZ", "UTC")
	if err := os.Mkdir(e.Getenv("RUN"), 0o755); err != nil {
		return err
	}
	b := apitest.New()
	tb, ok := e.T().(testing.TB)
	if !ok {
		panic("no testing.TB")
	}
	apitest.ServeAt(tb, b, api.Actor{UID: 0, Name: "ann"}, filepath.Join(e.Getenv("RUN"), "api.sock"))
	e.Values[backendKey{}] = b
	return nil
}

// exits runs a command and checks its status.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	if neg || err != nil {
		ts.Fatalf("usage: exits N ARGS…")
	}
	got := 0
	if err := ts.Exec("backstay", args[1:]...); err != nil {
		coded, ok := err.(interface{ ExitCode() int })
		if !ok {
			ts.Fatalf("run backstay: %v", err)
		}
		got = coded.ExitCode()
	}
	if got != want {
		ts.Fatalf("status %d, want %d", got, want)
	}
}

func backendOf(ts *testscript.TestScript) *apitest.Backend {
	b, ok := ts.Value(backendKey{}).(*apitest.Backend)
	if !ok {
		ts.Fatalf("no backend")
	}
	return b
}

// asked checks what the backend was last asked for.
func asked(ts *testscript.TestScript, neg bool, args []string) {
	all := backendOf(ts).Asked()
	want, last := strings.Join(args, " "), ""
	if len(all) > 0 {
		last = all[len(all)-1]
	}
	if (last == want) == neg {
		ts.Fatalf("asked last for %q of %d, want %q", last, len(all), want)
	}
}

// change brings the backend into a state.
func change(ts *testscript.TestScript, _ bool, args []string) {
	backendOf(ts).Change(func(b *apitest.Backend) { changeTo(ts, b, args[0]) })
}

func changeTo(ts *testscript.TestScript, b *apitest.Backend, state string) {
	shop := &b.State.Services[1]
	line := func(n int, text string, final bool, state api.DeployState, reason string) {
		d := api.Deploy{
			ID: "shop-d3", Service: "shop", From: "shop@2", To: "shop@3", Version: "v3", Strategy: "rolling", State: state, Reason: reason,
			Started: apitest.Now, Since: apitest.Now, Of: 3,
		}
		if state.Ended() {
			d.Ended = apitest.Now.Add(11200 * time.Millisecond)
		}
		b.Steps = append(b.Steps, api.Progress{N: n, At: apitest.Now, Text: text, Final: final, State: string(state), Deploy: &d})
	}
	switch state {
	case "dead-instance":
		i := &shop.Instances[0]
		i.State, i.Ready, i.NextStart, i.Failures = backstay.Backoff, false, apitest.Now.Add(3*time.Second), 1
		i.Last = &backstay.Exit{At: apitest.Now, Known: true, Code: 3}
	case "deploy-ends-well":
		line(1, "shop-1c44d0 ready, good", false, api.DeployRolling, "")
		line(2, "3 of 3 replaced", true, api.DeployDone, "")
	case "deploy-dies":
		line(1, "shop-9e01aa exited 3", false, api.DeployRollingBack, "it died")
		line(2, "back at shop@2", true, api.DeployRolledBack, "shop-9e01aa exited 3, 1.5s after it was ready")
		b.Steps[1].Deploy.LastLog = []string{"panic: assignment to entry in nil map"}
	case "deploy-pauses":
		line(1, "shop-1c44d0 ready, good", false, api.DeployPaused, "") // lines come with the deploy as it is now
		line(2, "paused: shop-9e01aa died", true, api.DeployPaused, "a person is asked")
	case "deploy-sticks":
		line(1, "both are ill", true, api.DeployStuck, "shop@2 is not ready either")
	case "apply-follows": // shop@2 is rolling, and shop@3 is wanted
		wanted := func(o api.Outcome, d *api.Deploy) api.Wanted {
			return api.Wanted{Service: "shop", Release: "shop@3", After: "shop-d1", Outcome: o, Deploy: d}
		}
		line(1, "shop-1c44d0 ready, good", true, api.DeployDone, "")
		rolling := api.Deploy{ID: "shop-d2", Service: "shop", From: "shop@1", To: "shop@2", State: api.DeployRolling}
		dead := api.Deploy{ID: "shop-d3", Service: "shop", From: "shop@2", To: "shop@3", State: api.DeployRolledBack, Reason: "it died"}
		b.Wants = []api.Wanted{wanted("", &rolling)}
		b.Outcomes = []api.Wanted{wanted("", nil), wanted("", &dead), wanted(api.OutcomeRolledBack, &dead)}
	case "apply-superseded", "apply-refused", "apply-undone", "apply-waits":
		o := map[string]api.Outcome{
			"apply-superseded": api.OutcomeSuperseded, "apply-refused": api.OutcomeRefused, "apply-undone": api.OutcomeNotTried, "apply-waits": api.OutcomeWaits,
		}[state]
		b.Wants = []api.Wanted{{Service: "shop", Release: "shop@3"}}
		b.Outcomes = []api.Wanted{{Service: "shop", Release: "shop@3", Outcome: o, Why: "shop@4 is wanted now"}}
	case "deploy-superseded":
		line(1, "superseded", true, api.DeploySuperseded, "by shop-d4")
	case "deploy-running":
		shop.Deploy.State = api.DeployRolling
	case "down-ends":
		line(1, "shop: 3 instances draining", false, "", "")
		b.Steps = append(b.Steps, api.Progress{N: 2, At: apitest.Now, Text: "all is stopped", Final: true})
	case "agent-breaks":
		b.Broken = 1
	case "no-file":
		b.Fail = &backstay.Problem{Code: "no_config", What: "there is no file in force", Where: "x.yaml", Do: "apply one"}
	case "bad-file":
		b.Mistake = func(name string, _ []byte) error {
			return &api.Refusal{
				Problem:  backstay.Problem{Code: "invalid_file", What: "1 mistake in " + name, Where: name, Do: "change the line"},
				Mistakes: []backstay.Problem{{Code: "no_unit", What: "30 has no unit", Where: name + ":3:1", Do: "try 30s"}},
				Text:     "shop.yaml:3:1: 30 has no unit\n    3 | grace: 30\n      |        ^ try 30s",
			}
		}
	case "overridden":
		b.State.Overrides = []api.Override{{Ref: "service/shop", What: "version", Value: "v2", File: "v1", By: "ann", Ending: "backstay deploy shop --version v1"}}
	case "notes":
		b.Notes = []string{"shop: shop@2 was rolled back and is not tried again by itself: backstay deploy shop --again"}
	case "lines":
		for n, text := range []string{"listening on :20001", "\x1b[31mpanic\x1b[0m\tat 7"} {
			b.Lines = append(b.Lines, api.LogLine{At: apitest.Before(time.Duration(10-n) * time.Second), Service: "shop", Instance: "shop-11aa11", Stream: []string{"stdout", "stderr"}[n], Text: text})
		}
	case "events":
		b.Past = []backstay.Event{
			{ID: "n1/1/1", At: apitest.Before(time.Minute), Kind: backstay.StateChanged, Ref: "service/shop/shop-11aa11", From: "running", To: "crashed", Because: "exited 3"},
			{ID: "n1/1/2", At: apitest.Now, Kind: backstay.OverrideSet, Ref: "service/shop", Because: "replicas 5", Actor: "ann"},
		}
	default:
		ts.Fatalf("no change %q", state)
	}
}

// hostileLines are typed wrong, by hand or on purpose.
func hostileLines(dir string) [][]string {
	return [][]string{
		{"\x1b[2J"},
		{"status", "\x00"},
		{"---"},
		{"-"},
		{"--=x"},
		{"--output"},
		{"--output", "xml", "status"},
		{"-o=json", "nope"},
		{"deploy"},
		{"deploy", ""},
		{"deploy", "Shop"},
		{"deploy", "../etc"},
		{"deploy", "shop", "extra"},
		{"deploy", "shop", "--wait", "5"},
		{"deploy", "shop", "--wait", "5s", "--supersede"},
		{"deploy", "shop", "--version", "../.."},
		{"deploy", "shop", "--version"},
		{"deploy", "shop", "--version", "v2", "--reset"},
		{"scale", "shop"},
		{"scale", "shop", "-1"},
		{"scale", "shop", "99999999999999999999"},
		{"scale", "shop", "3", "--reset"},
		{"scale", "shop", "three"},
		{"logs", "shop", "-n", "-5"},
		{"logs", "shop", "-n", "many"},
		{"logs", "shop", "--since", "yesterday"},
		{"logs"},
		{"logs", "nope/"},
		{"logs", "frontend/web"},
		{"why"},
		{"why", "srevice/shop"},
		{"why", "shp"},
		{"why", "a/b/c/d"},
		{"why", strings.Repeat("x", 5000)},
		{"events", "nope"},
		{"rollback", "shop", "--to", "-1"},
		{"rollback", "shop", "--to", "x"},
		{"drain", "proxy"},
		{"drain", "nope"},
		{"apply", filepath.Join(dir, "none.yaml")},
		{"apply", dir},
		{"validate", filepath.Join(dir, "none.yaml")},
		{"plan", dir},
		{"diff", "a"},
		{"history", "-"},
		{"releases", "a b"},
		{"role", "keeper", "x"},
		{"status", "--wacth"},
		{"dply"},
		{"STATUS"},
		{"status", "-x"},
		{"up", "a", "b"},
		{"help", "me", "--now"},
		{"pause", "shop@1"},
	}
}

// Hostile command lines: each is answered by a problem and a status of its own,
// none reaches the backend, none drives the terminal.
func TestHostileCommandLines(t *testing.T) {
	dir := t.TempDir()
	b := apitest.New()
	apitest.ServeAt(t, b, api.Actor{Name: "ann"}, filepath.Join(dir, "api.sock"))
	codes := map[backstay.ExitCode]int{}
	for _, args := range hostileLines(dir) {
		var out, talk strings.Builder
		s := &cli.Surroundings{In: strings.NewReader(""), Out: &out, Err: &talk, Getenv: func(string) string { return "" }}
		code := cli.Run(t.Context(), s, slices.Concat([]string{"--run-dir", dir, "--state-dir", dir}, args))
		codes[code]++
		text := talk.String()
		if code == backstay.ExitOK || out.Len() > 0 && !strings.HasPrefix(args[0], "-") && args[0] != "help" {
			t.Errorf("%q: status %d, printed %q", args, code, out.String())
		}
		plain := strings.Contains(text, "backstay: ") && strings.Contains(text, "  do     ")
		if !plain && !strings.Contains(text, `"do": `) {
			t.Errorf("%q: says only %q", args, text)
		}
		if strings.ContainsAny(text, "\x1b\x00") || len(text) > 2000 {
			t.Errorf("%q: says %q", args, text)
		}
	}
	if asked := b.Asked(); len(asked) > 0 {
		t.Errorf("the backend was asked: %q", asked)
	}
	t.Log(codes)
}
