package cli

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
)

// operated says what each verb does.
var operated = map[string]string{
	"start":   "end a stop, or start an instance now that waits to be",
	"stop":    "drain and stop a service, and keep it stopped",
	"restart": "roll a service to new instances, or start one anew in place",
	"drain":   "send nothing new to an instance, or to all of a service",
	"undrain": "end a drain",
}

// operate is one of the verbs that take a service or an instance.
func (a *app) operate(verb string) *cobra.Command {
	detach := false
	cmd := &cobra.Command{
		Use: verb + " NAME", Short: operated[verb], GroupID: groupChange, Args: takes("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := a.resolve(cmd.Context(), args[0], "service", "instance")
			if err != nil {
				return err
			}
			done, err := a.client().Do(cmd.Context(), verb, ref)
			if err != nil {
				return err
			}
			return a.done(cmd.Context(), done, detach)
		},
	}
	if verb == "restart" {
		cmd.Long = "A service is rolled to new instances, and no request is lost. An instance is killed with its tree and\n" +
			"started again in place, at once: same name, ports and log. What it has in flight is cut; drain it first\n" +
			"(backstay drain INSTANCE, and undrain it after) where that matters."
		cmd.Flags().BoolVar(&detach, "detach", false, "do not wait for its end")
	}
	return cmd
}

// done shows what was done, and sees a deploy through that follows from it.
func (a *app) done(ctx context.Context, done api.Done, detach bool) error {
	if done.Deploy != nil {
		return a.see(ctx, *done.Deploy, detach)
	}
	return a.print(done, func(w io.Writer) error {
		text := done.Text
		if !done.Changed {
			text += " (as before)"
		}
		_, err := fmt.Fprintln(w, text)
		return err
	})
}

// maxReplicas is the most of one service on one node.
const maxReplicas = 1000

func (a *app) scale() *cobra.Command {
	var reset bool
	cmd := &cobra.Command{
		Use: "scale SERVICE [REPLICAS]", Short: "override how many instances are wanted", GroupID: groupChange, Args: takes("SERVICE", "[REPLICAS]"),
		Long: "Overrides replicas: until the file says the same or --reset ends it. Status and plan show it.",
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := serviceName(args[0])
			if err != nil {
				return err
			}
			n, err := replicas(cmd, args[1:], reset)
			if err != nil {
				return err
			}
			done, err := a.client().Scale(cmd.Context(), name, n)
			if err != nil {
				return err
			}
			return a.done(cmd.Context(), done, false)
		},
	}
	cmd.Flags().BoolVar(&reset, "reset", false, "let the file say how many")
	return cmd
}

// replicas is what scale was asked for: a number, or nil to end the override.
func replicas(cmd *cobra.Command, args []string, reset bool) (*int, error) {
	switch {
	case reset && len(args) > 0:
		return nil, &backstay.Problem{Code: "flags_conflict", What: "a number and --reset exclude each other", Where: "--reset", Do: "leave one of them out"}
	case reset:
		return nil, nil
	case len(args) == 0:
		return nil, &backstay.Problem{Code: "missing_argument", What: cmd.CommandPath() + " needs REPLICAS or --reset", Where: cmd.CommandPath(), Do: "write " + cmd.UseLine()}
	}
	n, err := number("instances", args[0], maxReplicas)
	return &n, err
}
