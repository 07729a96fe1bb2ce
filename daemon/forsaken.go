package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/backstay/backstay/host/proc"
)

// frontGone is what a front leaves in its lock when it ends by itself: it does
// not come back, as one would that was killed.
const frontGone = "gone\n"

// hopeless is how many keepers in a row an agent tries to start that a front has
// left alone: a minute's worth, which a full disk may take to be mended. Nothing
// is lost by its end, for a keeper that starts after all starts another agent.
const hopeless = 30

// forsaken is why an agent that a front began gets no keeper any more, after so
// many that could not be started; nil while it may hope.
func forsaken(d Dirs, failed int) error {
	text, err := os.ReadFile(frontLock(d))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errors.New("the run directory of its front was taken away")
	case string(text) == frontGone:
		return errors.New("its front has gone for good")
	case failed >= hopeless:
		return fmt.Errorf("%d keepers in a row could not be started", failed)
	}
	return nil
}

// endForsaken has an agent end that no keeper looks after, and waits for that. A
// front that goes takes with it what it began.
func endForsaken(ctx context.Context, d Dirs, lock *os.File) error {
	if _, err := lock.WriteAt([]byte(frontGone), 0); err != nil {
		return fmt.Errorf("tell the agent that its front goes: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveWithin)
	defer cancel()
	agent, err := proc.Lock(ctx, filepath.Join(d.Run, "agent.lock"))
	if err != nil {
		return fmt.Errorf("an agent is left: %w", err)
	}
	return agent.Close() //nolint:wrapcheck // it names the file
}
