// Package golden compares what a test made with a text that is kept in testdata
// and read as carefully as code. `go test ./ROOM -update` writes the texts anew.
package golden

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden texts of testdata anew")

// Check fails tb unless the file at path says got. With -update it says so
// afterwards.
func Check(tb testing.TB, path, got string) {
	tb.Helper()
	check(tb, path, got, *update)
}

func check(tb testing.TB, path, got string, anew bool) {
	tb.Helper()
	if anew {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(got), 0o644)); err != nil {
			tb.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	if n := differ(got, string(want)); n > 0 {
		tb.Errorf("%s: line %d is another; got\n%s\nwant\n%s\nRead the difference; if it is right, run with -update.", path, n, got, want)
	}
}

// differ returns the number of the first line in which a and b differ; 0 is none.
func differ(a, b string) int {
	if a == b {
		return 0
	}
	la, lb := strings.Split(a, "\n"), strings.Split(b, "\n")
	for n := range min(len(la), len(lb)) {
		if la[n] != lb[n] {
			return n + 1
		}
	}
	return min(len(la), len(lb)) + 1
}
