package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
)

func (a *app) deploy() *cobra.Command {
	var ask api.DeployAsk
	var wait durationFlag
	var detach bool
	cmd := &cobra.Command{
		Use: "deploy SERVICE", Short: "bring in a release, and see it through", GroupID: groupDeploy, Args: takes("SERVICE"),
		Long: "Brings in the release that the file wants, or another version: of it. Returns when traffic has moved\n" +
			"and the old instances are drained and gone. ^C leaves it going on.",
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := serviceName(args[0])
			if err != nil {
				return err
			}
			if err := errors.Join(exclude(cmd, "wait", "supersede"), exclude(cmd, "version", "reset")); err != nil {
				return firstOf(err)
			}
			d, err := a.begin(cmd.Context(), name, ask, wait.Std())
			if err != nil {
				return err
			}
			seen := a.see(cmd.Context(), d, detach)
			if d.State == api.DeployRollingBack { // it was going where it is to go
				seen = rolledBackIsFine(seen)
			}
			return seen
		},
	}
	f := cmd.Flags()
	f.StringVar(&ask.Version, "version", "", "the version: to bring in, kept as an override of the file")
	f.BoolVar(&ask.Reset, "reset", false, "end the override of version:, so that the file says which")
	f.BoolVar(&ask.Again, "again", false, "try a release once more that was rolled back")
	f.BoolVar(&ask.Supersede, "supersede", false, "take the place of a running deploy")
	f.Var(&wait, "wait", "let a running deploy end first, but no longer than this: 15m")
	f.BoolVar(&detach, "detach", false, "do not wait for its end")
	return cmd
}

// firstOf returns the first of joined errors.
func firstOf(err error) error {
	var all interface{ Unwrap() []error }
	if errors.As(err, &all) {
		return all.Unwrap()[0]
	}
	return err
}

// begin starts a deploy, after the running one if there is time for it.
func (a *app) begin(ctx context.Context, service string, ask api.DeployAsk, wait time.Duration) (api.Deploy, error) {
	until := time.Now().Add(wait)
	for {
		d, err := a.client().Deploy(ctx, service, ask)
		var p *backstay.Problem
		if err == nil || !errors.As(err, &p) || p.Code != "deploy_running" || wait == 0 {
			return d, err
		}
		a.say("a deploy of %s is under way; waiting for its end", service)
		if err := a.waitFor(ctx, service, until); err != nil {
			return d, err
		}
	}
}

// waitFor waits for the end of the running deploy.
func (a *app) waitFor(ctx context.Context, service string, until time.Time) error {
	within, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	err := a.client().Watch(within, service, "", func(api.Progress) error { return nil })
	if within.Err() != nil && ctx.Err() == nil {
		return &backstay.Problem{
			Code: "deploy_goes_on", What: "the running deploy of " + service + " has not ended in time", Where: "service/" + service,
			Do: "wait longer with --wait, take its place with --supersede, or undo it with backstay abort " + service,
		}
	}
	return err
}

// see sees a deploy through and shows how it ended.
func (a *app) see(ctx context.Context, d api.Deploy, detach bool) error {
	if !detach {
		var err error
		if d, err = a.watch(ctx, d); err != nil {
			return err
		}
	}
	if err := a.print(d, func(w io.Writer) error {
		_, err := fmt.Fprintln(w, deployEnd(d))
		return err
	}); err != nil || detach {
		return err
	}
	return leave(d.State.Exit())
}

// watch tells what a deploy does until it ends or waits for a person, and
// returns it as it is then.
func (a *app) watch(ctx context.Context, d api.Deploy) (api.Deploy, error) {
	err := a.client().Watch(ctx, d.Service, d.ID, func(p api.Progress) error {
		if p.Deploy != nil {
			d = *p.Deploy
		}
		a.progress(p)
		return nil
	})
	if ctx.Err() != nil {
		return d, goesOn(d.Service)
	}
	return d, err
}

// goesOn says what becomes of a deploy that is not waited for any more.
func goesOn(service string) error {
	return &backstay.Problem{
		Code: "deploy_goes_on", What: "detached: the deploy of " + service + " goes on", Where: "deploy/" + service,
		Do: "look with backstay why deploy/" + service + ", undo it with backstay abort " + service,
	}
}

// deployEnd is how a deploy ended, on one line and, if it went wrong, some more.
func deployEnd(d api.Deploy) string {
	text := fmt.Sprintf("%s: %s", d.To, words(d.State))
	if !d.Ended.IsZero() {
		text += " in " + api.Age(d.Ended.Sub(d.Started))
	}
	if d.Reason != "" {
		text += ": " + plainText(d.Reason)
	}
	text += logTail(d.LastLog)
	switch d.State {
	case api.DeployRolledBack:
		text += fmt.Sprintf("\n%s runs; %s is not tried again by itself (%s)", d.From, d.To, d.Again())
		text += "\nfirst tries: " + d.Met()
	case api.DeployPaused:
		text += "\ngo on with backstay resume " + d.Service + ", undo with backstay abort " + d.Service
	case api.DeployStuck:
		text += "\na person is needed: backstay why service/" + d.Service
	default:
	}
	return text
}

// logTail is the last lines of a log, each on a line of its own.
func logTail(lines []string) string {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString("\n  | " + plainText(l))
	}
	return b.String()
}

// words are the states for people.
func words(s api.DeployState) string {
	switch s {
	case api.DeployRolledBack:
		return "rolled back"
	case api.DeployRollingBack:
		return "being rolled back"
	default:
		return string(s)
	}
}
