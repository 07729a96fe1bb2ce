package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/config"
	"github.com/backstay/backstay/deploy"
	"github.com/backstay/backstay/host/proc"
	"github.com/backstay/backstay/supervise"
)

// desired is a file with all that follows from it: worked out before anything
// changes.
type desired struct {
	kept    kept
	source  string // file, or last_good
	text    []byte
	file    *config.File
	orders  orders
	secrets *secrets
	wants   map[string]deploy.Want
	// late are services whose release cannot be made just now. They keep what
	// runs; only at a boot is such a file taken.
	late map[string]error
}

// refusal is a text that was offered and not taken.
type refusal struct {
	at  time.Time
	why *api.Refusal
}

// settleWithin bounds the wait for proxies at a change of the file: one that
// does not answer is told by itself as soon as it does.
const settleWithin = 5 * time.Second

// prepare works out what text asks for. It changes nothing.
func (a *agent) prepare(ctx context.Context, name string, text []byte) (*desired, error) {
	f, err := config.Parse(name, text)
	if err != nil {
		return nil, refusalOf(err)
	}
	return a.workOut(ctx, f)
}

// prepareKept is prepare for a file that was good before: what the host has lost
// since does not make it bad.
func (a *agent) prepareKept(ctx context.Context, name string, text []byte) (*desired, error) {
	f, err := config.ParseIn(nil, name, text)
	if err != nil {
		return nil, refusalOf(err)
	}
	return a.workOut(ctx, f)
}

func (a *agent) workOut(ctx context.Context, f *config.File) (d *desired, err error) {
	d = &desired{kept: kept{Digest: f.Digest(), Name: f.Name()}, source: "file", text: f.Text(), file: f, late: map[string]error{}}
	if d.orders, err = readOrders(f); err != nil {
		return nil, &backstay.Problem{Code: "file_unreadable", What: err.Error(), Where: f.Name(), Do: "put the file right; nothing has changed"}
	}
	if d.secrets, err = a.secrets.read(ctx, f); err != nil {
		return nil, err
	}
	a.work(d)
	return d, nil
}

// work works out what deploys are to bring about. Overrides stand over the file.
func (a *agent) work(d *desired) {
	d.wants = map[string]deploy.Want{}
	down := a.down()
	for name, s := range d.file.Services {
		o := a.overrides.of(name)
		rel, err := a.maker.release(d.file, d.secrets, name, o.Version)
		if err != nil {
			d.late[name] = err
			continue
		}
		w := deploy.Want{
			Release: rel, Replicas: s.Replicas, Config: s.Deploy, Stopped: o.Stopped || down != nil, FixedPorts: d.file.FixedPorts(name),
		}
		if o.Replicas != nil {
			w.Replicas = *o.Replicas
		}
		d.wants[name] = w
	}
}

// brought says who wanted the releases that are new with d, and why.
func (d *desired) brought(by, why string) {
	for name, w := range d.wants {
		w.Release.By, w.Release.Why = by, why
		d.wants[name] = w
	}
}

// refusalOf returns every mistake of a file.
func refusalOf(err error) error {
	var e *config.Error
	if !errors.As(err, &e) {
		return err
	}
	r := &api.Refusal{Mistakes: e.Problems(), Text: e.Error()}
	r.Problem = backstay.Problem{
		Code: "invalid_file", What: fmt.Sprintf("%s has %s", e.File, plural(len(r.Mistakes), "mistake")), Where: e.File,
		Why: r.Mistakes[0].What, Do: "mend them and apply again; nothing has changed",
	}
	return r
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// accept puts d in force: all of it, or nothing. changing is held.
func (a *agent) accept(ctx context.Context, d *desired) error {
	before := a.now.Load()
	bound, err := a.link.bind(ctx, d.file.Binds())
	if err != nil {
		return err
	}
	if err := a.change(ctx, d); err != nil {
		if before != nil {
			err = errors.Join(err, a.change(context.WithoutCancel(ctx), before))
		}
		a.bus.Record(backstay.Event{Kind: backstay.ConfigUndone, Ref: "config/file", To: d.kept.Digest, Because: err.Error()})
		return errors.Join(err, a.link.unbind(context.WithoutCancel(ctx), bound))
	}
	d.kept.At, d.kept.Gen = time.Now(), 1
	if before != nil {
		d.kept.Gen = before.kept.Gen + 1
	}
	if err := errors.Join(a.configs.keep(d.kept, d.text), a.configs.use(d.kept)); err != nil {
		a.log.ErrorContext(ctx, "config in force but not kept", "why", err.Error())
	}
	a.now.Store(d)
	a.settle(ctx, d)
	return nil
}

// change has every room take d, in the order of the rooms. Each takes the same
// again without harm.
func (a *agent) change(ctx context.Context, d *desired) error {
	a.secrets.take(d.secrets)
	a.board.set(d.orders)
	if err := a.joinProxy(ctx, d.file); err != nil {
		return fmt.Errorf("apply proxy: %w", err)
	}
	a.registry.Touch()
	if err := a.supervise.Apply(ctx, services(d.file)); err != nil {
		return fmt.Errorf("apply supervise: %w", err)
	}
	if err := a.deploy.Apply(ctx, a.withLate(d)); err != nil {
		return fmt.Errorf("apply deploy: %w", err)
	}
	return nil
}

// withLate returns d's wants, and for what cannot be made just now what is
// wanted already.
func (a *agent) withLate(d *desired) map[string]deploy.Want {
	before := a.now.Load()
	for name := range d.late {
		if before != nil {
			if w, ok := before.wants[name]; ok {
				d.wants[name] = w
				continue
			}
		}
		s := d.file.Services[name]
		if rel, ok := a.deploy.Current(name); ok {
			d.wants[name] = deploy.Want{Release: rel, Replicas: s.Replicas, Config: s.Deploy, FixedPorts: d.file.FixedPorts(name)}
		}
	}
	return d.wants
}

func services(f *config.File) map[string]supervise.Service {
	out := map[string]supervise.Service{}
	for name, s := range f.Services {
		out[name] = s.Service
	}
	return out
}

// settle waits until proxies serve d, and lets go of addresses that are gone.
func (a *agent) settle(ctx context.Context, d *desired) {
	waiting, cancel := context.WithTimeout(ctx, settleWithin)
	defer cancel()
	if err := a.registry.Settle(waiting); err != nil {
		a.log.WarnContext(ctx, "a proxy has not yet taken the file", "why", err.Error())
	}
	keep := d.file.Binds()
	for _, name := range a.link.names() {
		if bind, ok := bindOf(name); ok && !slices.Contains(keep, bind) {
			if err := a.link.release(ctx, name); err != nil {
				a.log.WarnContext(ctx, "address not let go", "bind", bind, "why", err.Error())
			}
		}
	}
}

// joinProxy has a proxy run while there is a frontend, with the addresses of f.
func (a *agent) joinProxy(ctx context.Context, f *config.File) error {
	if len(f.Frontends) == 0 {
		if a.joined {
			a.registry.Leave("proxy")
			a.joined = false
		}
		return nil
	}
	uid := os.Geteuid()
	if other, ok := a.proxyUser(); ok {
		uid = int(other)
	}
	if err := a.link.holdProxySockets(ctx, a.Dirs.proxy(), uid); err != nil {
		return err
	}
	fds := []string{heldAPI, heldFiles}
	for _, bind := range f.Binds() {
		fds = append(fds, heldName(bind))
	}
	spec, err := a.proxySpec(fds)
	if err != nil {
		return err
	}
	if err := a.link.Put(ctx, spec); err != nil {
		return err
	}
	if err := a.link.Start(ctx, proxyID); err != nil {
		return err
	}
	if !a.joined {
		a.registry.Join("proxy", a.proxy)
		a.joined = true
	}
	return nil
}

// keepFile puts the file in force at the start and again when told to, and
// looks after certificates that change under it.
func (a *agent) keepFile(ctx context.Context, ready func()) error {
	hangups := proc.Hangups()
	a.boot(ctx)
	ready()
	certs := time.NewTicker(certEvery)
	defer certs.Stop()
	again := time.NewTicker(bootAgain)
	defer again.Stop()
	for {
		select {
		case <-again.C:
			a.bootAgain(ctx)
		case <-hangups:
			a.reload(ctx)
		case <-certs.C:
			a.refresh(ctx)
		case <-ctx.Done():
			return ctx.Err() //nolint:wrapcheck // being told to end is no story
		}
	}
}

// Times of keepFile.
const (
	certEvery = 10 * time.Second // files of certificates are looked at
	bootAgain = time.Second      // a file that this host would not take is tried again: an address may be free by then
)

// boot puts in force what an earlier agent of this boot had; else the file; else
// the last good one, loudly. What cannot be put in force leaves all as it is.
func (a *agent) boot(ctx context.Context) {
	a.changing.Lock()
	defer a.changing.Unlock()
	if a.now.Load() != nil {
		return // this part starts anew, the agent does not
	}
	if k, text, err := a.configs.inForce(); err == nil {
		if err := a.bootWith(ctx, k, text, "file"); err != nil {
			a.refuse(k.Name, err)
		}
		return
	}
	text, err := config.Read(a.File)
	if err == nil {
		err = a.bootWith(ctx, kept{Name: a.File, By: "boot"}, text, "file")
	}
	if err == nil {
		return
	}
	a.refuse(a.File, err)
	k, text, lastErr := a.configs.last()
	if lastErr != nil {
		a.log.Error("no good file, nothing is changed", "file", a.File, "why", err.Error())
		return
	}
	a.log.Error("the file is broken, the last good one is in force", "file", a.File, "last_good", k.Digest, "why", err.Error())
	if err := a.bootWith(ctx, k, text, "last_good"); err != nil {
		a.log.Error("the last good file cannot be taken either, nothing is changed", "why", err.Error())
	}
}

// bootAgain tries again while nothing is in force.
func (a *agent) bootAgain(ctx context.Context) {
	if a.now.Load() == nil {
		a.boot(ctx)
	}
}

func (a *agent) bootWith(ctx context.Context, k kept, text []byte, source string) error {
	work := a.prepare
	if k.Gen > 0 {
		work = a.prepareKept
	}
	d, err := work(ctx, k.Name, text)
	if err != nil {
		return err
	}
	d.source, d.kept.By = source, k.By
	d.brought(k.By, "boot")
	defer func() {
		if source == "file" && a.now.Load() == d {
			a.refused.Store(nil)
		}
	}()
	if err := a.accept(ctx, d); err != nil {
		return err
	}
	if k.Gen > 0 && source == "file" { // nothing is new but this process
		d.kept.Gen, d.kept.At = k.Gen, k.At
		return a.configs.use(d.kept)
	}
	a.tellApplied("", d)
	return nil
}

func (a *agent) tellApplied(from string, d *desired) {
	a.bus.Record(backstay.Event{
		Kind: backstay.ConfigApplied, Ref: "config/file", From: from, To: d.kept.Digest,
		Because: d.kept.Name, Actor: d.kept.By, Gen: d.kept.Gen,
	})
}

// refuse says that the file of this host was not taken: status shows it until
// one is. The same again is said once.
func (a *agent) refuse(name string, err error) {
	r := problemsOf(name, err)
	if was := a.refused.Swap(&refusal{time.Now(), r}); was != nil && was.why.Error() == r.Error() {
		return
	}
	a.bus.Record(backstay.Event{Kind: backstay.ConfigRefused, Ref: "config/file", Because: r.What})
}

func problemsOf(name string, err error) *api.Refusal {
	r := new(api.Refusal)
	if !errors.As(err, &r) {
		p := new(backstay.Problem)
		if !errors.As(err, &p) {
			p = &backstay.Problem{Code: "file_unreadable", What: err.Error(), Where: name, Do: "put the file right and apply it"}
		}
		r = &api.Refusal{Problem: *p}
	}
	return r
}

// reload takes the file anew, as SIGHUP asks.
func (a *agent) reload(ctx context.Context) {
	text, err := config.Read(a.File)
	if err != nil {
		a.refuse(a.File, err)
		return
	}
	if _, err := a.take(ctx, api.ConfigAsk{Name: a.File, Text: text, By: api.Actor{Name: "SIGHUP"}}); err != nil {
		a.refuse(a.File, err)
		a.log.Error("file not taken, what runs goes on", "file", a.File, "why", err.Error())
	}
}

// refresh has proxies serve certificates that have changed on disk, once they
// and their keys match.
func (a *agent) refresh(ctx context.Context) {
	a.changing.Lock()
	defer a.changing.Unlock()
	d := a.now.Load()
	if d == nil || len(d.orders.certs) == 0 {
		return
	}
	next, err := readOrders(d.file)
	if err != nil {
		a.log.Warn("certificates not read anew, the old ones are served", "why", err.Error())
		return
	}
	if reflect.DeepEqual(next.certs, d.orders.certs) {
		return
	}
	fresh := *d
	fresh.orders = next
	a.now.Store(&fresh)
	a.board.set(next)
	a.registry.Touch()
	a.log.InfoContext(ctx, "certificates changed")
	a.settle(ctx, &fresh)
}

// take is apply: what the file asks for is in force and durable when it returns.
func (a *agent) take(ctx context.Context, ask api.ConfigAsk) (api.Applied, error) {
	a.changing.Lock()
	defer a.changing.Unlock()
	d, err := a.prepare(ctx, ask.Name, ask.Text)
	if err == nil {
		err = a.matches(ask.IfMatch)
	}
	for _, late := range sortedErrors(d, err) {
		err = late
		break
	}
	if err != nil {
		return api.Applied{}, err
	}
	before := a.now.Load()
	d.kept.By = ask.By.Name
	applied := api.Applied{Plan: a.planOf(before, d), Unchanged: before != nil && before.kept.Digest == d.kept.Digest}
	if err := a.endDown(); err != nil {
		return api.Applied{}, err
	}
	a.work(d) // once more: nothing is down now
	d.brought(ask.By.Name, "apply")
	if err := a.accept(ctx, d); err != nil {
		return api.Applied{}, err
	}
	a.overrides.settle(d.file)
	from := ""
	if before != nil {
		from = before.kept.Digest
	}
	a.refused.Store(nil)
	a.tellApplied(from, d)
	applied.Generation = d.kept.Gen
	applied.Deploys = a.runningDeploys()
	return applied, nil
}

// matches checks that what is in force is what the asker has seen.
func (a *agent) matches(digest string) error {
	now := a.now.Load()
	if digest == "" || now != nil && now.kept.Digest == digest {
		return nil
	}
	inForce := "nothing"
	if now != nil {
		inForce = now.kept.Digest
	}
	return &backstay.Problem{
		Code: "changed_meanwhile", What: "the config in force is " + inForce + ", not " + digest, Where: "If-Match",
		Why: "someone has applied another file", Do: "look at `backstay plan` and apply again",
	}
}

// sortedErrors returns why releases of d cannot be made, by service.
func sortedErrors(d *desired, err error) (all []error) {
	if d == nil || err != nil {
		return nil
	}
	for _, name := range sortedKeys(d.late) {
		all = append(all, d.late[name])
	}
	return all
}

// down returns the mark that down has left, or nil.
func (a *agent) down() *downMark { return readDown(filepath.Join(a.Dirs.Run, "down")) }
