package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
)

// maxTail is as many lines as can be asked for.
const maxTail = 1_000_000

// window are the flags that choose a stretch of time.
type window struct {
	tail   int
	since  sinceFlag
	follow bool
}

func (q *window) flags(cmd *cobra.Command, tail int, what string) {
	f := cmd.Flags()
	f.IntVarP(&q.tail, "tail", "n", tail, "how many "+what+" of the past at most; 0 is all")
	f.Var(&q.since, "since", "not older than this: 10m, or 2026-01-02T15:04:05Z")
	f.BoolVarP(&q.follow, "follow", "f", false, "go on with what comes")
}

func (q *window) check() error {
	if q.tail < 0 || q.tail > maxTail {
		return &backstay.Problem{
			Code: "bad_flag_value", What: fmt.Sprintf("%d is no number of lines", q.tail), Where: "--tail",
			Do: fmt.Sprintf("write a number from 0 to %d", maxTail),
		}
	}
	return nil
}

// sinceFlag is a moment, or how long ago it was.
type sinceFlag struct {
	ago backstay.Duration
	at  time.Time
}

// Set implements [pflag.Value].
func (f *sinceFlag) Set(s string) error {
	if at, err := time.Parse(time.RFC3339, s); err == nil {
		f.at = at
		return nil
	}
	if err := f.ago.UnmarshalText([]byte(s)); err != nil {
		return fmt.Errorf("it is neither a duration nor a time")
	}
	return nil
}

// String implements [pflag.Value].
func (f *sinceFlag) String() string { return "" }

// Type implements [pflag.Value].
func (*sinceFlag) Type() string { return "when" }

// moment returns the time meant, seen from now.
func (f *sinceFlag) moment(now time.Time) time.Time {
	if f.ago > 0 {
		return now.Add(-f.ago.Std())
	}
	return f.at
}

func (a *app) logs() *cobra.Command {
	var q window
	cmd := &cobra.Command{
		Use: "logs NAME", Short: "what a service, an instance or a role has printed", GroupID: groupLook, Args: takes("NAME"),
		Long: "Shows the lines that a service, one instance (shop-7f3a9c) or a role (backstay/proxy) has printed,\n" +
			"the oldest first, over every crash, restart and rotation. With -f instances that come are followed too.",
		Example: "  backstay logs shop -f\n  backstay logs shop-7f3a9c -n 100 --since 10m\n  backstay logs backstay/proxy",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := q.check(); err != nil {
				return err
			}
			ref, err := a.resolve(cmd.Context(), args[0], "service", "instance", "role")
			if err != nil {
				return err
			}
			ask := api.LogQuery{Ref: ref, Tail: q.tail, Since: q.since.moment(time.Now()), Follow: q.follow}
			err = a.client().Logs(cmd.Context(), ask, func(l api.LogLine) error { return a.item(l, logText(l, ref.Kind() == "service")) })
			return a.ended(cmd.Context(), q.follow, err)
		},
	}
	q.flags(cmd, 100, "lines of each instance")
	return cmd
}

// logText is a line for people: what would drive a terminal is taken out.
func logText(l api.LogLine, several bool) string {
	text := ""
	if !l.At.IsZero() { // the index of the log is lost, or there is none: the line tells the time itself, or nobody does
		text = l.At.Format("2006-01-02 15:04:05.000") + " "
	}
	if several {
		text += l.Instance + " "
	}
	if l.Stream == "stderr" {
		text += "! "
	}
	return text + harmless(l.Text)
}

// harmless is s without what would drive a terminal; a tab stays.
func harmless(s string) string {
	parts := strings.Split(s, "\t")
	for i, p := range parts {
		parts[i] = plainText(p)
	}
	return strings.Join(parts, "\t")
}

// ended takes ^C for the end of what follows without end.
func (a *app) ended(ctx context.Context, follow bool, err error) error {
	if follow && ctx.Err() != nil {
		err = nil
	}
	return err
}
