package config_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/backstay/backstay/config"
	"github.com/backstay/backstay/internal/golden"
)

// TestPlanSaysWhatChangesAndWhatRequestsNotice compares with the plan.txt beside
// each pair of files.
func TestPlanSaysWhatChangesAndWhatRequestsNotice(t *testing.T) {
	dirs, err := filepath.Glob("testdata/plan/*")
	if err != nil || len(dirs) < 20 {
		t.Fatalf("%d plans, %v", len(dirs), err)
	}
	for _, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			changes := config.Diff(loadIfThere(t, dir+"/old.yaml"), load(t, dir+"/new.yaml"))
			var b strings.Builder
			for _, c := range changes {
				fmt.Fprintf(&b, "%s\n    %s %s, service %q\n", c, c.Where, c.Key, c.Service)
			}
			golden.Check(t, dir+"/plan.txt", b.String())
		})
	}
}

func loadIfThere(t *testing.T, name string) *config.File {
	t.Helper()
	if _, err := os.Stat(name); err != nil {
		return nil
	}
	return load(t, name)
}

// TestNothingDiffersFromItself, whatever is in the file.
func TestNothingDiffersFromItself(t *testing.T) {
	for _, name := range corpus(t, "*.good.yaml", 12) {
		if changes := config.Diff(load(t, name), load(t, name)); len(changes) > 0 {
			t.Errorf("%s: %v", name, changes)
		}
	}
}

// TestEveryDifferenceIsTold: what is added by one diff is taken out by the
// opposite one, key by key.
func TestEveryDifferenceIsTold(t *testing.T) {
	var files []*config.File
	var dumps []string
	for _, name := range corpus(t, "*.good.yaml", 12) {
		f := load(t, name)
		files, dumps = append(files, f), append(dumps, config.Dump(f))
	}
	for i, a := range files {
		for j, b := range files {
			there, back := config.Diff(a, b), config.Diff(b, a)
			if (dumps[i] == dumps[j]) != (len(there) == 0) || len(there) != len(back) {
				t.Errorf("%s, %s: %d changes there, %d back", a.Name(), b.Name(), len(there), len(back))
			}
		}
	}
}
