package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/backstay/backstay/api"
)

func (a *app) down() *cobra.Command {
	return &cobra.Command{
		Use: "down", Short: "drain and stop every service", GroupID: groupRun, Args: takes(),
		Long: "Drains and stops every service and returns when none runs any more. The agent and the keeper\n" +
			"stay. backstay apply ends it, and so does a reboot; backstay start NAME ends it for NAME alone.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var last api.Progress
			err := a.client().Down(cmd.Context(), func(p api.Progress) error {
				last = p
				if !p.Final {
					a.progress(p)
				}
				return nil
			})
			if err != nil {
				return err
			}
			return a.print(last, func(w io.Writer) error {
				_, err := fmt.Fprintln(w, last.Text)
				return err
			})
		},
	}
}

// progress tells one line of what goes on.
func (a *app) progress(p api.Progress) {
	_, _ = fmt.Fprintf(a.Err, " %s  %s\n", p.At.Format("15:04:05.0"), p.Text) // nobody is left to tell
}
