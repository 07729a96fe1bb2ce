package cli

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/backstay/backstay"
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
		case d.IsDir() && path != ".." && filepath.Dir(path) == ".." && d.Name() != "docs" && d.Name() != "examples":
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

// A command that a page shows can be typed as it stands there: it is there, it has
// the flags, they take the values, and it takes that many arguments.
func TestCommandsOnPages(t *testing.T) {
	blocks, inline := 0, 0
	for name, page := range pages(t) {
		for _, line := range typed(page) {
			blocks++
			checkLine(t, name, line, true)
		}
		for _, found := range spans.FindAllStringSubmatch(page, -1) {
			inline++
			checkLine(t, name, found[1], false)
		}
	}
	if blocks < 60 || inline < 10 {
		t.Errorf("only %d commands in blocks of all pages, and %d in sentences", blocks, inline)
	}
}

// spans are commands in a sentence.
var spans = regexp.MustCompile("`(backstay [a-z][^`\n]*)`")

// typed returns the command lines in the blocks of a page, fenced or indented,
// without the remarks behind them.
func typed(page string) []string {
	var lines []string
	for line := range strings.Lines(page) {
		line = strings.TrimPrefix(strings.TrimSpace(line), "$ ")
		if !strings.HasPrefix(line, "backstay ") {
			continue
		}
		line, _, _ = strings.Cut(line, "  ")
		line, _, _ = strings.Cut(line, " #")
		for part := range strings.SplitSeq(line, " · ") {
			part = "backstay " + strings.TrimPrefix(part, "backstay ")
			if isCommandWord(strings.Fields(part)[1]) {
				lines = append(lines, part)
			}
		}
	}
	return lines
}

// isCommandWord tells a command from the program's name in a sentence.
func isCommandWord(s string) bool {
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz") == "" && s != "role"
}

// checkLine has the command line parsed as [Run] does, and carries nothing out.
// What stands in a sentence need not be whole.
func checkLine(t *testing.T, page, line string, whole bool) {
	t.Helper()
	words := strings.Fields(strings.TrimSuffix(line, " [flags]"))[1:]
	root := (&app{Surroundings: &Surroundings{}}).root()
	c, rest, err := root.Find(words)
	if err != nil || c == root {
		t.Errorf("%s: %s: there is no such command", page, line)
		return
	}
	if err = c.ParseFlags(rest); err == nil {
		err = empty(c)
	}
	if err == nil {
		err = c.ValidateArgs(c.Flags().Args())
	}
	p, _ := errors.AsType[*backstay.Problem](err)
	if err != nil && (whole || p == nil || p.Code != "missing_argument") {
		t.Errorf("%s: %s: %v", page, line, err)
	}
}
