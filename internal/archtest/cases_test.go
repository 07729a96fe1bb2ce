package archtest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// proof is a test that a page names: package.TestName, with the case of it that
// is meant; or …/case of the test before it.
var proof = regexp.MustCompile("`(?:([a-z0-9]+)\\.(Test\\w+)|…)(?:/([^`]+))?`")

// Every test that the page of failures names is there, under that name, in that
// package, and so is its case.
func TestProofsOfFailureCasesAreThere(t *testing.T) {
	page, err := os.ReadFile("../../docs/failure-cases.md")
	if err != nil {
		t.Fatal(err)
	}
	sources, of, seen := testSources(t), "", 0
	for _, m := range proof.FindAllStringSubmatch(string(page), -1) {
		seen++
		if m[1] != "" {
			of = m[1]
			if !strings.Contains(sources[of], "func "+m[2]+"(t *testing.T)") {
				t.Errorf("there is no %s.%s", of, m[2])
			}
		}
		if m[3] != "" && !strings.Contains(sources[of], `"`+strings.ReplaceAll(m[3], "_", " ")+`"`) {
			t.Errorf("%s: nothing is called %s", m[0], m[3])
		}
	}
	if seen < 80 {
		t.Errorf("only %d proofs", seen)
	}
}

// testSources returns the tests of all packages, by the name of their directory.
func testSources(t *testing.T) map[string]string {
	t.Helper()
	sources := map[string]string{}
	for _, pattern := range []string{"../../*/*_test.go", "../../*/*/*_test.go", "../../*/*/*/*_test.go", "../../*/*/*/*/*_test.go"} {
		files, _ := filepath.Glob(pattern)
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			sources[filepath.Base(filepath.Dir(file))] += string(text)
		}
	}
	return sources
}
