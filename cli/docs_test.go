package cli

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/spf13/cobra"

	"github.com/backstay/backstay/config"
)

// anyHost is a host on which every file and every user is there, as on the
// reader's.
type anyHost struct{}

func (anyHost) UID() int       { return 0 }
func (anyHost) Now() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

func (anyHost) Account(string, string) (uint32, error) { return 1, nil }

func (anyHost) Stat(name string) (fs.FileInfo, error) {
	mode := fs.FileMode(0o755)
	if name == "/" {
		mode |= fs.ModeDir
	}
	return fstest.MapFS{"x": {Mode: mode}}.Stat("x")
}

// ReadFile knows no file: what is in a certificate is another page's matter.
func (anyHost) ReadFile(string) ([]byte, error) { return nil, fs.ErrNotExist }

// pages returns the pages that people read, by name.
func pages(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != ".." && filepath.Dir(path) == ".." && d.Name() != "docs":
			return filepath.SkipDir
		case d.IsDir() || filepath.Ext(path) != ".md":
			return nil
		}
		text, err := os.ReadFile(path)
		texts[path] = string(text)
		return err
	})
	if err != nil || len(texts) < 5 {
		t.Fatalf("%d pages, %v", len(texts), err)
	}
	return texts
}

// fences returns the blocks of a page, each with its language on the first line.
func fences(page string) []string {
	var all []string
	for i, part := range strings.Split("\n"+page, "\n```") {
		if i%2 == 1 {
			all = append(all, part)
		}
	}
	return all
}

// A file that a page shows whole is a good one.
func TestFilesOnPages(t *testing.T) {
	seen := 0
	for name, page := range pages(t) {
		for _, block := range fences(page) {
			text, is := strings.CutPrefix(block, "yaml\n")
			if !is || !strings.HasPrefix(text, "schema:") {
				continue
			}
			seen++
			_, err := config.ParseIn(anyHost{}, name, []byte(text))
			if bad, ok := errors.AsType[*config.Error](err); ok {
				bad.Found = slices.DeleteFunc(bad.Found, func(f config.Found) bool { return strings.Contains(f.Key, "tls") })
				if len(bad.Found) > 0 {
					t.Error(bad)
				}
			}
		}
	}
	if seen < 2 {
		t.Errorf("only %d files on all pages", seen)
	}
}

// A command that a page shows is there, and so are its flags.
func TestCommandsOnPages(t *testing.T) {
	root := (&app{Surroundings: &Surroundings{}}).root()
	seen := 0
	for name, page := range pages(t) {
		for _, block := range fences(page) {
			for line := range strings.Lines(block) {
				words := strings.Fields(line)
				if len(words) < 2 || words[0] != "backstay" || !isCommandWord(words[1]) {
					continue
				}
				seen++
				checkLine(t, root, name, words[1:])
			}
		}
	}
	if seen < 20 {
		t.Errorf("only %d commands on all pages", seen)
	}
}

// isCommandWord tells a command from the program's name in a sentence.
func isCommandWord(s string) bool {
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz") == "" && s != "role"
}

func checkLine(t *testing.T, root *cobra.Command, page string, words []string) {
	t.Helper()
	c, _, err := root.Find(words)
	if err != nil || c == root {
		t.Errorf("%s: there is no backstay %s", page, words[0])
		return
	}
	for _, w := range words[1:] {
		flag, _, _ := strings.Cut(strings.TrimPrefix(w, "--"), "=")
		if strings.HasPrefix(w, "#") || w == "·" {
			return
		}
		if strings.HasPrefix(w, "--") && c.Flags().Lookup(flag) == nil && root.PersistentFlags().Lookup(flag) == nil {
			t.Errorf("%s: backstay %s has no flag --%s", page, words[0], flag)
		}
	}
}
