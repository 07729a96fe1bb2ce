package cli

import (
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/internal/nearest"
)

// Groups of commands in the help.
const (
	groupRun    = "run"
	groupFile   = "file"
	groupLook   = "look"
	groupChange = "change"
	groupDeploy = "deploy"
)

// root returns the command that all others are below.
func (a *app) root() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backstay",
		Short: "keeps services answering while anything beneath them fails or changes",
		Long: "Backstay keeps services answering while anything beneath them fails or changes:\n" +
			"it supervises what one file asks for, balances requests over it, heals what\ndies or hangs, and brings in new releases without losing a request.",
		Version:       Version,
		SilenceErrors: true, SilenceUsage: true,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return cmd.Help()
		},
	}
	a.globals(cmd.PersistentFlags())
	cmd.SetFlagErrorFunc(flagProblem)
	cmd.AddGroup(
		&cobra.Group{ID: groupRun, Title: "Run:"}, &cobra.Group{ID: groupFile, Title: "The file:"},
		&cobra.Group{ID: groupLook, Title: "Look:"}, &cobra.Group{ID: groupDeploy, Title: "Releases:"},
		&cobra.Group{ID: groupChange, Title: "Change what runs:"},
	)
	for _, c := range a.commands() {
		cmd.AddCommand(c)
	}
	cmd.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error { return firstOf(errors.Join(a.checkGlobals(), empty(cmd))) }
	cmd.CompletionOptions.HiddenDefaultCmd = true
	cmd.InitDefaultHelpFlag()
	cmd.SetHelpCommand(help())
	a.complete(cmd)
	cmd.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	return cmd
}

// help is the command that shows the help of another one.
func help() *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND]", Short: "what a command does, and its flags", GroupID: groupLook, Args: takes("[COMMAND]"), ValidArgsFunction: commandNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			of, rest, err := cmd.Root().Find(args)
			if err == nil && len(rest) > 0 {
				err = unknownCommand(cmd, rest[0])
			}
			if err != nil {
				return err
			}
			return of.Help()
		},
	}
}

// commands are all of them.
func (a *app) commands() []*cobra.Command {
	return []*cobra.Command{
		a.agent(), a.up(), a.dev(), a.down(), a.demo(), a.demoLoad(), a.role(),
		a.validate(), a.plan(), a.apply(),
		a.status(), a.why(), a.logs(), a.events(), a.version(),
		a.deploy(), a.rollback(), a.onDeploy("pause"), a.onDeploy("resume"), a.onDeploy("abort"),
		a.releases(), a.history(), a.diff(),
		a.scale(), a.operate("start"), a.operate("stop"), a.operate("restart"), a.operate("drain"), a.operate("undrain"),
	}
}

// globals are the flags of every command.
func (a *app) globals(f *pflag.FlagSet) {
	f.StringVar(&a.dirs.Run, "run-dir", a.dirs.Run, "directory of sockets, on tmpfs")
	f.StringVar(&a.dirs.State, "state-dir", a.dirs.State, "directory of what outlives the host's run")
	f.StringVar(&a.dirs.Log, "log-dir", a.dirs.Log, "directory of what services print")
	f.StringVarP(&a.output, "output", "o", "table", "how data is printed: table, json or yaml")
}

// outputs are how data can be printed.
var outputs = []string{"table", "json", "yaml"}

func (a *app) checkGlobals() error {
	if slices.Contains(outputs, a.output) {
		return nil
	}
	bad := a.output
	a.output = "table"
	return &backstay.Problem{Code: "bad_flag_value", What: "there is no output " + quoted(bad), Where: "--output", Do: suggest(bad, outputs, "use table, json or yaml")}
}

// suggest asks whether the nearest of known was meant, and says where all are.
func suggest(word string, known []string, all string) string {
	if near := nearest.Of(word, known); near != "" {
		return "did you mean " + near + "? " + all
	}
	return all
}

func unknownCommand(cmd *cobra.Command, word string) error {
	var known []string
	for _, c := range cmd.Root().Commands() {
		if !c.Hidden {
			known = append(known, c.Name())
		}
	}
	return &backstay.Problem{
		Code: "unknown_command", What: "there is no command " + quoted(word), Where: "backstay " + quotedShort(word),
		Do: suggest(strings.ToLower(word), known, "backstay --help lists them"),
	}
}
