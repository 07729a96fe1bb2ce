package cli

import (
	"log/slog"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/daemon"
)

// defaultFile is the file where no other is named.
const defaultFile = "/etc/backstay/backstay.yaml"

// logger writes for programs: what runs under a unit is read by others.
func (a *app) logger() *slog.Logger { return slog.New(slog.NewJSONHandler(a.Err, nil)) }

// roleFlags are those of whatever runs a role.
func roleFlags(f *pflag.FlagSet, o *daemon.Options) {
	f.StringVar(&o.File, "config", defaultFile, "the file: what is desired")
	f.StringVar(&o.Metrics, "metrics", "", "loopback address to be scraped at, as in 127.0.0.1:9090")
}

func (a *app) agent() *cobra.Command {
	var o daemon.Options
	cmd := &cobra.Command{
		Use: "agent", Short: "what a unit starts: become the keeper, which starts the rest", GroupID: groupRun, Args: takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Dirs, o.Log, o.Version = a.dirs, a.logger(), Version
			return daemon.Agent(cmd.Context(), o)
		},
	}
	roleFlags(cmd.Flags(), &o)
	return cmd
}

// role is how the keeper starts the roles; people do not.
func (a *app) role() *cobra.Command {
	var o daemon.Options
	cmd := &cobra.Command{
		Use: "role NAME", Short: "run one role", Hidden: true, Args: takes("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Dirs, o.Log, o.Version = a.dirs, a.logger(), Version
			err := daemon.Role(cmd.Context(), args[0], o)
			if err == nil || cmd.Context().Err() != nil {
				return nil //nolint:nilerr // told to end, it has ended
			}
			o.Log.Error("role ended", "role", args[0], "error", err) // its log is JSON: no talk
			return leave(api.Exit(&asRefusal(err).Problem))
		},
	}
	roleFlags(cmd.Flags(), &o)
	return cmd
}
