package config_test

import (
	"path/filepath"
	"testing"

	"github.com/backstay/backstay/config"
)

// TestExamplesAreValid: what examples/ shows is taken as it is, without a
// warning.
func TestExamplesAreValid(t *testing.T) {
	files, err := filepath.Glob("../examples/*/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d examples, %v", len(files), err)
	}
	for _, name := range files {
		f, err := config.ParseIn(newFake(0), name, read(t, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range f.Warnings() {
			t.Errorf("%s:%d: %s: %s", name, w.Line, w.Key, w.What)
		}
	}
}
