package daemon

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/config"
	"github.com/backstay/backstay/host/proc"
	"github.com/backstay/backstay/internal/backoff"
)

// Times of keepFile.
const (
	lookEvery = time.Second      // what may have been left undone is looked at
	certEvery = 10 * time.Second // files of certificates are looked at
)

// bootAgain is when a file that this host would not take is tried again: an
// address may be free by then. Each try may run the commands that secrets come
// from.
var bootAgain = backoff.Doubling{Min: time.Second, Max: 30 * time.Second}

// keepFile puts the file in force at the start and again when told to, and
// looks after what changes under it.
func (a *agent) keepFile(ctx context.Context, ready func()) error {
	hangups := proc.Hangups()
	a.boot(ctx)
	ready()
	certs, looks := time.NewTicker(certEvery), time.NewTicker(lookEvery)
	defer certs.Stop()
	defer looks.Stop()
	tries, next := 1, time.Now().Add(bootAgain.Wait(1))
	for {
		select {
		case now := <-looks.C:
			if a.now.Load() == nil && now.After(next) {
				a.boot(ctx)
				tries++
				next = time.Now().Add(bootAgain.Wait(tries))
			}
			a.tidy(ctx)
			a.lookAtLogs(ctx)
		case <-hangups:
			a.reload(ctx)
		case <-certs.C:
			a.refresh(ctx)
		case <-ctx.Done():
			return ctx.Err() //nolint:wrapcheck // being told to end is no story
		}
	}
}

// boot puts in force what an earlier agent of this boot had; else the file; else
// the last good one, loudly. What cannot be put in force leaves all as it is.
func (a *agent) boot(ctx context.Context) {
	a.changing.Lock()
	defer a.changing.Unlock()
	if a.now.Load() != nil {
		return // this part starts anew, the agent does not
	}
	k, text, err := a.inForce(ctx)
	if err == nil {
		a.adopt(ctx, k, text)
		return
	}
	text, err = config.Read(a.File)
	if err == nil {
		err = a.bootWith(ctx, kept{Name: a.File, By: "boot"}, text, "file")
	}
	if err != nil {
		a.bootLast(ctx, err)
	}
}

// inForce returns what an earlier agent of this boot had in force. That it is not
// known, where it should be, is told: the file is what counts then.
func (a *agent) inForce(ctx context.Context) (kept, []byte, error) {
	aside := a.Dirs.putAside()
	k, text, err := a.configs.inForce()
	if err != nil && (!errors.Is(err, fs.ErrNotExist) || k.Digest != "") {
		a.log.ErrorContext(ctx, "what was in force is not known, beginning with the file", "why", err.Error())
		a.tellBroken("what was in force is not known, the file on disk is taken: " + err.Error())
		a.tellAside(aside)
	}
	return k, text, err
}

// bootLast puts the last good file in force, for want of a better one.
func (a *agent) bootLast(ctx context.Context, why error) {
	news := a.refuse(a.File, why, "boot")
	k, text, err := a.configs.last()
	if err != nil {
		if news {
			a.log.ErrorContext(ctx, "no good file, nothing is changed", "file", a.File, "why", why.Error())
		}
		return
	}
	if news {
		a.log.ErrorContext(ctx, "the file is not taken, trying the last good one", "file", a.File, "last_good", k.Digest, "why", why.Error())
	}
	if err := a.bootWith(ctx, k, text, "last_good"); err != nil && news {
		a.log.ErrorContext(ctx, "the last good file cannot be taken either, nothing is changed", "why", err.Error())
	}
}

// bootWith begins with a file: nothing of ours runs, or nobody knows what.
func (a *agent) bootWith(ctx context.Context, k kept, text []byte, source string) error {
	work := a.prepare
	if source == "last_good" {
		work = a.prepareKept
	}
	d, err := work(ctx, k.Name, text)
	if err != nil {
		return err
	}
	d.source, d.kept.By = source, k.By
	a.work(d, a.down(), anew)
	d.brought(k.By, "boot")
	if err := a.accept(ctx, d); err != nil {
		return err
	}
	if source == "file" {
		a.endRefusal()
	}
	a.tellApplied(nil, d, k.By)
	return nil
}

// adopt puts in force what an earlier agent had. Nothing is new but this
// process, so nothing rolls: not for a program that was overwritten meanwhile,
// and not for a secret that cannot be read.
func (a *agent) adopt(ctx context.Context, k kept, text []byte) {
	d, err := a.prepareKept(ctx, k.Name, text)
	if err == nil {
		d.kept, d.adopted = k, true
		if k.Source != "" {
			d.source = k.Source
		}
		a.work(d, a.down(), a.before(d.file))
		d.brought(k.By, "boot")
		err = a.accept(ctx, d)
	}
	if err != nil {
		if a.show(&refusal{At: time.Now(), Why: problemsOf(k.Name, err)}, "boot") { // it is about this try
			a.log.ErrorContext(ctx, "what was in force cannot be taken up, trying on", "why", err.Error())
		}
		return
	}
	for _, where := range sortedKeys(d.lost) {
		a.log.WarnContext(ctx, "not readable any more, what was read before is in force", "where", where, "why", d.lost[where].Error())
	}
	was := readRefusal(a.refusalPath())
	a.refused.Store(was)
	if was == nil && d.source == "last_good" { // say again why
		a.refuseFile(ctx)
	}
}

// refuseFile says what is wrong with the file, where something is.
func (a *agent) refuseFile(ctx context.Context) {
	text, err := config.Read(a.File)
	if err == nil {
		_, err = a.prepare(ctx, a.File, text)
	}
	if err != nil {
		a.refuse(a.File, err, "boot")
	}
}

func (a *agent) tellApplied(before, d *desired, by string) {
	from := ""
	if before != nil {
		from = before.kept.Digest
	}
	a.bus.Record(backstay.Event{
		Kind: backstay.ConfigApplied, Ref: "config/file", From: from, To: d.kept.Digest,
		Because: d.file.Name(), Actor: by, Gen: d.kept.Gen,
	})
}

// reload takes the file anew, as SIGHUP asks, and has logs opened anew.
func (a *agent) reload(ctx context.Context) {
	a.reopenLogs(ctx)
	text, err := config.Read(a.File)
	if err == nil {
		_, err = a.take(ctx, api.ConfigAsk{Name: a.File, Text: text, By: api.Actor{Name: "SIGHUP"}})
	}
	if err != nil {
		a.refuse(a.File, err, "SIGHUP")
		a.log.ErrorContext(ctx, "file not taken, what runs goes on", "file", a.File, "why", err.Error())
	}
}
