package main

import (
	"flag"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/deps.txt anew")

// heavy packages cost every child of the keeper memory and milliseconds; one of
// them links others by the dozen.
var heavy = []string{"fmt", "net", "encoding/json", "reflect", "runtime/debug", "log/slog", "golang.org/x/sys/unix"}

// TestLinksNothingElse promises that what the keeper is made of changes only on
// purpose: the whole list stands in a file.
func TestLinksNothingElse(t *testing.T) {
	cmd := exec.Command("go", "list", "-deps", ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	const file = "testdata/deps.txt"
	if *update {
		if err := os.WriteFile(file, out, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	got, want := strings.Fields(string(out)), strings.Fields(string(b))
	for _, p := range got {
		if !slices.Contains(want, p) {
			t.Errorf("links %s, which is not in %s", p, file)
		}
		if slices.Contains(heavy, p) {
			t.Errorf("links %s, which is too heavy", p)
		}
	}
	for _, p := range want {
		if !slices.Contains(got, p) {
			t.Errorf("no longer links %s: take it out of %s", p, file)
		}
	}
}
