package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/api/client"
	"github.com/backstay/backstay/config"
	"github.com/backstay/backstay/host/proc"
	"github.com/backstay/backstay/host/proc/keeperclient"
)

// keeperAgain is the pause before a keeper is started anew that could not be.
const keeperAgain = 200 * time.Millisecond

// keeperYoung is the life of a keeper that counts as one that could not be started:
// one that ends at once, again and again, would take a CPU.
const keeperYoung = time.Second

// Up is the front: it starts a keeper in a session of its own, starts it again
// as systemd would, and prints events until ctx is done. Then it drains and
// stops everything. Killed, or its terminal closed, it costs nothing: what runs
// goes on, and the next Up takes it over. A second signal ends it at once, and
// what was told to stop goes on stopping.
func Up(ctx context.Context, o UpOptions) error {
	f, err := config.Load(o.File)
	if err != nil {
		return err //nolint:wrapcheck // it is all mistakes of the file
	}
	claimed, err := claim(ctx, &o)
	if err != nil {
		return err
	}
	defer func() { _ = claimed.Close() }()
	if err := proc.Subreaper(); err != nil {
		o.Log.WarnContext(ctx, "orphans go to PID 1", "why", err.Error())
	}
	ctx, untold := proc.UntilTold(ctx)
	defer untold()
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	beat := newLastBeat()
	go func() { _ = proc.Reap(run, beat.sawExit, beat.news) }()
	ended, refused := make(chan error, 1), make(chan refusedFile, 1)
	go func() { ended <- keepKeeper(run, o.Options, beat) }()
	go tellEvents(ctx, o, f, refused)
	select {
	case err := <-ended:
		return errors.Join(err, endForsaken(ctx, o.Dirs, claimed))
	case r := <-refused:
		if err = r.why; r.others { // it runs what it ran before
			stop()
			return errors.Join(err, <-ended)
		}
	case <-ctx.Done():
	}
	err = errors.Join(err, stopAll(run, o), endAll(run, o.Dirs, longestGrace(f)))
	stop() // from here on no keeper is started anew
	return errors.Join(err, <-ended, leave(context.WithoutCancel(ctx), o.Dirs), endForsaken(ctx, o.Dirs, claimed))
}

// refusedFile is why a file was not put in force.
type refusedFile struct {
	why    error
	others bool // another file is: what runs is not ours to stop
}

// keepKeeper starts a keeper whenever there is none, until ctx is done. The
// first one must start.
func keepKeeper(ctx context.Context, o Options, last *lastBeat) error {
	for first := true; ctx.Err() == nil; {
		k, err := keeperclient.Dial(ctx, keeperclient.Options{Socket: filepath.Join(o.Dirs.Keeper(), "sock"), Log: o.Log, KillSilent: true})
		if err == nil {
			first = false
			met := time.Now()
			beatOn(ctx, o.Log, k, last)
			_ = k.Close()
			if time.Since(met) < keeperYoung {
				pause(ctx, keeperAgain)
			}
			continue
		}
		if ctx.Err() != nil { // the keeper may be there, and only slow
			return nil //nolint:nilerr // being told to end is no story
		}
		if err := launchKeeper(ctx, o); err != nil && ctx.Err() == nil {
			if first {
				return err
			}
			o.Log.ErrorContext(ctx, "keeper not started", "why", err.Error())
			pause(ctx, keeperAgain)
		}
	}
	return nil
}

// pause waits for d or for ctx.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// tellEvents prints what happens, over every restart of the agent. A file that
// could not be put in force is told to refused.
func tellEvents(ctx context.Context, o UpOptions, f *config.File, refused chan<- refusedFile) {
	c := client.New(client.Options{Socket: o.Dirs.API()})
	quiet := silence{o: o}
	for ctx.Err() == nil {
		s, err := c.Status(ctx)
		quiet.tell(ctx, err)
		if err == nil && s.Config.Digest == "" && s.Config.Refused != nil {
			refused <- refusedFile{why: s.Config.Refused}
			return
		}
		if err == nil && s.Config.Digest != "" {
			if err := takeOver(ctx, c, s, f); err != nil && ctx.Err() == nil {
				refused <- refusedFile{why: err, others: true}
				return
			}
			break
		}
		pause(ctx, keeperAgain)
	}
	if o.Ready != nil && ctx.Err() == nil {
		o.Ready(o.Dirs.Run)
	}
	since := started
	for ctx.Err() == nil {
		quiet.tell(ctx, c.Events(ctx, api.EventQuery{Since: since, Follow: true}, func(e backstay.Event) error {
			since = e.At.Add(1)
			quiet.over()
			return tellEvent(o.Out, e)
		}))
		pause(ctx, keeperAgain)
	}
}

func tellEvent(to io.Writer, e backstay.Event) error {
	line := e.At.Local().Format("15:04:05.000") + " " + string(e.Ref)
	switch {
	case e.From != "" || e.To != "":
		line += " " + strings.TrimPrefix(e.From+" → "+e.To, " ")
	default:
		line += " " + string(e.Kind)
	}
	if e.Because != "" {
		line += ": " + e.Because
	}
	_, err := fmt.Fprintln(to, line)
	return err //nolint:wrapcheck // nobody sees it
}

// stopAll drains and stops every service.
func stopAll(ctx context.Context, o UpOptions) error {
	c := client.New(client.Options{Socket: o.Dirs.API()})
	err := c.Down(ctx, func(p api.Progress) error {
		_, err := fmt.Fprintln(o.Out, p.Text)
		return err //nolint:wrapcheck // nobody sees it
	})
	if err != nil { // the keeper stops them, without their order
		return fmt.Errorf("stop services by the agent: %w", err)
	}
	return nil
}

// Dev is [Up] with state in a directory of its own, gone afterwards.
func Dev(ctx context.Context, o UpOptions) error {
	dir, err := os.MkdirTemp("", "backstay-dev-")
	if err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.Chmod(dir, 0o755); err != nil { // instances of other users reach their logs
		return fmt.Errorf("make directory: %w", err)
	}
	o.Dirs = DirsIn(dir)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // nobody would find it again once its terminal is gone
		select {
		case <-proc.Hangups():
			cancel()
		case <-ctx.Done():
		}
	}()
	return Up(ctx, o)
}

// DirsIn returns directories below one.
func DirsIn(dir string) Dirs {
	return Dirs{Run: filepath.Join(dir, "run"), State: filepath.Join(dir, "state"), Log: filepath.Join(dir, "log")}
}
