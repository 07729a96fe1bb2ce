package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
)

func (a *app) apply() *cobra.Command {
	var ask api.ConfigAsk
	var detach bool
	cmd := &cobra.Command{
		Use: "apply [FILE]", Short: "put a file in force and see its deploys through", GroupID: groupFile, Args: takes("[FILE]"),
		Long: "Puts FILE in force: what is live changes in place, what is a new release is rolled in. Returns when\n" +
			"every deploy that follows has ended. A file with mistakes changes nothing, and so does one without\n" +
			"services while some run, unless --stop-all says that this is meant. The exit status is 4 if the file\n" +
			"is in force and something of it is not: stderr says what.",
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if ask.Name, ask.Text, err = a.readFile(args); err != nil {
				return err
			}
			ask.IfMatch = strings.Trim(ask.IfMatch, `"`)
			done, err := a.client().Apply(cmd.Context(), ask)
			if err != nil {
				return err
			}
			return a.applied(cmd.Context(), done, detach)
		},
	}
	cmd.Flags().StringVar(&ask.IfMatch, "if-match", "", "digest of the file that must be in force, as status shows it")
	cmd.Flags().BoolVar(&ask.StopAll, "stop-all", false, "take a file without services, and stop all that runs")
	cmd.Flags().BoolVar(&detach, "detach", false, "do not wait for the deploys")
	return cmd
}

// applied shows what was changed and waits for what follows from it.
func (a *app) applied(ctx context.Context, done api.Applied, detach bool) error {
	worst := backstay.ExitOK
	for i, d := range done.Deploys {
		if detach {
			break
		}
		end, err := a.watch(ctx, d)
		if err != nil {
			return err
		}
		done.Deploys[i] = end
		worst = worse(worst, end.State.Exit())
	}
	for _, n := range done.Notes {
		a.say("%s", plainText(n))
		worst = worse(worst, backstay.ExitDegraded)
	}
	if err := a.print(done, func(w io.Writer) error { return writeApplied(w, done) }); err != nil {
		return err
	}
	return leave(worst)
}

// worse returns the exit status that needs more care.
func worse(x, y backstay.ExitCode) backstay.ExitCode {
	if x == backstay.ExitOK {
		return y
	}
	return x
}

func writeApplied(w io.Writer, done api.Applied) error {
	if done.Unchanged && len(done.Changes) == 0 {
		_, err := fmt.Fprintf(w, "config %s is in force already\n", done.To)
		return err
	}
	if err := writePlanned(w, done.Plan); err != nil {
		return err
	}
	for _, d := range done.Deploys {
		if _, err := fmt.Fprintln(w, deployEnd(d)); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "config %s is in force, generation %d\n", done.To, done.Generation)
	return err
}
