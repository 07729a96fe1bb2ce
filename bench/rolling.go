package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"syscall"
	"time"
)

// The restart that is measured: each instance is away for startup, then spaced
// follows, under requests of work each.
const (
	startup    = 1200 * time.Millisecond
	spaced     = time.Second
	work       = 50 * time.Millisecond
	rollConns  = 40
	warm       = time.Second
	restarted  = 3
	serviceRun = "shop"
)

// balancer is a proxy under test with three apps behind it.
type balancer struct {
	name  string
	start func(ctx context.Context, s *scene) (stop func(), err error)
	roll  func(ctx context.Context, s *scene) error
	runs  []rolled
}

// rolled is what one run saw.
type rolled struct {
	quiet, during window
	took          time.Duration
}

// scene is what a run takes place in.
type scene struct {
	dir, exe string
	front    string // address of the proxy
	ports    []int  // of the apps, where they are fixed
	apps     []*process
	proxy    *process
	node     *node
}

func rollingBench(ctx context.Context, r *report) error {
	all := []*balancer{
		{name: "backstay restart", start: startRollBackstay, roll: rollBackstay},
		{name: "nginx, not told", start: startRollNginx, roll: rollUntold},
		{name: "nginx, told", start: startRollNginx, roll: rollNginxTold},
		{name: "haproxy, not told", start: startRollHAProxy, roll: rollUntold},
		{name: "haproxy, told", start: startRollHAProxy, roll: rollHAProxyTold},
	}
	runs := r.rounds(5, 1)
	for range runs {
		for _, b := range all {
			one, err := rollOnce(ctx, b, r.pick(5*time.Second, 2*time.Second))
			if err != nil {
				return fmt.Errorf("%s: %w", b.name, err)
			}
			b.runs = append(b.runs, one)
		}
	}
	r.note("three instances restarted one after the other: each away for %v, %v apart, the app ends at once on SIGTERM; %v for each POST, %d kept connections, "+
		"never sent twice by the client; %d runs in turn. Told: nginx by `down` and a reload, then its old workers awaited; HAProxy by `drain`, then its sessions awaited",
		startup, spaced, work, rollConns, runs)
	rollTable(r, all)
	return nil
}

func rollTable(r *report, all []*balancer) {
	var rows [][]string
	for _, b := range all {
		lost := b.each(func(x rolled) float64 { return float64(x.during.lost) })
		rows = append(rows, []string{
			b.name, fmt.Sprintf("%.0f", median(lost)), fmt.Sprintf("%.0f", most(lost)),
			fmt.Sprintf("%.0f", median(b.each(func(x rolled) float64 { return float64(x.during.sent) }))),
			ms(b.median(func(x rolled) time.Duration { return x.quiet.p99 })),
			ms(b.median(func(x rolled) time.Duration { return x.during.p99 })),
			fmt.Sprintf("%.2f", median(b.each(ratioOfP99))),
			fmt.Sprintf("%.0f", median(b.each(func(x rolled) float64 { return x.during.rate }))),
			fmt.Sprintf("%.1f s", b.median(func(x rolled) time.Duration { return x.took }).Seconds()),
		})
	}
	r.table([]string{"restart of three", "lost", "at most", "of", "p99 quiet", "p99", "p99 / quiet", "good/s", "took"}, rows)
	for _, b := range all {
		if first := b.firstLoss(); first != "" {
			r.note("first loss with %s: %s", b.name, first)
		}
	}
	ours := all[0]
	lost, of := 0, 0
	for _, x := range ours.runs {
		lost, of = lost+x.during.lost, of+x.during.sent
	}
	r.goal("lost by a restart, all runs", fmt.Sprintf("%d of %d", lost, of), "0", lost == 0)
	p99 := median(ours.each(ratioOfP99))
	r.goal("p99 during a restart / quiet, median of runs", fmt.Sprintf("%.2f", p99), "≤ 1.10", p99 <= 1.1)
}

func (b *balancer) firstLoss() string {
	for _, x := range b.runs {
		if x.during.first != "" {
			return x.during.first
		}
	}
	return ""
}

func ratioOfP99(x rolled) float64 { return float64(x.during.p99) / float64(x.quiet.p99) }

func most(v []float64) (m float64) {
	for _, x := range v {
		m = max(m, x)
	}
	return m
}

func (b *balancer) each(f func(rolled) float64) (v []float64) {
	for _, x := range b.runs {
		v = append(v, f(x))
	}
	return v
}

func (b *balancer) median(f func(rolled) time.Duration) time.Duration {
	return time.Duration(median(b.each(func(x rolled) float64 { return float64(f(x)) })))
}

// rollOnce starts everything anew, so that no run sees what an earlier one did
// to the proxy's opinion of its servers.
func rollOnce(ctx context.Context, b *balancer, quiet time.Duration) (rolled, error) {
	w, err := newWorkplace("roll")
	if err != nil {
		return rolled{}, err
	}
	defer w.close()
	s, err := newScene(w.dir)
	if err != nil {
		return rolled{}, err
	}
	stop, err := b.start(ctx, s)
	if err != nil {
		return rolled{}, err
	}
	defer stop()
	if err := await(ctx, appears, 10*time.Millisecond, func() string { return unlessServed(ctx, s.front) }); err != nil {
		return rolled{}, err
	}
	l := startLoad(ctx, s.front, http.MethodPost, rollConns)
	defer l.stop()
	if err := pause(ctx, warm); err != nil {
		return rolled{}, err
	}
	from := time.Now()
	if err := pause(ctx, quiet); err != nil {
		return rolled{}, err
	}
	at := time.Now()
	if err := b.roll(ctx, s); err != nil {
		return rolled{}, err
	}
	took := time.Since(at)
	all := l.end() // after the answers to what is under way
	x := rolled{windowOf(all, from, at), windowOf(all, at, time.Now()), took}
	if x.quiet.lost > 0 || x.quiet.sent == 0 {
		return x, fmt.Errorf("%d of %d lost before the restart: %s", x.quiet.lost, x.quiet.sent, x.quiet.first)
	}
	return x, nil
}

func newScene(dir string) (*scene, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	ports, err := freePorts(restarted + 1)
	if err != nil {
		return nil, err
	}
	return &scene{dir: dir, exe: exe, front: loopback(ports[0]), ports: ports[1:], apps: make([]*process, restarted)}, nil
}

// startRollBackstay runs the same app with the same pace: ready after startup,
// spaced apart by min_ready.
func startRollBackstay(ctx context.Context, s *scene) (func(), error) {
	n, err := up(s.dir, fmt.Sprintf(`schema: 1
services:
  %s:
    run: { exec: [%s, app, -listen, "127.0.0.1:${port.http}", -name, v1, -work, %v, -startup, %v], user: "%s" }
    ports: { http: auto }
    replicas: %d
    probes: { readiness: { http: /healthz, period: 250ms, timeout: 250ms } }
    deploy: { min_ready: %v }
frontends:
  web: { bind: ["%s"], routes: [{ to: %[1]s }] }
`, serviceRun, s.exe, work, startup, owner(), restarted, spaced, s.front))
	if err != nil {
		return nil, err
	}
	s.node = n
	if err := n.whole(ctx, serviceRun, restarted, appears); err != nil {
		n.stop()
		return nil, err
	}
	return n.stop, nil
}

func rollBackstay(ctx context.Context, s *scene) error {
	return s.node.command(ctx, "restart", serviceRun)
}

// startApps starts the apps that a peer balances.
func (s *scene) startApps(ctx context.Context) error {
	for i := range s.apps {
		if err := s.startApp(i); err != nil {
			return err
		}
	}
	for i := range s.apps {
		if err := awaitPort(ctx, loopback(s.ports[i])); err != nil {
			return err
		}
	}
	return nil
}

func (s *scene) startApp(i int) (err error) {
	s.apps[i], err = startProcess(syscall.SIGTERM, s.exe, appMode, "-listen", loopback(s.ports[i]), "-name", "v1", "-work", work.String(), "-startup", startup.String())
	return err
}

func (s *scene) stopApps() {
	for _, a := range s.apps {
		if a != nil {
			a.stop()
		}
	}
}

// restartApp ends app i and returns when the next one accepts.
func (s *scene) restartApp(ctx context.Context, i int) error {
	s.apps[i].stop()
	if err := s.startApp(i); err != nil {
		return err
	}
	return awaitPort(ctx, loopback(s.ports[i]))
}

func rollUntold(ctx context.Context, s *scene) error {
	for i := range s.apps {
		if err := s.restartApp(ctx, i); err != nil {
			return fmt.Errorf("app %d: %w", i, err)
		}
		if err := pause(ctx, spaced); err != nil {
			return err
		}
	}
	return nil
}

// rollTold restarts each app between out, which returns when nothing is on its
// way to it, and in.
func rollTold(ctx context.Context, s *scene, out, in func(ctx context.Context, i int) error) error {
	for i := range s.apps {
		if err := out(ctx, i); err != nil {
			return fmt.Errorf("take app %d out: %w", i, err)
		}
		if err := s.restartApp(ctx, i); err != nil {
			return fmt.Errorf("app %d: %w", i, err)
		}
		if err := in(ctx, i); err != nil {
			return fmt.Errorf("take app %d in: %w", i, err)
		}
		if err := pause(ctx, spaced); err != nil {
			return err
		}
	}
	return nil
}

// serverName is the name of app i in the files of the peers.
func serverName(i int) string { return "s" + strconv.Itoa(i) }
