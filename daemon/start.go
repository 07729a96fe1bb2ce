package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/host/proc"
	"github.com/backstay/backstay/host/proc/keeperbin"
	"github.com/backstay/backstay/host/proc/keeperclient"
	"github.com/backstay/backstay/internal/atomicfile"
	"github.com/backstay/backstay/internal/keeperwire"
)

// keeperMemory is where the keeper's heap would be collected at last: it needs
// a tenth of that for a thousand children.
const keeperMemory = "64MiB"

// Agent is what a unit starts: this process becomes the keeper, which starts
// the agent role and all that follows. It returns only on an error.
func Agent(_ context.Context, o Options) error {
	o, program, err := bootKeeper(o)
	if err == nil {
		err = noFront(o.Dirs)
	}
	if err != nil {
		return err
	}
	return proc.Exec(program, []string{program, "run", o.Dirs.Keeper()}, keeperEnvironment()) //nolint:wrapcheck // it tells its story
}

// keeperEnvironment has the keeper's memory managed without a collector that
// would stop it now and then.
func keeperEnvironment() []string {
	return append(ownEnvironment(), "GOGC=off", "GOMEMLIMIT="+keeperMemory)
}

// bootKeeper writes what a keeper starts by itself, and returns its program.
func bootKeeper(o Options) (Options, string, error) {
	var err error
	if o.Dirs, err = o.Dirs.absolute(); err != nil {
		return o, "", err
	}
	if o.File, err = filepath.Abs(o.File); err != nil {
		return o, "", fmt.Errorf("find file: %w", err)
	}
	if err := o.Dirs.check(); err != nil {
		return o, "", err
	}
	if err := o.Dirs.make(); err != nil {
		return o, "", err
	}
	spec, err := agentSpec(o)
	if err != nil {
		return o, "", err
	}
	boot := keeperwire.AppendBoot(nil, &spec)
	if err := atomicfile.WriteFile(filepath.Join(o.Dirs.Keeper(), "boot"), boot, 0o600); err != nil {
		return o, "", fmt.Errorf("write boot file of the keeper: %w", err)
	}
	program, err := keeperbin.Path(o.Dirs.State)
	if err != nil {
		return o, "", err //nolint:wrapcheck // it says what to do
	}
	return o, program, nil
}

// launchKeeper starts a keeper beside this process.
func launchKeeper(ctx context.Context, o Options) error {
	o, program, err := bootKeeper(o)
	if err != nil {
		return err
	}
	if err := keeperclient.Launch(ctx, program, o.Dirs.Keeper(), keeperEnvironment()); err != nil {
		return fmt.Errorf("start keeper: %w", err)
	}
	return nil
}

// Role runs one role in this process until ctx is done.
func Role(ctx context.Context, name string, o Options) error {
	ctx, stop := proc.UntilTold(ctx)
	defer stop()
	o.Log = slog.New(slog.NewJSONHandler(os.Stderr, nil)).With("role", name)
	switch name {
	case "agent":
		return runAgent(ctx, o)
	case "proxy":
		return runProxy(ctx, o)
	default:
		return &backstay.Problem{Code: "not_found", What: "there is no role " + name, Where: name, Do: "roles are agent and proxy; the keeper starts them"}
	}
}
