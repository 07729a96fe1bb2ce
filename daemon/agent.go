package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/bus"
	"github.com/backstay/backstay/deploy"
	"github.com/backstay/backstay/host/proc"
	"github.com/backstay/backstay/host/proc/keeperclient"
	"github.com/backstay/backstay/host/sock"
	"github.com/backstay/backstay/internal/keeperwire"
	"github.com/backstay/backstay/internal/statefile"
	"github.com/backstay/backstay/registry"
	"github.com/backstay/backstay/run"
	"github.com/backstay/backstay/supervise"
)

// lockWithin is how long a new agent waits for the one before it to be gone.
const lockWithin = 30 * time.Second

// agent is the role that knows what is desired.
type agent struct {
	Options

	log       *slog.Logger
	node      string
	users     *proc.Users
	bus       *bus.Bus
	link      *link
	roles     *roleStates
	witnesses *witnesses
	secrets   *secrets
	maker     *maker
	overrides *overrides
	configs   configs
	board     *board
	proxy     *proxy
	registry  *registry.Registry
	supervise *supervise.Supervisor
	deploy    *deploy.Deployer
	metrics   *prometheus.Registry

	changing   sync.Mutex // one change of what is desired at a time
	now        atomic.Pointer[desired]
	refused    atomic.Pointer[refusal]
	adopted    atomic.Bool           // the first keeper has been met
	unmeasured atomic.Pointer[error] // why metrics are not served
	joined     bool                  // the proxy is in the registry; guarded by changing, as all below
	owes       bool                  // the proxy may have a socket that it has not been told to close
	logTold    map[string]string
	proxyIs    *account

	drops  drops
	losses losses
	disks  disks
}

// runAgent is the agent role.
func runAgent(ctx context.Context, o Options) error {
	if err := o.Dirs.make(); err != nil {
		return err
	}
	waiting, cancel := context.WithTimeout(ctx, lockWithin)
	lock, err := proc.Lock(waiting, filepath.Join(o.Dirs.Run, "agent.lock"))
	cancel()
	if err != nil {
		return fmt.Errorf("start agent: %w", err)
	}
	defer func() { _ = lock.Close() }()
	state, err := holdState(ctx, o.Dirs)
	if state == nil {
		return fmt.Errorf("start agent: %w", err)
	}
	defer func() { _ = state.Close() }()
	if err != nil {
		o.Log.WarnContext(ctx, "the state directory does not say whose it is", "why", err.Error())
	}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	a, err := newAgent(o)
	if err != nil {
		return fmt.Errorf("start agent: %w", err)
	}
	defer func() { _ = a.bus.Close() }()
	if err := proc.Subreaper(); err != nil {
		a.log.WarnContext(ctx, "orphans go to PID 1", "why", err.Error())
	}
	if exists(frontLock(o.Dirs)) { // a unit comes back, and is waited for
		a.link.forsaken = func(failed int) error { return a.forsaken(failed, end) }
	}
	return a.group().Run(ctx) //nolint:wrapcheck // it names the parts
}

// forsaken ends this agent where it gets no keeper any more.
func (a *agent) forsaken(failed int, end context.CancelCauseFunc) error {
	err := forsaken(a.Dirs, failed)
	if err == nil {
		return nil
	}
	a.log.Error("no keeper can be had, this agent ends", "why", err.Error())
	a.bus.Record(backstay.Event{ // it is on disk, where its log may not come without a keeper
		Kind: backstay.StateChanged, Ref: backstay.NewRef("role", "agent"), From: "running", To: "ended",
		Because: "no keeper can be had: " + err.Error(),
	})
	end(err)
	return err
}

// newAgent ties the rooms together. Nothing runs yet.
func newAgent(o Options) (*agent, error) {
	a := &agent{Options: o, log: o.Log, users: &proc.Users{}, board: &board{}, metrics: prometheus.NewRegistry(), owes: true, disks: disks{dirs: o.Dirs}}
	var err error
	if a.node, err = nodeName(); err != nil {
		return nil, err
	}
	aside := o.Dirs.putAside()
	if a.bus, err = openBus(filepath.Join(o.Dirs.State, "events"), a.node, o.Log); err != nil {
		return nil, err
	}
	a.overrides = openOverrides(filepath.Join(o.Dirs.State, "overrides.json"))
	if a.secrets, err = openSecrets(o.Dirs.State); err != nil {
		return nil, err
	}
	a.maker = newMaker(a.secrets, a.users)
	a.configs = configs{dir: filepath.Join(o.Dirs.State, "configs"), force: filepath.Join(o.Dirs.Run, "config.json")}
	a.link = newLink(o.Dirs.Keeper(), a.log)
	a.link.launch = func(ctx context.Context) error { return launchKeeper(ctx, o) }
	a.link.met, a.link.heard, a.link.missed, a.link.salvage = a.meet, a.hear, a.miss, a.salvage
	a.roles = newRoleStates()
	a.witnesses = newWitnesses(o.Dirs.Keeper(), a.log)
	a.link.removed = a.witnesses.leave
	a.proxy = newProxy(o.Dirs.proxy(), a.link, a.board, a.log, a.bus)
	a.proxy.pid = func() int { return a.roles.pid(proxyID) }
	if err := a.rooms(); err != nil {
		return nil, err
	}
	a.tellAside(aside)
	a.tellDownBroken()
	if p := a.overrides.problem(); p != nil {
		a.log.Error("overrides cannot be read, going on without", "why", p.Why)
		a.tellBroken(p.What + ": " + p.Why)
	}
	for _, err := range a.configs.unread() {
		a.log.Warn("a kept file cannot be read, it is left as it is", "why", err.Error())
		a.tellBroken("a kept file cannot be read, it is left as it is: " + err.Error())
	}
	return a, nil
}

// openBus opens the event log. One that cannot be opened is put aside, whole: what
// runs must be looked after without it. The numbers of the next one begin above all
// that it can have.
func openBus(dir, node string, log *slog.Logger) (*bus.Bus, error) {
	o := bus.Options{Dir: dir, Node: node, Log: log}
	b, err := bus.New(o)
	if err == nil {
		return b, nil
	}
	log.Error("the event log cannot be opened, beginning a new one", "aside", statefile.Aside(dir), "why", err.Error())
	o.Above = uint64(time.Now().Unix()) //nolint:gosec // no host lives before 1970; there is never an event for each second
	b, err = bus.New(o)
	return b, err //nolint:wrapcheck // it tells its story
}

// nodeName is the host's name as a label: web1.Example.com is web1-example-com.
func nodeName() (string, error) {
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("name of the node: %w", err)
	}
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(host))
	name = strings.Trim(name[:min(len(name), maxLabel)], "-")
	if name == "" {
		name = "node"
	}
	return name, nil
}

// maxLabel is the length of an RFC 1123 label.
const maxLabel = 63

// rooms makes the rooms, each with what it needs of the others.
func (a *agent) rooms() (err error) {
	a.registry = registry.New(registry.Options{Log: a.log, Events: a.bus, Metrics: a.metrics})
	a.supervise = supervise.New(supervise.Options{
		Keeper: a.link, Resolver: &resolver{dirs: a.Dirs, node: a.node, users: a.users, secrets: a.secrets},
		Ports: freePorts{}, Registry: endpoints{a.registry}, Release: a.release, LastLines: lastLines,
		Events: a.bus, Log: a.log, Metrics: a.metrics,
	})
	a.deploy, err = deploy.New(deploy.Options{
		Pool: a.supervise, Traffic: &traffic{registry: a.registry, proxy: a.proxy}, Check: a.maker,
		Dir: a.Dirs.State, Events: a.bus, Log: a.log, Metrics: a.metrics,
	})
	return err //nolint:wrapcheck // it tells its story
}

// group is the parts of the agent in their order.
func (a *agent) group() *run.Group {
	g := &run.Group{Log: a.log, Events: a.bus}
	g.Add(run.Part{Name: "orphans", Run: run.AtOnce(func(ctx context.Context) error { return proc.Reap(ctx, a.link.beat.sawExit, a.link.beat.news) })})
	g.Add(run.Part{Name: "registry", Run: run.AtOnce(a.registry.Run)})
	g.Add(run.Part{Name: "keeper", Run: a.link.run})
	g.Add(run.Part{Name: "supervise", After: []string{"keeper", "registry"}, Run: a.supervise.Run})
	g.Add(run.Part{Name: "deploy", After: []string{"supervise"}, Run: a.deploy.Run})
	g.Add(run.Part{Name: "file", After: []string{"deploy"}, Run: a.keepFile})
	g.Add(run.Part{Name: "proxy", After: []string{"file"}, Run: run.AtOnce(a.proxy.watch)})
	g.Add(run.Part{Name: "old-logs", After: []string{"supervise"}, Run: run.AtOnce(a.sweep)})
	g.Add(run.Part{Name: "proxy-events", After: []string{"file"}, Run: run.AtOnce(a.hearProxy)})
	g.Add(run.Part{Name: "api", After: []string{"file"}, Run: a.serveAPI})
	if a.Options.Metrics != "" {
		g.Add(run.Part{Name: "metrics", Run: run.AtOnce(a.serveMetrics)})
	}
	return g
}

// meet is called with each keeper and what it has.
func (a *agent) meet(_ context.Context, k *keeperclient.Client, slots []keeperwire.Slot) error {
	a.losses.meet(a.roles.meet(k.Welcome(), slots))
	a.witnesses.meet(slots)
	for _, s := range slots {
		if s.ID == proxyID && s.PID > 0 {
			a.proxy.startedAnew(s.Starts)
		}
	}
	if a.adopted.Swap(true) {
		a.supervise.Resync(slots)
		return nil
	}
	a.expectProxy(slots)
	a.supervise.Adopt(slots)
	n := 0
	for _, s := range slots {
		if s.PID > 0 && !isRole(s.ID) {
			n++
		}
	}
	a.bus.Record(backstay.Event{
		Kind: backstay.Adopted, Ref: backstay.NewRef("role", "agent"),
		Because: fmt.Sprintf("agent pid %d met keeper pid %d; %d instances run", os.Getpid(), k.Welcome().PID, n),
	})
	return nil
}

// expectProxy has the registry wait for the proxy that an earlier agent has left:
// an instance that it had told to leave goes on to do so, and must not be ended
// before the proxy has been asked. Nobody asks it before the file has been read,
// for until then it is not known what else to tell it.
func (a *agent) expectProxy(slots []keeperwire.Slot) {
	there := func(s keeperwire.Slot) bool { return s.ID == proxyID && s.State != keeperwire.Stopped }
	if slices.ContainsFunc(slots, there) {
		a.registry.Join("proxy", expected{})
	}
}

// expected is a [registry.Balancer] that is there and has not been spoken to.
type expected struct{}

func (expected) Apply(ctx context.Context, _ registry.Snapshot) error { return notAsked(ctx) }
func (expected) Drain(ctx context.Context, _ string, _ bool) error    { return notAsked(ctx) }

func notAsked(ctx context.Context) error {
	<-ctx.Done()
	return errors.New("it is not asked before the file has been read")
}

// salvage asks the proxy for its sockets: agent and keeper died at once, and it
// has the only copies. The sockets of one that hangs die with it, and can be
// bound anew.
func (a *agent) salvage(ctx context.Context, k *keeperclient.Client, slots []keeperwire.Slot) map[string]*os.File {
	for _, s := range slots {
		if s.ID != proxyID || s.PID == 0 {
			continue
		}
		found, err := a.proxy.collect(ctx, int(s.PID))
		if err == nil || ctx.Err() != nil {
			return found
		}
		a.log.ErrorContext(ctx, "proxy does not give its sockets back, killing it", "pid", s.PID, "why", err.Error())
		if err := k.Kill(ctx, proxyID, "it holds the only copies of its sockets and does not give them back", true); err != nil {
			a.log.ErrorContext(ctx, "proxy not killed", "why", err.Error())
		}
	}
	return nil
}

// hear takes one event of the keeper.
func (a *agent) hear(ev keeperwire.Event) {
	a.witnesses.hear(&ev)
	a.losses.hear(ev)
	if !isRole(ev.ID) {
		a.supervise.Feed(ev)
		return
	}
	a.roles.hear(ev)
	if ev.ID == proxyID && ev.Kind == keeperwire.EvStarted {
		a.proxy.startedAnew(ev.Starts)
		a.registry.Touch()
	}
	a.tellRole(ev)
}

// miss takes an event that was news to an earlier agent only, if to any.
func (a *agent) miss(ev keeperwire.Event) {
	a.losses.hear(ev)
	if isRole(ev.ID) {
		a.tellRole(ev)
		return
	}
	a.supervise.Missed(ev)
}

func (a *agent) tellRole(ev keeperwire.Event) {
	if ev.Kind != keeperwire.EvExited && ev.Kind != keeperwire.EvStarted {
		return
	}
	e := backstay.Event{
		Kind: backstay.StateChanged, Ref: backstay.NewRef("role", ev.ID[len("backstay-"):]),
		From: "ended", To: "running", Because: fmt.Sprintf("pid %d", ev.PID),
	}
	switch {
	case ev.Kind == keeperwire.EvStarted && ev.Starts <= 1:
		e.From = "" // nothing has ended
	case ev.Kind == keeperwire.EvExited:
		e.From, e.To, e.Because = "running", "ended", supervise.ExitOf(ev.Exit).String()
	}
	a.bus.Record(e)
}

// release finds a release by its name, for instances that run.
func (a *agent) release(id string) (backstay.Release, bool) { return a.deploy.Release(id) }

// freePorts implements [supervise.Ports].
type freePorts struct{}

func (freePorts) Free(port uint16) bool { return sock.Free(port) }

// endpoints implements [supervise.Registry].
type endpoints struct{ *registry.Registry }

func (e endpoints) Set(s supervise.Endpoint) { e.Registry.Set(registry.Endpoint(s)) }

// traffic implements [deploy.Traffic].
type traffic struct {
	registry *registry.Registry
	proxy    *proxy
}

func (t *traffic) Withdraw(ctx context.Context, ids []string) (int, error) {
	return t.registry.WithdrawAll(ctx, ids) //nolint:wrapcheck // it tells its story
}

// InFlight counts the requests at an instance, for those who watch a deploy.
func (t *traffic) InFlight(ctx context.Context, id string) (int, error) {
	s, err := t.proxy.stats(ctx)
	return s.Servers[id].InFlight, err
}

// Counters implements [deploy.Traffic]: what requests met at a release.
func (t *traffic) Counters(_, release string) deploy.Counters {
	ctx, cancel := context.WithTimeout(context.Background(), proxyAskWithin)
	defer cancel()
	s, err := t.proxy.stats(ctx)
	if err != nil {
		return deploy.Counters{}
	}
	r := s.Releases[release]
	return deploy.Counters{Sent: r.Sent, Failed: r.Lost}
}

// serveAPI answers people and programs.
func (a *agent) serveAPI(ctx context.Context, ready func()) error {
	const name = "agent-api"
	if a.link.file(name) == nil || !exists(a.Dirs.API()) {
		f, err := sock.Listen("unix:" + a.Dirs.API())
		if err != nil {
			return fmt.Errorf("serve api: %w", err)
		}
		if err := errors.Join(os.Chmod(a.Dirs.API(), 0o660), a.chownAPI()); err != nil {
			return fmt.Errorf("serve api: %w", err)
		}
		if err := a.link.hold(ctx, name, f); err != nil {
			return err
		}
	}
	ready()
	return a.answer(ctx, a.link.file(name))
}

// chownAPI gives the socket to the group backstay, where there is one: its
// members may read and operate.
func (a *agent) chownAPI() error {
	if os.Geteuid() != 0 {
		return nil
	}
	gid, err := a.users.Group("backstay")
	if err != nil {
		return nil //nolint:nilerr // then it is root's alone
	}
	return os.Chown(a.Dirs.API(), -1, int(gid)) //nolint:wrapcheck // it names the file
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
