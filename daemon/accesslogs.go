package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/backstay/backstay/config"
)

// logMode is that of an access log: its group is root's, or whoever an operator
// gives it to.
const logMode = 0o640

// openLogs makes the access logs that f names and gives them to the proxy, which
// may not write where they lie. A file that is moved away is made again within a
// second, or at once on SIGHUP. What cannot be made is said by the proxy, in
// status, when it has something to write.
func (a *agent) openLogs(ctx context.Context, f *config.File, user account) {
	for _, path := range logsOf(f) {
		err := openLog(path, user)
		if err == nil {
			delete(a.logTold, path)
		} else if a.logNews(path, err) {
			a.log.WarnContext(ctx, "access log not made", "path", path, "why", err.Error())
		}
	}
}

// logNews reports whether err is another one than the last about path. changing
// is held.
func (a *agent) logNews(path string, err error) bool {
	if a.logTold[path] == err.Error() {
		return false
	}
	if a.logTold == nil {
		a.logTold = map[string]string{}
	}
	a.logTold[path] = err.Error()
	return true
}

// lookAtLogs is openLogs for the file in force.
func (a *agent) lookAtLogs(ctx context.Context) {
	a.changing.Lock()
	defer a.changing.Unlock()
	if d := a.now.Load(); d != nil && len(logsOf(d.file)) > 0 {
		a.openLogs(ctx, d.file, a.logUser())
	}
}

// logUser is proxyUser, looked up once: it does not change under a proxy that
// runs. changing is held.
func (a *agent) logUser() account {
	if a.proxyIs == nil {
		user := a.proxyUser()
		a.proxyIs = &user
	}
	return *a.proxyIs
}

// reopenLogs has the proxy open its logs anew, as after they were moved away.
func (a *agent) reopenLogs(ctx context.Context) {
	a.lookAtLogs(ctx)
	if !a.roles.runs(proxyID) {
		return
	}
	asking, cancel := context.WithTimeout(ctx, proxyAskWithin)
	defer cancel()
	if err := a.link.Signal(asking, proxyID, sigHUP); err != nil {
		a.log.WarnContext(ctx, "access logs not opened anew", "why", err.Error())
	}
}

// sigHUP is its number on every Linux.
const sigHUP = 1

// logsOf returns the paths of the access logs of f.
func logsOf(f *config.File) (paths []string) {
	for _, name := range sortedKeys(f.Frontends) {
		if l := f.Frontends[name].AccessLog; l != nil {
			paths = append(paths, l.Path)
		}
	}
	return paths
}

// openLog makes the file at path, or takes the one that is there, and gives it
// to user. A link that leads out of its directory is not followed, and what is
// no plain file (/dev/stdout) is left as it is.
func openLog(path string, user account) error {
	if !user.other {
		return nil // the proxy makes it itself
	}
	dir, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("open directory: %w", err)
	}
	defer func() { _ = dir.Close() }() // only read
	name := filepath.Base(path)
	info, err := dir.Lstat(name)
	switch {
	case err == nil && !info.Mode().IsRegular():
		return nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("look at file: %w", err)
	}
	f, err := dir.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, logMode)
	if err != nil {
		return fmt.Errorf("make file: %w", err)
	}
	defer func() { _ = f.Close() }() // nothing was written
	if err := f.Chown(int(user.id), -1); err != nil {
		return fmt.Errorf("give file to the proxy: %w", err)
	}
	return nil
}

// drops remembers when lines of access logs were last seen to be lost.
type drops struct {
	mu  sync.Mutex // guards all below
	was map[string]drop
}

type drop struct {
	lines uint64
	at    time.Time // zero: none yet
}

// dropsShown is how long a loss stays a problem: what is over must not have
// status say for ever that something is wrong.
const dropsShown = 5 * time.Minute

// lately reports whether lines were lost within the last minutes, now that so
// many are lost in all.
func (d *drops) lately(path string, lines uint64, now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.was == nil {
		d.was = map[string]drop{}
	}
	one := d.was[path]
	if lines > one.lines {
		one.at = now
	}
	one.lines = lines // fewer: another proxy
	d.was[path] = one
	return lines > 0 && !one.at.IsZero() && now.Sub(one.at) < dropsShown
}
