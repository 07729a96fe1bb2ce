package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
)

func (a *app) rollback() *cobra.Command {
	var to int
	var detach bool
	cmd := &cobra.Command{
		Use: "rollback SERVICE", Short: "go back to the last good release before this one", GroupID: groupDeploy, Args: takes("SERVICE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := serviceName(args[0])
			if err != nil {
				return err
			}
			if to < 0 {
				return &backstay.Problem{Code: "bad_flag_value", What: fmt.Sprintf("there is no release %d", to), Where: "--to", Do: "backstay releases " + name + " lists them"}
			}
			d, err := a.client().Rollback(cmd.Context(), name, to)
			if err != nil {
				return err
			}
			return a.undone(a.see(cmd.Context(), d, detach), "rollback")
		},
	}
	cmd.Flags().IntVar(&to, "to", 0, "number of the release, as in 13 for shop@13")
	cmd.Flags().BoolVar(&detach, "detach", false, "do not wait for its end")
	return cmd
}

// onDeploy is pause, resume or abort.
func (a *app) onDeploy(verb string) *cobra.Command {
	short := map[string]string{
		"pause":  "hold the running deploy where it is",
		"resume": "let a paused deploy go on",
		"abort":  "undo the running deploy: traffic first, instances second",
	}
	detach := verb == "pause" // nothing follows that could be waited for
	cmd := &cobra.Command{
		Use: verb + " SERVICE", Short: short[verb], GroupID: groupDeploy, Args: takes("SERVICE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := serviceName(args[0])
			if err != nil {
				return err
			}
			d, err := a.client().OnDeploy(cmd.Context(), verb, name)
			if err != nil {
				return err
			}
			return a.undone(a.see(cmd.Context(), d, detach), verb)
		},
	}
	if verb != "pause" {
		cmd.Long = "Returns when the deploy has ended. ^C leaves it going on."
		cmd.Flags().BoolVar(&detach, "detach", false, "do not wait for its end")
	}
	return cmd
}

// undone takes a deploy that was rolled back for what abort and rollback had asked for.
func (a *app) undone(err error, verb string) error {
	if verb != "abort" && verb != "rollback" {
		return err
	}
	return rolledBackIsFine(err)
}

// rolledBackIsFine is err, but for the end of a deploy that was rolled back.
func rolledBackIsFine(err error) error {
	if e, ok := err.(exit); ok && e.code == api.DeployRolledBack.Exit() { //nolint:errorlint // it is not wrapped
		return nil
	}
	return err
}
