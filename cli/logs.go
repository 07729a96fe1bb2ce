package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/daemon"
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
	text string // as it was typed
	ago  backstay.Duration
	at   time.Time
}

// Set implements [pflag.Value].
func (f *sinceFlag) Set(s string) error {
	*f = sinceFlag{text: s} // of two the last counts
	if s == "" {
		return nil // [empty] refuses it, in the words for every flag
	}
	if at, err := time.Parse(time.RFC3339, s); err == nil {
		f.at = at
		return nil
	}
	if err := f.ago.UnmarshalText([]byte(s)); err != nil {
		return fmt.Errorf("it is neither a duration nor a time")
	}
	return nil
}

// String implements [pflag.Value]: empty only if nothing was given, see [empty].
func (f *sinceFlag) String() string { return f.text }

// Type implements [pflag.Value].
func (*sinceFlag) Type() string { return "when" }

// moment returns the time meant, seen from now.
func (f *sinceFlag) moment(now time.Time) time.Time {
	if f.text == "" || !f.at.IsZero() {
		return f.at
	}
	return now.Add(-f.ago.Std())
}

func (a *app) logs() *cobra.Command {
	var q window
	cmd := &cobra.Command{
		Use: "logs NAME", Short: "what a service, an instance or a role has printed", GroupID: groupLook, Args: takes("NAME"),
		Long: "Shows the lines that a service, one instance (shop-7f3a9c) or a role (backstay/proxy) has printed,\n" +
			"the oldest first, over every crash, restart and rotation. With -f instances that come are followed too.\n" +
			"Where no agent answers the files are read directly, and those of roles always, by whom may read them.",
		Example: "  backstay logs shop -f\n  backstay logs shop-7f3a9c -n 100 --since 10m\n  backstay logs backstay/proxy",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := q.check(); err != nil {
				return err
			}
			err := a.showLogs(cmd.Context(), args[0], api.LogQuery{Tail: q.tail, Since: q.since.moment(time.Now()), Follow: q.follow})
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

// showLogs prints what q asks for about arg. What roles print is needed most when
// no agent answers: it is read without one.
func (a *app) showLogs(ctx context.Context, arg string, q api.LogQuery) error {
	if ref, ok := roleRef(arg); ok {
		q.Ref = ref
		if shown, err := a.readLogs(ctx, q); shown || err == nil || ctx.Err() != nil {
			return err
		} // who may not read the files may ask the agent
	}
	ref, err := a.resolve(ctx, arg, "service", "instance", "role")
	if p, ok := errors.AsType[*backstay.Problem](err); ok && p.Code == "no_agent" {
		return a.unasked(ctx, arg, q, err)
	}
	if err != nil {
		return err
	}
	q.Ref = ref
	return a.client().Logs(ctx, q, a.logLine(ref))
}

// unasked reads the logs that arg may mean, where there is no agent to ask.
func (a *app) unasked(ctx context.Context, arg string, q api.LogQuery, none error) error {
	for _, kind := range []string{"", "service/", "instance/"} {
		if kind == "" != strings.Contains(arg, "/") {
			continue
		}
		ref, err := api.CheckRef(kind + arg)
		if err != nil {
			return none
		}
		q.Ref = ref
		if shown, err := a.readLogs(ctx, q); shown || err == nil {
			return err
		}
	}
	return none
}

// readLogs prints from the files themselves. It reports whether it has printed.
func (a *app) readLogs(ctx context.Context, q api.LogQuery) (shown bool, err error) {
	line := a.logLine(q.Ref)
	err = daemon.ReadLogs(ctx, a.dirs, q, func(l api.LogLine) error {
		shown = true
		return line(l)
	})
	return shown, err
}

func (a *app) logLine(ref backstay.Ref) func(api.LogLine) error {
	return func(l api.LogLine) error { return a.item(l, logText(l, ref.Kind() == "service")) }
}

// roleRef returns the role that arg names in full.
func roleRef(arg string) (backstay.Ref, bool) {
	for _, prefix := range []string{"role/", "backstay/"} {
		if name, ok := strings.CutPrefix(arg, prefix); ok && backstay.ValidName(name) {
			return backstay.NewRef("role", name), true
		}
	}
	return "", false
}
