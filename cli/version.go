package cli

import (
	"context"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/api/client"
)

// versionWithin is how long version looks for an agent: it is no reason to wait.
const versionWithin = 200 * time.Millisecond

// versions is what version prints.
type versions struct {
	Program string       `json:"program"`
	Agent   *api.Version `json:"agent,omitempty"`
}

func (a *app) version() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "of this program, and of the agent if one answers", GroupID: groupLook, Args: takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), versionWithin)
			defer cancel()
			v := versions{Program: Version}
			if agent, err := client.New(client.Options{Socket: a.dirs.API(), Wait: time.Nanosecond}).Version(ctx); err == nil {
				v.Agent = &agent
			}
			return a.print(v, func(w io.Writer) error {
				rows := []string{row("backstay", v.Program)}
				if v.Agent != nil {
					rows = append(rows, row("agent", v.Agent.Version, "pid", v.Agent.PID, "since", clock(v.Agent.Since)))
				}
				return columns(w, rows...)
			})
		},
	}
}
