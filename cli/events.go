package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
)

func (a *app) events() *cobra.Command {
	var q window
	cmd := &cobra.Command{
		Use: "events [KIND/NAME]", Short: "what changed, from what to what, because of what", GroupID: groupLook, Args: takes("[KIND/NAME]"),
		Long: "Shows the events about KIND/NAME, and what is below it, or all. A bare name will do for what there is.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := q.check(); err != nil {
				return err
			}
			ask := api.EventQuery{Tail: q.tail, Since: q.since.moment(time.Now()), Follow: q.follow}
			if len(args) > 0 {
				var err error
				if ask.Ref, err = a.about(cmd.Context(), args[0]); err != nil {
					return err
				}
			}
			err := a.client().Events(cmd.Context(), ask, func(e backstay.Event) error { return a.item(e, eventText(e)) })
			return a.ended(cmd.Context(), q.follow, err)
		},
	}
	q.flags(cmd, 50, "events")
	return cmd
}

// about returns what events are asked for. What has gone has events too, by its
// whole name.
func (a *app) about(ctx context.Context, arg string) (backstay.Ref, error) {
	if strings.Contains(arg, "/") && !strings.HasPrefix(arg, "backstay/") {
		return api.CheckRef(arg)
	}
	return a.resolve(ctx, arg, api.Kinds...)
}

// eventText is an event on one line.
func eventText(e backstay.Event) string {
	text := e.At.Format("2006-01-02 15:04:05.000") + " " + string(e.Kind) + " " + string(e.Ref)
	switch {
	case e.From != "" && e.To != "":
		text += ": " + e.From + " → " + e.To
	case e.To != "":
		text += ": " + e.To
	}
	if e.Because != "" {
		text += ", " + e.Because
	}
	if e.Actor != "" {
		text += " [" + e.Actor + "]"
	}
	return plainText(text)
}
