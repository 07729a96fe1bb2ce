package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/host/proc/keeperbin"
	"github.com/backstay/backstay/host/proc/keeperclient"
	"github.com/backstay/backstay/host/sock"
	"github.com/backstay/backstay/internal/hosttest"
	"github.com/backstay/backstay/internal/keeperwire"
	"github.com/backstay/backstay/internal/restart"
)

// lineToKeeper is a link to a keeper of its own, which runs nothing.
type lineToKeeper struct {
	*link

	t    *testing.T
	mu   sync.Mutex // guards met
	mets int
}

func newLine(t *testing.T) *lineToKeeper {
	t.Helper()
	dir, err := os.MkdirTemp("", "bs-") //nolint:usetesting // short: a socket's path has 107 bytes
	must(t, err)
	must(t, os.Mkdir(dir+"/k", 0o700))
	path, err := keeperbin.Path(dir)
	must(t, err)
	l := &lineToKeeper{t: t, link: newLink(dir+"/k", slog.New(slog.DiscardHandler))}
	l.launch = func(ctx context.Context) error { return keeperclient.Launch(ctx, path, dir+"/k", os.Environ()) }
	l.salvage = func(context.Context, *keeperclient.Client, []keeperwire.Slot) map[string]*os.File { return nil }
	l.met = func(context.Context, *keeperclient.Client, []keeperwire.Slot) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.mets++
		return nil
	}
	l.heard, l.missed = func(keeperwire.Event) {}, func(keeperwire.Event) {}
	must(t, l.launch(t.Context()))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), hang)
		defer cancel()
		if k, err := keeperclient.Dial(ctx, keeperclient.Options{Socket: filepath.Join(dir, "k", "sock")}); err == nil {
			_ = k.Leave(ctx)
			_ = k.Close()
		}
		_ = os.RemoveAll(dir)
	})
	return l
}

// A request that meets a dying keeper is asked of the next one, what is held is
// held there too, and nothing is left when the line ends.
func TestLineGoesOnWithTheNextKeeper(t *testing.T) {
	before := goleak.IgnoreCurrent()
	l := newLine(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.run(ctx, func() {}) }()
	asking, stop := context.WithTimeout(t.Context(), hang)
	defer stop()
	_, err := l.bind(asking, []string{"127.0.0.1:0"})
	must(t, err)
	for i := range 3 {
		k, _ := l.now()
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				for range 20 {
					if _, err := l.List(asking); err != nil {
						t.Errorf("round %d: %v", i, err)
						return
					}
				}
			})
		}
		must(t, k.KillKeeper())
		<-k.Done()
		must(t, l.launch(asking))
		all.Wait()
		must(t, l.ask(asking, func(k *keeperclient.Client) error {
			names, err := k.ListFDs(asking)
			if err == nil && (len(names) != 1 || names[0] != heldName("127.0.0.1:0")) {
				t.Errorf("round %d: the next keeper holds %q", i, names)
			}
			return err
		}))
	}
	must(t, l.unbind(asking, []string{"127.0.0.1:0"}))
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the line ended with %v", err)
	}
	goleak.VerifyNone(t, before, goleak.IgnoreAnyFunction("github.com/backstay/backstay/host/proc/keeperclient.Launch.func2")) // waits for the keeper itself
}

// A file that cannot be handed to the keeper is held by nobody: its address is
// free again.
func TestAddressThatCannotBeHeldIsFree(t *testing.T) {
	t.Parallel()
	l := newLink("/nowhere", slog.New(slog.DiscardHandler))
	port := hosttest.FreePort(t)
	address := occupyThenFree(t, port)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := l.bind(ctx, []string{address})
	if codeOf(err) != "bind_failed" || len(l.names()) != 0 {
		t.Fatalf("%v; held: %q", err, l.names())
	}
	f, err := sock.Listen(address)
	must(t, err)
	_ = f.Close()
}

func occupyThenFree(t *testing.T, port int) string {
	t.Helper()
	l := occupy(t, port)
	defer l.Close()
	return l.Addr().String()
}

// A state directory that cannot be written takes no file, and nothing is half
// done: the next try finds all as it was.
func TestFullDiskChangesNothing(t *testing.T) {
	t.Parallel()
	port, other := hosttest.FreePort(t), hosttest.FreePort(t)
	n := start(t, shopFile(port, ""))
	n.whole("shop", 2)
	before := n.status()
	more := shopFile(port, fmt.Sprintf("  more: { bind: [\"127.0.0.1:%d\"], routes: [{ to: shop }] }\n", other))
	more = strings.Replace(more, "services:\n", "services:\n  extra: { run: { exec: [SELF, serve, \"127.0.0.1:${port.http}\", two], user: \"USER\" }, ports: { http: auto }, deploy: { min_ready: 100ms } }\n", 1)
	for _, dir := range []string{"configs", "releases", "deploys"} {
		path := filepath.Join(n.opt.Dirs.State, dir)
		must(t, os.Rename(path, path+".away"))
		must(t, os.WriteFile(path, nil, 0o600))
		if err := n.apply(more); codeOf(err) != "disk" {
			t.Errorf("%s cannot be written: %v", dir, err)
		}
		s := n.status()
		if s.Config.Digest != before.Config.Digest || len(s.Services) != 1 || len(s.Frontends) != 1 {
			t.Errorf("%s: %+v", dir, s)
		}
		occupy(t, other).Close()
		must(t, os.Remove(path))
		must(t, os.Rename(path+".away", path))
		n.whole("shop", 2)
	}
	must(t, n.apply(more))
	n.whole("extra", 1)
}

// An address that the host lacks is nobody else's.
func TestAddressThatTheHostLacksIsSaidToBeSo(t *testing.T) {
	const lacking = "192.0.2.1:18080" // kept for documentation
	f, err := sock.Listen(lacking)
	if err == nil {
		_ = f.Close()
		hosttest.Cannot(t, "address that this host refuses to bind: net.ipv4.ip_nonlocal_bind is set")
	}
	p := new(backstay.Problem)
	if err := newLink(t.TempDir(), slog.New(slog.DiscardHandler)).bindProblem(lacking, err); !errors.As(err, &p) ||
		!strings.Contains(p.Why, "no such address") || strings.Contains(p.Do, "ss -lntp") {
		t.Errorf("%+v", p)
	}
}

// An agent whose front has gone for good, or that could start no keeper for a
// minute, gives up. One that hopes to be found does not, and neither does one
// that no front has begun.
func TestForsakenAgentGivesUp(t *testing.T) {
	d := DirsIn(t.TempDir())
	must(t, os.Mkdir(d.Run, 0o700))
	tries := func(t *testing.T) (n int) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			l := newLink(filepath.Join(d.Run, "none"), slog.New(slog.DiscardHandler))
			l.launch = func(context.Context) error { n++; return errors.New("no room") }
			l.forsaken = func(failed int) error { return forsaken(d, failed) }
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			if err := l.run(ctx, func() {}); err == nil || ctx.Err() != nil {
				t.Errorf("it tries on after %d: %v", n, err)
			}
		})
		return n
	}
	if n := tries(t); n != 0 {
		t.Errorf("without the directory of its front: tried %d times", n)
	}
	must(t, os.WriteFile(frontLock(d), nil, 0o600))
	if n := tries(t); n != hopeless {
		t.Errorf("its front was killed: tried %d times, want %d", n, hopeless)
	}
	lock, err := os.OpenFile(frontLock(d), os.O_RDWR, 0)
	must(t, err)
	must(t, os.WriteFile(filepath.Join(d.Run, "agent.lock"), nil, 0o600))
	must(t, endForsaken(t.Context(), d, lock))
	must(t, lock.Close())
	if n := tries(t); n != 0 {
		t.Errorf("its front has gone: tried %d times", n)
	}
}

// What was heard is not told again to whoever comes next, wherever in the middle
// the agent dies: no exit is told to people twice.
func TestWhatWasHeardIsNotToldAgain(t *testing.T) {
	const deaths = 30
	l := newLine(t)
	heard, ended, killed := 0, make(chan string, deaths), make(chan struct{})
	l.heard = func(ev keeperwire.Event) {
		if ev.Kind != keeperwire.EvExited {
			return
		}
		ended <- ev.ID
		if heard++; heard == deaths {
			<-killed // it does nothing more
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan error, 1)
	go func() { over <- l.run(ctx, func() {}) }()
	begin := func(ctx context.Context, id string, put func(context.Context, keeperwire.Spec) error, start func(context.Context, string) error) {
		t.Helper()
		must(t, put(ctx, keeperwire.Spec{ID: id, Dir: "/", LogFile: l.dir + "/" + id + ".log", LogMaxSize: 1 << 20, LogMaxFiles: 1, Signal: sigTERM, Restart: restart.Policy{When: restart.Never}, Argv: []string{"/bin/false"}}))
		must(t, start(ctx, id))
	}
	for i := range deaths {
		begin(ctx, fmt.Sprintf("loop-%06d", i), l.Put, l.Start)
	}
	for range deaths {
		select {
		case <-ended:
		case <-time.After(hang):
			t.Fatal("not all have ended")
		}
	}
	defer func() { close(killed); cancel(); <-over }()
	ctx, stop := context.WithTimeout(t.Context(), hang)
	defer stop()
	k, err := keeperclient.Dial(ctx, keeperclient.Options{Socket: l.dir + "/sock"})
	must(t, err)
	defer func() { _ = k.Close() }()
	events, err := k.Events(ctx, 0)
	must(t, err)
	begin(ctx, "next-000001", k.Put, k.Start)
	told := 0
	for ev := range events {
		if ev.ID == "next-000001" {
			break
		}
		if ev.Kind == keeperwire.EvExited {
			told++
		}
	}
	if told > 0 {
		t.Errorf("%d exits were told again", told)
	}
}
