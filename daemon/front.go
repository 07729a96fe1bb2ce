package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/api/client"
	"github.com/backstay/backstay/config"
	"github.com/backstay/backstay/host/proc"
	"github.com/backstay/backstay/host/proc/keeperclient"
)

// lockNow is how long a lock is waited for: nobody lets go of it but by ending.
const lockNow = 100 * time.Millisecond

// frontLock is the file that a front holds locked. That it is there says that
// what runs was started by one; [Agent] takes it away.
func frontLock(d Dirs) string { return filepath.Join(d.Run, "front.lock") }

// claim makes this process the front of the directories in o, until the file it
// returns is closed. What an earlier front left running is taken over; what a
// unit started, or another front looks after, is not.
func claim(ctx context.Context, o *UpOptions) (lock *os.File, err error) {
	if err := o.checkMetrics(); err != nil {
		return nil, err
	}
	if o.Dirs, err = o.Dirs.absolute(); err != nil {
		return nil, err
	}
	if err := untaken(ctx, o.Dirs); err != nil {
		return nil, err
	}
	if err := freeState(ctx, o.Dirs); err != nil {
		return nil, err
	}
	if err := o.Dirs.make(); err != nil {
		return nil, err
	}
	if lock, err = lockAtOnce(ctx, frontLock(o.Dirs)); err != nil {
		return nil, alreadyRunning(o.Dirs, "another up looks after it")
	}
	if err := lock.Truncate(0); err != nil { // what the front before has left there
		return nil, errors.Join(fmt.Errorf("claim %s: %w", o.Dirs.Run, err), lock.Close())
	}
	if err := takeKeeper(ctx, o); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

// takeKeeper takes over the keeper that an earlier front has left, if there is one.
func takeKeeper(ctx context.Context, o *UpOptions) error {
	k, err := runningKeeper(ctx, o.Dirs)
	if k == nil && ctx.Err() == nil {
		return nil // one that is frozen is killed by [keepKeeper], and another started
	}
	if err != nil {
		return err
	}
	defer func() { _ = k.Close() }()
	if err := wake(ctx, k, o); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(o.Out, "a backstay runs here already, its keeper is pid %d: taking it over\n", k.Welcome().PID)
	return nil
}

// runningKeeper returns the keeper of these directories, nil if there is none. One
// that says nothing is an error and not none: it may be frozen, or get no CPU.
func runningKeeper(ctx context.Context, d Dirs) (*keeperclient.Client, error) {
	k, err := keeperclient.Dial(ctx, keeperclient.Options{Socket: filepath.Join(d.Keeper(), "sock")})
	if err != nil && (ctx.Err() != nil || errors.Is(err, keeperclient.ErrSilent)) {
		return nil, fmt.Errorf("look for a keeper: %w", err)
	}
	return k, nil
}

// untaken is an error where what runs was not started by a front.
func untaken(ctx context.Context, d Dirs) error {
	if exists(frontLock(d)) {
		return nil
	}
	path := filepath.Join(d.Run, "agent.lock")
	if err := vacant(ctx, d); err != nil || !exists(path) {
		return err
	}
	lock, err := lockAtOnce(ctx, path)
	if err != nil {
		return alreadyRunning(d, "its agent is between two keepers")
	}
	return lock.Close() //nolint:wrapcheck // it names the file
}

// lockAtOnce locks the file at path, if nobody has.
func lockAtOnce(ctx context.Context, path string) (*os.File, error) {
	ctx, cancel := context.WithTimeout(ctx, lockNow)
	defer cancel()
	return proc.Lock(ctx, path) //nolint:wrapcheck // it tells its story
}

// wake sees to it that k has an agent: the front before may have been killed
// when it had just ended it. The next agent is told of our file.
func wake(ctx context.Context, k *keeperclient.Client, o *UpOptions) error {
	opt, _, err := bootKeeper(o.Options)
	if err != nil {
		return err
	}
	spec, err := agentSpec(opt)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, keeperSilent)
	defer cancel()
	err = k.Put(ctx, spec)
	if keeperCode(err) == "no_record" { // a full disk: the agent that it has does
		o.Log.WarnContext(ctx, "the keeper starts the agent as before", "why", err.Error())
		err = nil
	}
	if err = errors.Join(err, k.Start(ctx, agentID)); err != nil {
		return fmt.Errorf("take over what runs: %w", err)
	}
	return nil
}

func alreadyRunning(d Dirs, who string) error {
	return &backstay.Problem{
		Code: "already_running", What: "a backstay runs here already: " + who, Where: d.Run,
		Do: "use `backstay apply FILE` to change what it does, `backstay down` to stop what it runs, or give this one --run-dir, --state-dir and --log-dir of its own",
	}
}

// takeOver puts f in force where s says that it is not: an earlier front has
// left another file, or has begun to stop everything.
func takeOver(ctx context.Context, c *client.Client, s api.Status, f *config.File) error {
	ours := s.Config.Digest == f.Digest() || s.Config.Source == "last_good" && s.Config.RefusedAt.After(started) // this host would not take it just now
	if s.Down == nil && ours {
		return nil
	}
	if _, err := c.Apply(ctx, api.ConfigAsk{Name: f.Name(), Text: f.Text()}); err != nil {
		return fmt.Errorf("apply %s to what runs already; it goes on as it was: %w", f.Name(), err)
	}
	return nil
}

// noFront says that no front has to do with what is started here.
func noFront(d Dirs) error {
	if err := os.Remove(frontLock(d)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("end the claim of a front: %w", err)
	}
	return nil
}
