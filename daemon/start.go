package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

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
func Agent(ctx context.Context, o Options) error {
	err := o.checkMetrics()
	if err != nil {
		return err
	}
	if o.Dirs, err = o.Dirs.absolute(); err != nil {
		return err
	}
	if err := vacant(ctx, o.Dirs); err != nil {
		return err
	}
	if err := freeState(ctx, o.Dirs); err != nil {
		return err
	}
	o, program, err := bootKeeper(o)
	if err == nil {
		err = noFront(o.Dirs)
	}
	if err != nil {
		return err
	}
	return proc.Exec(program, []string{program, "run", o.Dirs.Keeper()}, keeperEnvironment()) //nolint:wrapcheck // it tells its story
}

// vacant is an error where a keeper runs: one that is started beside it would end
// without a word, and what it was to start with is not ours to change.
func vacant(ctx context.Context, d Dirs) error {
	k, err := runningKeeper(ctx, d)
	switch {
	case errors.Is(err, keeperclient.ErrSilent):
		return alreadyRunning(d, "its keeper does not answer just now")
	case k == nil:
		return err
	}
	defer func() { _ = k.Close() }()
	return alreadyRunning(d, fmt.Sprintf("its keeper is pid %d", k.Welcome().PID))
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
	if err := writeBoot(o, &spec); err != nil {
		return o, "", err
	}
	program, err := keeperbin.Path(o.Dirs.State)
	if err != nil {
		return o, "", err //nolint:wrapcheck // it says what to do
	}
	return o, program, nil
}

// bootFile is what a keeper starts by itself.
func bootFile(d Dirs) string { return filepath.Join(d.Keeper(), "boot") }

// writeBoot writes what a keeper starts by itself, where it is not there already: a
// keeper must come back though the run directory is full. For that the environment
// of an earlier start does too, if all else is what is wanted.
func writeBoot(o Options, agent *keeperwire.Spec) error {
	path, boot := bootFile(o.Dirs), keeperwire.AppendBoot(nil, agent)
	there, err := os.ReadFile(path)
	if err == nil && bytes.Equal(there, boot) {
		return nil
	}
	err = atomicfile.WriteFile(path, boot, 0o600)
	if err == nil {
		return nil
	}
	old, oldErr := keeperwire.DecodeBoot(there)
	if oldErr == nil && len(old) == 1 && slices.Equal(old[0].Argv, agent.Argv) {
		o.Log.Warn("boot file of the keeper not written, the one before does", "why", err.Error())
		return nil
	}
	return fmt.Errorf("write boot file of the keeper: %w", err)
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
	if os.Getenv("BACKSTAY_INSTANCE") != "backstay-"+name || os.Getenv("BACKSTAY_KEEPER") != o.Dirs.Keeper() {
		return byHand(name)
	}
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

// byHand refuses a role that no keeper has started: it would take the place of the
// one that the keeper starts next.
func byHand(name string) error {
	return &backstay.Problem{
		Code: "denied", What: "the keeper of these directories starts the role " + name + ", and nobody else", Where: "role/" + name,
		Do: "use `backstay up FILE`, or `backstay agent` in a unit",
	}
}
