package keeperclient

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/backstay/backstay/host/proc"
)

// Bounds of starting a keeper.
const (
	// launchWithin is how long a keeper may take until it answers: a thousand
	// instances are adopted in a tenth of a second.
	launchWithin = 10 * time.Second
	// tryEvery is how often it is asked.
	tryEvery = 5 * time.Millisecond
	// maxLog is the size from which a keeper's own log is begun anew; it writes a
	// line when something is wrong, and some at its start.
	maxLog = 1 << 20
	// logTail is how much of that log an error repeats, in bytes.
	logTail = 400
)

// Launch starts the keeper at path for the directory dir, in a session of its
// own, and returns when a keeper answers there: if another one was faster, that
// one. It writes to dir/keeper.log. The keeper outlives this process; env is its
// whole environment.
func Launch(ctx context.Context, path, dir string, env []string) error {
	out, err := openLog(filepath.Join(dir, "keeper.log"))
	if err != nil {
		return fmt.Errorf("start keeper: %w", err)
	}
	defer func() { _ = out.Close() }()
	cmd := exec.CommandContext(context.WithoutCancel(ctx), path, "run", dir)
	cmd.Stdout, cmd.Stderr, cmd.Dir, cmd.Env = out, out, "/", environment(env)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := proc.Start(cmd); err != nil {
		return fmt.Errorf("start keeper: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- proc.Wait(cmd) }() // as long as it lives: else it would end as our zombie
	if err := answers(ctx, filepath.Join(dir, "sock"), ended); err != nil {
		if errors.Is(err, errMute) { // nobody else will ever have it
			_ = cmd.Process.Kill()
		}
		return fmt.Errorf("start keeper: %w%s", err, tail(out.Name()))
	}
	return nil
}

// errMute is why a keeper that was started is given up.
var errMute = fmt.Errorf("it does not answer within %v", launchWithin)

// environment drops what made this process an instance of a keeper: the keeper is
// none, and where there are no cgroups it kills by these marks.
func environment(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(v string) bool {
		return strings.HasPrefix(v, "BACKSTAY_INSTANCE=") || strings.HasPrefix(v, "BACKSTAY_KEEPER=") || strings.HasPrefix(v, "LISTEN_")
	})
}

// answers returns when a keeper answers at socket.
func answers(ctx context.Context, socket string, ended <-chan error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, launchWithin, errMute)
	defer cancel()
	tick := time.NewTicker(tryEvery)
	defer tick.Stop()
	var exit error
	for {
		c, err := Dial(ctx, Options{Socket: socket})
		if err == nil {
			return c.Close()
		}
		if exit != nil {
			return fmt.Errorf("it has ended: %w", exit)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case exit = <-ended: // of two keepers one ends: ask once more who has won
			if exit == nil {
				exit = errors.New("exit status 0")
			}
		case <-tick.C:
		}
	}
}

// openLog opens the keeper's own log to append to it. A keeper without one is better
// than none: where there is no room for it, what it says is lost.
func openLog(path string) (*os.File, error) {
	if info, err := os.Stat(path); err == nil && info.Size() > maxLog {
		_ = os.Rename(path, path+".1") // else it grows on
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		f, err = os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	return f, nil
}

// tail returns the end of the log as one line to append to an error.
func tail(path string) string {
	text, err := os.ReadFile(path)
	line := strings.Join(strings.Fields(string(text[max(0, len(text)-logTail):])), " ")
	if err != nil || line == "" {
		return ""
	}
	return "; its log ends with: " + line
}
