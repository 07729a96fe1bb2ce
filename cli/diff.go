package cli

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

func (a *app) diff() *cobra.Command {
	return &cobra.Command{
		Use: "diff FROM TO", Short: "what differs between two releases or two files", GroupID: groupDeploy, Args: takes("FROM", "TO"),
		Long: "Compares two releases (shop@13 shop@14) or two files: digests as history shows them, or running,\nlast_good, file.",
		RunE: func(cmd *cobra.Command, args []string) error {
			changes, err := a.client().Diff(cmd.Context(), args[0], args[1])
			if err != nil {
				return err
			}
			return a.print(changes, func(w io.Writer) error {
				if len(changes) == 0 {
					_, err := fmt.Fprintln(w, "no difference")
					return err
				}
				return writeChanges(w, changes, "")
			})
		},
	}
}
