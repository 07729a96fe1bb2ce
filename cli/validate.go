package cli

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/config"
)

// validity is what validate prints for programs.
type validity struct {
	File     string             `json:"file"`
	Valid    bool               `json:"valid"`
	Mistakes []backstay.Problem `json:"mistakes,omitempty"`
}

func (a *app) validate() *cobra.Command {
	return &cobra.Command{
		Use: "validate [FILE]", Short: "every mistake in a file, with its line and what would do", GroupID: groupFile, Args: takes("[FILE]"),
		Long: "Reads FILE as the agent would on this host and shows every mistake. It needs no agent and\nchanges nothing. FILE is " + defaultFile + " if it is left out, and - is stdin.",
		RunE: func(_ *cobra.Command, args []string) error {
			name, text, err := a.readFile(args)
			if err != nil {
				return err
			}
			if name != "stdin" {
				name = fileArg(args) // as it was typed
			}
			f, err := config.Parse(name, text)
			if bad, ok := errors.AsType[*config.Error](err); ok {
				return a.mistakes(name, bad)
			}
			if err != nil {
				return err
			}
			return a.print(validity{File: name, Valid: true}, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "%s: valid: %s\n", name, summary(f))
				return err
			})
		},
	}
}

// mistakes prints what is wrong: for programs it is the answer, for people it is
// why there is none.
func (a *app) mistakes(name string, bad *config.Error) error {
	if a.output == "table" {
		return bad
	}
	if err := a.print(validity{File: name, Mistakes: bad.Problems()}, nil); err != nil {
		return err
	}
	return leave(backstay.ExitUsage)
}
