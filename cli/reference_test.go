package cli

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/daemon"
	"github.com/backstay/backstay/internal/golden"
)

// The page about the command line is what the commands say of themselves.
func TestReferenceIsUpToDate(t *testing.T) {
	a := &app{Surroundings: &Surroundings{}, dirs: daemon.Dirs{Run: "/run/backstay", State: "/var/lib/backstay", Log: "/var/log/backstay"}}
	golden.Check(t, filepath.Join("..", "docs", "reference", "cli.md"), reference(a.root()))
}

// Every command says what it does, has a group, and takes its arguments by rule.
func TestCommandsAreWhole(t *testing.T) {
	a := &app{Surroundings: &Surroundings{}}
	names := map[string]bool{}
	for _, c := range a.root().Commands() {
		names[c.Name()] = true
		if c.Hidden || c.Name() == "help" {
			continue
		}
		if c.Short == "" || c.GroupID == "" || c.Args == nil || strings.HasSuffix(c.Short, ".") || len(c.Short) > 75 {
			t.Errorf("%s: %q, group %q", c.Name(), c.Short, c.GroupID)
		}
	}
	for want := range strings.FieldsSeq(`agent up down dev demo validate plan apply status why logs deploy rollback pause resume abort
		releases history diff scale start stop restart drain undrain events version role`) {
		if !names[want] {
			t.Errorf("there is no command %s", want)
		}
	}
}

// exitTexts say what each exit status means, in the order of the page.
var exitTexts = []struct {
	code backstay.ExitCode
	text string
}{
	{backstay.ExitOK, "done, and drained where something had to leave"},
	{backstay.ExitFailed, "it did not work; nothing has changed"},
	{backstay.ExitUsage, "wrong usage, or a file with mistakes"},
	{backstay.ExitChanges, "plan: there are changes"},
	{backstay.ExitDegraded, "done or running, and something is not as it should be"},
	{backstay.ExitNotFound, "there is nothing of that name"},
	{backstay.ExitDenied, "this user may not do that"},
	{backstay.ExitRolledBack, "the deploy was rolled back"},
	{backstay.ExitTimeout, "waited long enough, or ^C; it goes on"},
	{backstay.ExitPerson, "a person is needed: paused or stuck"},
	{backstay.ExitRefused, "a guard refused it; nothing has changed"},
}

// reference returns the page about every command.
func reference(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString("# The command line\n\nWritten by `make generate`; do not edit.\n\n" +
		"Data goes to stdout, talk to stderr. `-o json` and `-o yaml` print data for programs, and with them what went wrong is\n" +
		"a problem in JSON on stderr. What follows (`logs -f`, `events -f`, `status --watch`) is a value a line, in YAML a document.\n" +
		"NO_COLOR and TERM=dumb switch colours off; in a pipe there are none. A command that is given while the agent restarts\n" +
		"waits up to 5 s for it. `source <(backstay completion bash)`, or zsh or fish, has the shell complete commands, flags and\n" +
		"the names of what runs.\n\n## Exit status\n\n| status | means |\n|---|---|\n")
	for _, e := range exitTexts {
		fmt.Fprintf(&b, "| %d | %s |\n", e.code, e.text)
	}
	b.WriteString("\nThey are the same for every command and follow from the code of the problem: [codes](codes.md).\n\n## Flags of every command\n\n")
	flagRows(&b, root.PersistentFlags())
	for _, g := range root.Groups() {
		fmt.Fprintf(&b, "\n## %s\n", strings.TrimSuffix(g.Title, ":"))
		for _, c := range root.Commands() {
			if c.GroupID == g.ID && !c.Hidden {
				commandPart(&b, c)
			}
		}
	}
	return b.String()
}

func commandPart(b *strings.Builder, c *cobra.Command) {
	fmt.Fprintf(b, "\n### %s\n\n    %s\n\n%s.\n", c.Name(), c.UseLine(), upper(c.Short))
	if c.Long != "" {
		fmt.Fprintf(b, "\n%s\n", c.Long)
	}
	if c.Example != "" {
		fmt.Fprintf(b, "\n```\n%s\n```\n", c.Example)
	}
	if c.LocalNonPersistentFlags().HasAvailableFlags() {
		b.WriteByte('\n')
		flagRows(b, c.LocalNonPersistentFlags())
	}
}

func upper(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// flagRows writes a table of flags.
func flagRows(b *strings.Builder, flags *pflag.FlagSet) {
	b.WriteString("| flag | default | |\n|---|---|---|\n")
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Name == "help" {
			return
		}
		name, value := "`--"+f.Name+"`", f.DefValue
		if f.Shorthand != "" {
			name = "`-" + f.Shorthand + "`, " + name
		}
		if value != "" && value != "false" && value != "0" {
			value = "`" + value + "`"
		} else {
			value = ""
		}
		fmt.Fprintf(b, "| %s | %s | %s |\n", name, value, f.Usage)
	})
}
