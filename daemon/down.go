package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/deploy"
	"github.com/backstay/backstay/internal/statefile"
)

// downMark says that all is stopped on purpose. It lies on tmpfs: a reboot
// begins anew.
type downMark struct {
	statefile.Head

	At time.Time `json:"at"`
	By string    `json:"by"`
	// Except are services that were started since: all others stay stopped.
	Except []string `json:"except,omitempty"`

	unread error // why it cannot be read; At is then when it was last touched
}

var downFormat = statefile.Format{Kind: "down", V: 1}

// readDown returns the mark at path, nil where there is none.
func readDown(path string) *downMark {
	m := &downMark{}
	switch err := downFormat.Read(path, m); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		*m = downMark{By: "an unreadable mark", unread: err} // somebody wanted it so
		if info, err := os.Lstat(path); err == nil {
			m.At = info.ModTime()
		}
	}
	return m
}

// stops reports whether m keeps a service stopped.
func (m *downMark) stops(service string) bool { return m != nil && !slices.Contains(m.Except, service) }

// tellDownBroken tells of a mark that cannot be read.
func (a *agent) tellDownBroken() {
	m := a.down()
	if m == nil || m.unread == nil {
		return
	}
	a.log.Error("the mark of down cannot be read, all stays stopped", "why", m.unread.Error())
	a.tellBroken("who stopped everything is not known any more, and it stays stopped: " + m.unread.Error())
}

// Down stops every service, those others lean on last, and returns when nothing
// runs any more.
func (a *agent) Down(ctx context.Context, by api.Actor, line func(api.Progress) error) error {
	known, err := a.markDown(ctx, by)
	if err == nil && !known {
		err = a.supervise.StopAll(ctx, "down by "+by.Name)
	}
	if err != nil {
		return err
	}
	return a.tellDown(ctx, line)
}

// markDown leaves the mark and has deploy stop what it knows of; it reports
// whether it knows anything.
func (a *agent) markDown(ctx context.Context, by api.Actor) (known bool, err error) {
	a.changing.Lock()
	defer a.changing.Unlock()
	if m := a.down(); m == nil || len(m.Except) > 0 {
		if err := a.putDown(&downMark{At: time.Now(), By: by.Name}); err != nil {
			return false, err
		}
		a.bus.Record(backstay.Event{Kind: backstay.OverrideSet, Ref: backstay.NewRef("node", a.node), To: "down", Actor: by.Name})
	}
	if a.now.Load() == nil {
		return false, nil
	}
	return true, a.againHeld(ctx, "", deploy.Ask{})
}

// tellDown tells how many instances are left until there is none.
func (a *agent) tellDown(ctx context.Context, line func(api.Progress) error) error {
	return countDown(ctx, a.supervise.Changed, a.live, line)
}

// live counts the instances that are not stopped.
func (a *agent) live() (n int) {
	for _, i := range a.supervise.Instances() {
		if i.State.Live() {
			n++
		}
	}
	return n
}

// countDown tells how many are left, each time that fewer are than ever before:
// one that comes to its senses meanwhile is stopped too, and is no step back.
func countDown(ctx context.Context, change func() <-chan struct{}, count func() int, line func(api.Progress) error) error {
	for n, left := 0, math.MaxInt; ; {
		changed := change()
		if now := count(); now < left {
			left = now
			n++
			p := api.Progress{N: n, At: time.Now(), Text: plural(left, "instance") + " left to stop", State: "stopping"}
			if left == 0 {
				p.Text, p.State, p.Final = "all services are stopped", "stopped", true
			}
			if err := line(p); err != nil || left == 0 {
				return err
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err() //nolint:wrapcheck // who asked has gone
		}
	}
}

// startInDown has down keep all stopped but one service more. Once it would keep
// none it is over. changing is held; on an error it is as before.
func (a *agent) startInDown(ctx context.Context, service string, by api.Actor) error {
	before := a.down()
	m := *before
	m.Except = append(slices.Clone(m.Except), service)
	put, e := a.putDown, backstay.Event{Kind: backstay.OverrideGone, Ref: backstay.NewRef("service", service), From: "down", Actor: by.Name}
	if !slices.ContainsFunc(sortedKeys(a.now.Load().file.Services), m.stops) {
		put, e.Ref = func(*downMark) error { return a.endDown() }, backstay.NewRef("node", a.node)
	}
	if err := put(&m); err != nil {
		return err
	}
	if err := a.againHeld(ctx, "", deploy.Ask{}); err != nil {
		return errors.Join(err, a.putDown(before))
	}
	a.bus.Record(e)
	return nil
}

// putDown leaves the mark.
func (a *agent) putDown(m *downMark) error {
	if err := downFormat.Write(filepath.Join(a.Dirs.Run, "down"), m, 0o644); err != nil {
		return &backstay.Problem{Code: "disk", What: "down cannot be marked: " + err.Error(), Where: a.Dirs.Run, Do: "make room there; nothing has changed"}
	}
	return nil
}

// endDown takes the mark away.
func (a *agent) endDown() error {
	if err := os.RemoveAll(filepath.Join(a.Dirs.Run, "down")); err != nil { // whatever has become of it
		return fmt.Errorf("end down: %w", err)
	}
	return nil
}

// againHeld works out what the file in force asks for, with overrides that have
// changed, and has it brought about. The release of anew, if that is not empty,
// is made of what is on the disk now, and is of whoever asks. changing is held.
// What is refused leaves all as it was.
func (a *agent) againHeld(ctx context.Context, anew string, ask deploy.Ask) error {
	d := a.now.Load()
	if d == nil {
		return &backstay.Problem{
			Code: "no_config", What: "there is no file in force", Where: a.File,
			Do: "mend the file and apply it: backstay apply " + a.File,
		}
	}
	next := d.with(d.orders)
	a.work(next, a.down(), d.still(anew))
	if err := next.late[anew]; err != nil {
		return err
	}
	if w, ok := next.wants[anew]; ok {
		w.Release.By, w.Release.Why = ask.By, ask.Why
		next.wants[anew] = w
	}
	if err := a.deploy.Change(ctx, next.wants, anew, ask); err != nil {
		back := a.deploy.Apply(context.WithoutCancel(ctx), d.wants)
		return errors.Join(fmt.Errorf("apply deploy: %w", err), back)
	}
	a.now.Store(next)
	return nil
}
