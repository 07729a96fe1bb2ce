package cli_test

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

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

// change brings the backend into one of the states in [changes].
func change(ts *testscript.TestScript, _ bool, args []string) {
	to := changes[args[0]]
	if to == nil {
		ts.Fatalf("no change %q", args[0])
	}
	backendOf(ts).Change(to)
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
