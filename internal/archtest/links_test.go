package archtest

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ +(.*)$`)
	unnamed = regexp.MustCompile(`[^a-z0-9 _-]`)
)

// Every link of a page leads to a file of this project that is there, and to a
// heading in it where it names one.
func TestLinksOfPagesLeadSomewhere(t *testing.T) {
	seen := 0
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && len(d.Name()) > 2 {
			return filepath.SkipDir
		}
		if filepath.Ext(path) != ".md" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			seen++
			if why := broken(path, string(text), m[1]); why != "" {
				t.Errorf("%s: %s: %s", path, m[1], why)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen < 20 {
		t.Errorf("only %d links found: the search is broken", seen)
	}
}

// broken says what is wrong with a link of the page at path; empty is nothing.
func broken(path, text, to string) string {
	file, part, _ := strings.Cut(to, "#")
	if file != "" {
		path = filepath.Join(filepath.Dir(path), file)
		info, err := os.Stat(path)
		if err != nil {
			return "there is no such file"
		}
		if part == "" || info.IsDir() {
			return ""
		}
		other, err := os.ReadFile(path)
		if err != nil {
			return err.Error()
		}
		text = string(other)
	}
	for _, m := range heading.FindAllStringSubmatch(text, -1) {
		if strings.ReplaceAll(unnamed.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-") == part {
			return ""
		}
	}
	return "there is no heading of that name"
}
