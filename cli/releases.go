package cli

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/backstay/backstay/api"
)

func (a *app) releases() *cobra.Command {
	return &cobra.Command{
		Use: "releases SERVICE", Short: "the kept releases of a service, newest first", GroupID: groupDeploy, Args: takes("SERVICE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := serviceName(args[0])
			if err != nil {
				return err
			}
			all, err := a.client().Releases(cmd.Context(), name)
			if err != nil {
				return err
			}
			return a.print(all, func(w io.Writer) error { return columns(w, releaseRows(all)...) })
		},
	}
}

func releaseRows(all []api.Release) []string {
	rows := []string{row("RELEASE", "VERSION", "STATE", "INSTANCES", "MADE", "BY", "WHY")}
	for _, r := range all {
		state := words(api.DeployState(r.State()))
		switch {
		case r.RolledBack != "":
			state += ": " + short(r.RolledBack)
		case r.NotRestorable != "":
			state = "not restorable: " + short(r.NotRestorable)
		}
		rows = append(rows, row(r.ID, dash(r.Version), state, r.Instances, clock(r.At), dash(r.By), r.Why))
	}
	return rows
}

// dash stands for an empty cell.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
