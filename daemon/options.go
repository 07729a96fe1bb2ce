package daemon

import (
	"io"
	"log/slog"
	"os"
	"time"
)

// Options are what every role is started with.
type Options struct {
	File    string // the file: what is desired
	Dirs    Dirs
	Log     *slog.Logger
	Metrics string // loopback address for /metrics; empty is none
	Version string // of this program
}

// UpOptions are those of the front, [Up].
type UpOptions struct {
	Options

	Out   io.Writer        // events, for people
	Ready func(run string) // called once with the run directory, when the agent answers; may be nil
}

// program is the path of this program, which every role is started from. Tests
// put themselves where the proxy's user may read.
var program = os.Executable

// arguments are the flags that give a role the same directories and file.
func (o Options) arguments() []string {
	args := []string{"--run-dir", o.Dirs.Run, "--state-dir", o.Dirs.State, "--log-dir", o.Dirs.Log}
	if o.File != "" {
		args = append(args, "--config", o.File)
	}
	if o.Metrics != "" {
		args = append(args, "--metrics", o.Metrics)
	}
	return args
}

// started is when this process began.
var started = time.Now()
