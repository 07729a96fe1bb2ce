package cli

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/backstay/backstay/daemon"
)

func (a *app) up() *cobra.Command {
	return a.front("up", "run a file in the foreground, until ^C drains and stops it", "Starts all that FILE asks for and prints events. ^C drains and stops everything. Killed -9 it\n"+
		"costs nothing: what runs goes on, and the next up, or backstay down, takes it over.", daemon.Up)
}

func (a *app) dev() *cobra.Command {
	return a.front("dev", "as up, with its state in a directory of its own that is removed", "Runs FILE as up does, beside anything else on this host: sockets, state and logs are in a\n"+
		"temporary directory that is removed at the end.", daemon.Dev)
}

// front is a command that stays in the foreground.
func (a *app) front(name, short, long string, run func(context.Context, daemon.UpOptions) error) *cobra.Command {
	var o daemon.UpOptions
	cmd := &cobra.Command{
		Use: name + " [FILE]", Short: short, Long: long, GroupID: groupRun, Args: takes("[FILE]"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.File = fileArg(args)
			o.Dirs, o.Version, o.Out = a.dirs, Version, a.Out
			o.Log = slog.New(slog.NewTextHandler(a.Err, &slog.HandlerOptions{Level: slog.LevelWarn}))
			o.Ready = func(run string) { a.say("up; look with backstay%s status, stop with ^C", elsewhere(run)) }
			err := run(cmd.Context(), o)
			if path, ok := errors.AsType[*fs.PathError](err); ok && path.Path == o.File {
				return unreadable(o.File, err)
			}
			return err
		},
	}
	cmd.Flags().StringVar(&o.Metrics, "metrics", "", "loopback address to be scraped at, as in 127.0.0.1:9090")
	return cmd
}

// elsewhere is the flag by which a command finds an agent whose run directory is
// not that of everybody.
func elsewhere(run string) string {
	if run == daemon.DefaultDirs().Run {
		return ""
	}
	return " --run-dir " + run
}

// fileArg is the file that a command is about.
func fileArg(args []string) string {
	if len(args) > 0 {
		return args[0]
	}
	return defaultFile
}
