package cli

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/demo"
)

// demo is the command that shows what is promised.
func (a *app) demo() *cobra.Command {
	var report string
	cmd := &cobra.Command{
		Use: "demo", GroupID: groupRun, Args: cobra.NoArgs,
		Short: "run a shop, break everything in turn, print what it cost",
		Long: "demo runs a real program three times under a Backstay of its own, puts load on\nit, kills and freezes everything in turn, deploys a good and a bad release, and\n" +
			"counts what a client noticed. It needs the shop that `make build` puts beside\nbackstay. It ends with an error if a promise was broken.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := demo.Run(cmd.Context(), demo.Options{
				Out: a.Out, In: a.In, Terminal: a.Terminal, Width: a.columns(), Dumb: a.Getenv("TERM") == "dumb", Report: report, BuiltIn: a.Getenv("BACKSTAY_BUILT_IN"),
			})
			if errors.Is(err, demo.ErrBroken) {
				return &backstay.Problem{Code: "promise_broken", What: err.Error(), Where: "demo", Do: "see the lines BROKEN above, and report them with " + report}
			}
			return err //nolint:wrapcheck // it tells its story
		},
	}
	cmd.Flags().StringVar(&report, "report", "demo-report.json", "file of the report")
	return cmd
}

// demoLoad is the load of demo, a process of its own.
func (a *app) demoLoad() *cobra.Command {
	return &cobra.Command{
		Use: "demo-load ADDRESS...", Hidden: true, Args: cobra.MinimumNArgs(1),
		Short: "put load on addresses until standard input ends",
		RunE: func(cmd *cobra.Command, args []string) error {
			return demo.Load(cmd.Context(), args, a.In, a.Out) //nolint:wrapcheck // it tells its story
		},
	}
}
