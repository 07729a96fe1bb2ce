package daemon

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"
)

// How long the logs of what is gone are kept: every release and every restart
// has instances of its own, and a disk has an end.
const (
	keptLogs  = 10 // gone instances of a service, the newest
	oldLogAge = 14 * 24 * time.Hour
	sweepLogs = 10 * time.Minute
	// sparedLog is not looked at: its instance may have just been made.
	sparedLog = time.Minute
)

// logName is what the keeper calls the files of an instance: the log, the older
// ones and their indexes. Nothing else in the directories is ours.
var logName = regexp.MustCompile(`^([a-z0-9-]+-[0-9a-f]{6})\.log(\.[0-9]+)?(\.idx)?$`)

// sweep removes the logs of instances that are long gone, until ctx is done.
func (a *agent) sweep(ctx context.Context) error {
	tick := time.NewTicker(sweepLogs)
	defer tick.Stop()
	for {
		if a.adopted.Load() {
			a.sweepOnce(time.Now())
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err() //nolint:wrapcheck // being told to end is no story
		}
	}
}

func (a *agent) sweepOnce(now time.Time) {
	live := map[string]bool{}
	for _, i := range a.supervise.Instances() {
		live[i.ID] = true
	}
	services, err := os.ReadDir(a.Dirs.Log)
	if err != nil {
		return // there are none
	}
	for _, s := range services {
		if s.IsDir() && s.Name() != roles {
			a.sweepService(filepath.Join(a.Dirs.Log, s.Name()), live, now)
		}
	}
}

// goneLog is the files of one instance that is gone.
type goneLog struct {
	files []string
	last  time.Time // one of them was written
}

func (a *agent) sweepService(dir string, live map[string]bool, now time.Time) {
	gone := goneLogs(dir, live)
	slices.SortFunc(gone, func(x, y *goneLog) int { return cmp.Compare(y.last.UnixNano(), x.last.UnixNano()) })
	for i, g := range gone {
		if age := now.Sub(g.last); age < sparedLog || i < keptLogs && age < oldLogAge {
			continue
		}
		for _, f := range g.files {
			if err := os.Remove(f); err != nil {
				a.log.Warn("log of a gone instance not removed", "file", f, "why", err.Error())
			}
		}
	}
	if len(gone) > 0 {
		_ = os.Remove(dir) // does nothing while there is a file in it
	}
}

// goneLogs returns the logs in dir of instances that are not live.
func goneLogs(dir string, live map[string]bool) (all []*goneLog) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	by := map[string]*goneLog{}
	for _, e := range entries {
		m := logName.FindStringSubmatch(e.Name())
		info, err := e.Info()
		if m == nil || live[m[1]] || err != nil || !info.Mode().IsRegular() {
			continue
		}
		g := by[m[1]]
		if g == nil {
			g = &goneLog{}
			by[m[1]] = g
			all = append(all, g)
		}
		g.files = append(g.files, filepath.Join(dir, e.Name()))
		if info.ModTime().After(g.last) {
			g.last = info.ModTime()
		}
	}
	return all
}
