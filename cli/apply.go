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
			"it is decided what becomes of every release that the file wants; a deploy that is under way already\n" +
			"ends first. A file with mistakes changes nothing, and so does one without services while some run,\n" +
			"unless --stop-all says that this is meant, nor does one that leads from a service that answers to one\n" +
			"that is not ready yet, unless --gap does. The exit status is 7 if a release was rolled back, 9 if a\n" +
			"deploy waits for a person, 4 if else something of the file is not in force: a release that was\n" +
			"refused, rolled back before, or superseded by a newer file. stderr says which.",
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
	cmd.Flags().BoolVar(&ask.Gap, "gap", false, "take a file by which a frontend leads to a service that is not ready yet")
	cmd.Flags().BoolVar(&detach, "detach", false, "do not wait for the deploys")
	return cmd
}

// applied shows what was changed and waits for what becomes of it.
func (a *app) applied(ctx context.Context, done api.Applied, detach bool) error {
	if !detach {
		if err := a.await(ctx, &done); err != nil {
			return err
		}
	}
	worst := backstay.ExitOK
	for _, w := range done.Wants {
		if w.Outcome != "" {
			worst = max(worst, w.Outcome.Exit())
		}
	}
	for _, n := range done.Notes {
		a.say("%s", plainText(n))
		worst = max(worst, backstay.ExitDegraded)
	}
	if err := a.print(done, func(w io.Writer) error { return writeApplied(w, done) }); err != nil {
		return err
	}
	return leave(worst)
}

// await waits until it is decided what becomes of each release that was wanted:
// not what runs just now counts, but what this file has asked for.
func (a *app) await(ctx context.Context, done *api.Applied) error {
	done.Deploys = nil
	for i, w := range done.Wants {
		var err error
		switch {
		case w.Outcome == "":
			if w, err = a.decided(ctx, w); err != nil {
				return err
			}
			done.Wants[i] = w
			if note := w.Note(); note != "" {
				done.Notes = append(done.Notes, note)
			}
		case w.Over():
			if _, err = a.watch(ctx, *w.Deploy); err != nil {
				return err
			}
		default:
			continue
		}
		if w.Deploy != nil && w.Outcome != api.OutcomeRefused {
			done.Deploys = append(done.Deploys, *w.Deploy)
		}
	}
	return nil
}

// decided watches deploy after deploy until one has decided what becomes of w.
func (a *app) decided(ctx context.Context, w api.Wanted) (api.Wanted, error) {
	for w.Outcome == "" {
		if d := w.Deploy; d != nil {
			if d.To != w.Release && d.From != w.Release {
				a.say("a deploy of %s to %s is under way; what is decided next is %s", w.Service, d.To, w.Release)
			}
			if _, err := a.watch(ctx, *d); err != nil {
				return w, err
			}
		}
		next, err := a.client().Outcome(ctx, w)
		if ctx.Err() != nil {
			return w, goesOn(w.Service)
		}
		if err != nil {
			return w, err
		}
		w = next
	}
	return w, nil
}

func writeApplied(w io.Writer, done api.Applied) error {
	already := done.Unchanged && len(done.Changes) == 0 && len(done.Also) == 0
	if already {
		if err := writeOverrides(w, done.Overrides); err != nil {
			return err
		}
	} else if err := writePlanned(w, done.Plan); err != nil {
		return err
	}
	for _, d := range done.Deploys {
		if _, err := fmt.Fprintln(w, deployEnd(d)); err != nil {
			return err
		}
	}
	if already {
		_, err := fmt.Fprintf(w, "config %s is in force already\n", done.To)
		return err
	}
	_, err := fmt.Fprintf(w, "config %s is in force, generation %d\n", done.To, done.Generation)
	return err
}
