package config_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/backstay/backstay/config"
	"github.com/backstay/backstay/internal/golden"
)

func load(tb testing.TB, name string) *config.File {
	tb.Helper()
	text := read(tb, name)
	f, err := config.ParseIn(envOf(text), filepath.Base(name), text)
	if err != nil {
		tb.Fatalf("%s is refused:\n%v", name, err)
	}
	return f
}

// TestGoodFilesLoad compares with the .txt beside each good file: every value,
// defaults included, and what it is warned of.
func TestGoodFilesLoad(t *testing.T) {
	for _, name := range corpus(t, "*.good.yaml", 12) {
		t.Run(filepath.Base(name), func(t *testing.T) {
			f := load(t, name)
			var b strings.Builder
			b.WriteString(config.Dump(f))
			for _, w := range f.Warnings() {
				fmt.Fprintf(&b, "warning: line %d: %s: %s: %s (%s)\n", w.Line, w.Code, w.Key, w.What, w.Hint)
			}
			golden.Check(t, strings.TrimSuffix(name, ".yaml")+".txt", b.String())
		})
	}
}

// TestGoodFilesNeedNoHost: what was good loads again when its files and users
// are gone.
func TestGoodFilesNeedNoHost(t *testing.T) {
	for _, name := range corpus(t, "*.good.yaml", 12) {
		if _, err := config.ParseIn(nil, name, read(t, name)); err != nil {
			t.Error(err)
		}
	}
}
