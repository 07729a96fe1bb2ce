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

// Bounds of a claim.
const (
	claimWithin = time.Second            // a keeper that lives answers sooner
	lockNow     = 100 * time.Millisecond // nobody lets go of the lock but by ending
)

// frontLock is the file that a front holds locked. That it is there says that
// what runs was started by one; [Agent] takes it away.
func frontLock(d Dirs) string { return filepath.Join(d.Run, "front.lock") }

// claim makes this process the front of the directories in o, until the file it
// returns is closed. What an earlier front left running is taken over; what a
// unit started, or another front looks after, is not.
func claim(ctx context.Context, o *UpOptions) (lock *os.File, err error) {
	if o.Dirs, err = o.Dirs.absolute(); err != nil {
		return nil, err
	}
	k := runningKeeper(ctx, o.Dirs)
	if k != nil {
		defer func() { _ = k.Close() }()
		if !exists(frontLock(o.Dirs)) {
			return nil, alreadyRunning(o.Dirs, fmt.Sprintf("its keeper is pid %d", k.Welcome().PID))
		}
	}
	if err := o.Dirs.make(); err != nil {
		return nil, err
	}
	waiting, cancel := context.WithTimeout(ctx, lockNow)
	defer cancel()
	if lock, err = proc.Lock(waiting, frontLock(o.Dirs)); err != nil {
		return nil, alreadyRunning(o.Dirs, "another up looks after it")
	}
	if err := lock.Truncate(0); err != nil { // what the front before has left there
		return nil, errors.Join(fmt.Errorf("claim %s: %w", o.Dirs.Run, err), lock.Close())
	}
	if k == nil {
		return lock, nil
	}
	if err := wake(ctx, k, o); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	_, _ = fmt.Fprintf(o.Out, "a backstay runs here already, its keeper is pid %d: taking it over\n", k.Welcome().PID)
	return lock, nil
}

// runningKeeper returns the keeper of these directories, nil if there is none.
func runningKeeper(ctx context.Context, d Dirs) *keeperclient.Client {
	ctx, cancel := context.WithTimeout(ctx, claimWithin)
	defer cancel()
	k, err := keeperclient.Dial(ctx, keeperclient.Options{Socket: filepath.Join(d.Keeper(), "sock")})
	if err != nil {
		return nil
	}
	return k
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
	if err := errors.Join(k.Put(ctx, spec), k.Start(ctx, agentID)); err != nil {
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
