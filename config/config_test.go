package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/backstay/backstay/config"
	"github.com/backstay/backstay/internal/golden"
)

// corpus returns the files of testdata that match, of which there are enough.
func corpus(tb testing.TB, pattern string, atLeast int) []string {
	tb.Helper()
	files, err := filepath.Glob("testdata/" + pattern)
	if err != nil || len(files) < atLeast {
		tb.Fatalf("%d files %s, want %d: %v", len(files), pattern, atLeast, err)
	}
	return files
}

// envOf returns the host a file of testdata is for: its first line may say that
// the agent is not root.
func envOf(text []byte) config.Env {
	if strings.HasPrefix(string(text), "# unprivileged") {
		return newFake(1000)
	}
	return newFake(0)
}

func read(tb testing.TB, name string) []byte {
	tb.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

func mistakes(tb testing.TB, name string, text []byte) *config.Error {
	tb.Helper()
	f, err := config.ParseIn(envOf(text), name, text)
	e := new(config.Error)
	if f != nil || !errors.As(err, &e) {
		tb.Fatalf("%s: loads, or the error is of another kind: %v", name, err)
	}
	return e
}

// TestBadFilesSayWhy compares with the .txt beside each bad file: the message is
// part of the language, and read as carefully.
func TestBadFilesSayWhy(t *testing.T) {
	for _, name := range corpus(t, "*.bad.yaml", 60) {
		t.Run(filepath.Base(name), func(t *testing.T) {
			e := mistakes(t, filepath.Base(name), read(t, name))
			golden.Check(t, strings.TrimSuffix(name, ".yaml")+".txt", e.Error()+"\n")
		})
	}
}

// TestEachBadFileIsAnother: no two files are refused for the same code and words.
func TestEachBadFileIsAnother(t *testing.T) {
	seen := map[string]string{}
	for _, name := range corpus(t, "*.bad.yaml", 60) {
		e := mistakes(t, filepath.Base(name), read(t, name))
		all := ""
		for _, f := range e.Found {
			all += f.Code + " " + f.Key + ": " + f.What + "\n"
		}
		if first, twice := seen[all]; twice {
			t.Errorf("%s says what %s says", name, first)
		}
		seen[all] = name
	}
}

// TestEachCodeHasABadFile: the list of codes is what the files are refused for,
// no more and no less, and each mistake says what to do.
func TestEachCodeHasABadFile(t *testing.T) {
	reached := map[string]bool{mistakes(t, "large.yaml", []byte(strings.Repeat("# \n", 400_000))).Found[0].Code: true}
	for _, name := range corpus(t, "*.bad.yaml", 60) {
		for _, f := range mistakes(t, filepath.Base(name), read(t, name)).Found {
			reached[f.Code] = true
			if f.Hint == "" || f.What == "" {
				t.Errorf("%s: %s says nothing about what is wrong or what to do: %q, %q", name, f.Code, f.What, f.Hint)
			}
		}
	}
	codes := config.Codes()
	if len(codes) < 60 {
		t.Errorf("%d codes", len(codes))
	}
	for _, code := range codes {
		if !reached[code] {
			t.Errorf("no bad file reaches %s", code)
		}
		delete(reached, code)
	}
	for code := range reached {
		t.Errorf("%s is not in the list of codes", code)
	}
}
