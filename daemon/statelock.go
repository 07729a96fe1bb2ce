package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/host/proc"
	"github.com/backstay/backstay/internal/keeperwire"
)

// stateWithin is how long an agent waits for the state directory: the one before it
// in the same run directory lets go of both locks by its end, of this one a moment
// later.
const stateWithin = time.Second

// stateLock is the file that an agent holds locked while it writes the state. In it
// is the run directory of the last that did.
func stateLock(d Dirs) string { return filepath.Join(d.State, "lock") }

// holdState makes this process the one that writes the state, until the file it
// returns is closed.
func holdState(ctx context.Context, d Dirs) (*os.File, error) {
	if owner := stateOwner(d); owner != "" && keeps(ctx, owner, d) {
		return nil, stateTaken(d, owner, nil)
	}
	waiting, cancel := context.WithTimeout(ctx, stateWithin)
	defer cancel()
	lock, err := proc.Lock(waiting, stateLock(d))
	if err != nil {
		return nil, stateTaken(d, stateOwner(d), err)
	}
	if err := own(lock, d.Run); err != nil { // on a full disk: then others cannot say whose it is
		err = errors.Join(fmt.Errorf("write %s: %w", lock.Name(), err), lock.Truncate(0))
		return lock, err
	}
	return lock, nil
}

// own writes whose run directory the state is of, where it does not say so already:
// an agent that comes back writes nothing.
func own(lock *os.File, runDir string) error {
	text := runDir + "\n"
	there := make([]byte, len(text)+1) // by lock itself: to open the file anew and close it would end its record lock
	if n, err := lock.ReadAt(there, 0); errors.Is(err, io.EOF) && string(there[:n]) == text {
		return nil
	}
	if err := lock.Truncate(0); err != nil {
		return err //nolint:wrapcheck // the caller tells the story
	}
	_, err := lock.WriteAt([]byte(text), 0)
	return err //nolint:wrapcheck // the caller tells the story
}

// freeState is an error where the state is another's: nothing is begun then.
func freeState(ctx context.Context, d Dirs) error {
	owner := stateOwner(d)
	switch {
	case owner == "" || !exists(stateLock(d)):
		return nil // the agent will see
	case keeps(ctx, owner, d):
		return stateTaken(d, owner, nil)
	}
	lock, err := lockAtOnce(ctx, stateLock(d))
	if err != nil {
		return stateTaken(d, owner, err)
	}
	return lock.Close() //nolint:wrapcheck // it names the file
}

// stateOwner is the run directory of whoever had the state last; empty if that is
// ours, by whatever name, or not known.
func stateOwner(d Dirs) string {
	text, err := os.ReadFile(stateLock(d))
	owner := strings.TrimSpace(string(text))
	if err != nil || sameDir(owner, d.Run) {
		return ""
	}
	return owner
}

// keeps reports whether a keeper runs in the run directory dir whose agent writes
// the state of d: it starts that agent again, which may be away just now.
func keeps(ctx context.Context, dir string, d Dirs) bool {
	k, err := runningKeeper(ctx, Dirs{Run: dir})
	if k != nil {
		_ = k.Close()
	}
	return (k != nil || err != nil) && bootsWith(Dirs{Run: dir}, d.State)
}

// bootsWith reports whether the keeper of d starts an agent with the state directory
// state. A keeper that does not say is taken at its worst.
func bootsWith(d Dirs, state string) bool {
	text, err := os.ReadFile(bootFile(d))
	specs, decodeErr := keeperwire.DecodeBoot(text)
	if err != nil || decodeErr != nil || len(specs) != 1 {
		return true
	}
	argv := specs[0].Argv
	i := slices.Index(argv, "--state-dir")
	return i < 0 || i+1 == len(argv) || sameDir(argv[i+1], state)
}

// sameDir reports whether a and b are one directory, by whatever names.
func sameDir(a, b string) bool {
	ofA, errA := os.Stat(a)
	ofB, errB := os.Stat(b)
	return a == b || errA == nil && errB == nil && os.SameFile(ofA, ofB)
}

// stateTaken is that the state of d is that of owner, a run directory, or whoever
// err says.
func stateTaken(d Dirs, owner string, err error) error {
	locked, ok := errors.AsType[*proc.LockedError](err)
	if err != nil && !ok {
		return err
	}
	who, stop := "another backstay", "end that one"
	if owner != "" {
		who += " (run directory " + owner + ")"
		stop = "use it with --run-dir " + owner + ", or end it with `backstay down --run-dir " + owner + "` and its unit or `up`"
	}
	if ok && locked.PID > 0 {
		who += fmt.Sprintf(", agent pid %d,", locked.PID)
	}
	return &backstay.Problem{
		Code: "already_running", What: who + " has the state directory", Where: d.State,
		Why: "two that write one state would each undo what the other has done",
		Do:  stop + "; or give this one a --state-dir of its own",
	}
}
