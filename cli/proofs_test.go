package cli_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api/apitest"
)

// comment is what stands behind a command in a proof: a shell leaves it out too.
var comment = regexp.MustCompile(`\s+#.*$`)

// placeholder is a word that stands for another one.
var placeholder = regexp.MustCompile(`(^| )([A-Z]+|<.*>)( |$)`)

// Every proof ends with what would change the state, and each command of it can
// be typed: it is known here, with just these flags and arguments.
func TestCommandsOfProofsCanBeTyped(t *testing.T) {
	files, err := filepath.Glob("../api/testdata/why/*.txt")
	if err != nil || len(files) < 50 {
		t.Fatalf("%d proofs, %v", len(files), err)
	}
	dir, typed := serve(t, apitest.New()), map[string]bool{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, change, found := strings.Cut(string(text), "\n  change   ")
		if !found && !strings.Contains(filepath.Base(file), "traffic-") {
			t.Errorf("%s does not say what would change it", filepath.Base(file))
		}
		for line := range strings.Lines(change) {
			command, ok := strings.CutPrefix(comment.ReplaceAllString(strings.TrimSpace(line), ""), "backstay ")
			if !ok || typed[command] || slices.Contains([]string{"apply", "plan", "validate"}, strings.Fields(command)[0]) { // their file is not here
				continue
			}
			typed[command] = true
			if placeholder.MatchString(command) {
				t.Errorf("%s: nobody can type %s", filepath.Base(file), command)
			}
			args := strings.Fields(command)
			if slices.Contains([]string{"deploy", "rollback", "resume", "abort", "restart"}, args[0]) {
				args = append(args, "--detach") // no deploy ends here
			}
			if code, _, talk := run(t.Context(), t, dir, args...); code == backstay.ExitUsage {
				t.Errorf("%s: backstay %s:\n%s", filepath.Base(file), command, talk)
			}
		}
	}
	if len(typed) < 20 {
		t.Errorf("only %d commands typed", len(typed))
	}
}
