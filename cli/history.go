package cli

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/backstay/backstay/api"
)

func (a *app) history() *cobra.Command {
	return &cobra.Command{
		Use: "history [SERVICE]", Short: "the deploys of a service, or the files that were in force", GroupID: groupDeploy, Args: takes("[SERVICE]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				all, err := a.client().Configs(cmd.Context())
				if err != nil {
					return err
				}
				return a.print(all, func(w io.Writer) error { return columns(w, configRows(all)...) })
			}
			name, err := serviceName(args[0])
			if err != nil {
				return err
			}
			all, err := a.client().History(cmd.Context(), name)
			if err != nil {
				return err
			}
			return a.print(all, func(w io.Writer) error { return columns(w, deployRows(all)...) })
		},
	}
}

func deployRows(all []api.Deploy) []string {
	rows := []string{row("BEGUN", "FROM", "TO", "VERSION", "STATE", "TOOK", "BY", "WHY")}
	for _, d := range all {
		took := "-"
		if !d.Ended.IsZero() {
			took = api.Age(d.Ended.Sub(d.Started))
		}
		state := words(d.State)
		if d.Reason != "" {
			state += ": " + short(d.Reason)
		}
		rows = append(rows, row(clock(d.Started), dash(d.From), d.To, dash(d.Version), state, took, dash(d.By), d.Why))
	}
	return rows
}

func configRows(all []api.Config) []string {
	rows := []string{row("CONFIG", "APPLIED", "BY", "FILE", "")}
	for _, c := range all {
		use := ""
		if c.InUse {
			use = "in force"
		}
		rows = append(rows, row(c.Digest, clock(c.At), dash(c.By), c.File, use))
	}
	return rows
}
