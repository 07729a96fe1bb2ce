package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/backstay/backstay/api"
)

// The load that sees who answers: enough that an answer is never long away,
// little enough that nothing waits for a CPU.
const (
	seers   = 4
	seeWork = 2 * time.Millisecond
	after   = 500 * time.Millisecond // watched on when all is over
)

func withdrawBench(ctx context.Context, r *report) error {
	runs := r.rounds(10, 2)
	r.note("%d kept connections, %v for each request, %d runs; what a request that was under way at the old one takes is in the times", seers, seeWork, runs)
	aborts, err := withNode(ctx, watchedShop("1s", 1), runs, abortOnce)
	if err != nil {
		return fmt.Errorf("abort: %w", err)
	}
	deaths, err := withNode(ctx, watchedShop("20s", restarted), runs, deathOnce)
	if err != nil {
		return fmt.Errorf("badrelease: %w", err)
	}
	routes, err := withNode(ctx, func(s *scene) string { return twoShops(s, "one") }, runs, routeOnce)
	if err != nil {
		return fmt.Errorf("route: %w", err)
	}
	var rows [][]string
	row := func(what string, runs []spans, pick func(spans) time.Duration) time.Duration {
		var d []time.Duration
		for _, x := range runs {
			d = append(d, pick(x))
		}
		rows = append(rows, []string{what, strconv.Itoa(len(d)), ms(quantile(d, 0.5)), ms(quantile(d, 1))})
		return quantile(d, 0.5)
	}
	abort := row("abort in mid-roll, from the command's exec", aborts, spans.fromBegin)
	row("abort in mid-roll, from the command's end", aborts, spans.fromEnd)
	death := row("first death of a release never good, from the kill", deaths, spans.fromBegin)
	row("apply of a route, from the request sent", routes, spans.fromBegin)
	row("apply of a route, from its answer", routes, spans.fromEnd)
	route := row("apply of a route, from the first request that the new one answers", routes, spans.fromNew)
	r.table([]string{"last answer by what leaves", "runs", "median", "max"}, rows)
	r.note("a time below zero: the last answer came before")
	lost, of := 0, 0
	for _, x := range append(append(aborts, deaths...), routes...) {
		lost, of = lost+x.lost, of+x.sent
	}
	r.figure("requests lost meanwhile (badrelease kills an instance)", fmt.Sprintf("%d of %d", lost, of))
	r.goal("abort in mid-roll → last answer by the new release, median", ms(abort), "≤ 200 ms", abort <= 200*time.Millisecond)
	r.goal("first death of a release never good → last answer by it, median", ms(death), "≤ 1 s", death <= time.Second)
	r.goal("apply of a route → last answer by the old one, median", ms(route), "≤ 20 ms", route <= 20*time.Millisecond)
	return nil
}

// spans are the moments of one run.
type spans struct {
	begin, end time.Time // of what was done
	last       time.Time // answer by what leaves
	first      time.Time // request answered by what comes, sent
	sent, lost int
}

func (s spans) fromBegin() time.Duration { return s.last.Sub(s.begin) }
func (s spans) fromEnd() time.Duration   { return s.last.Sub(s.end) }
func (s spans) fromNew() time.Duration   { return s.last.Sub(s.first) }

// withNode calls once so many times on one node, numbered from 1.
func withNode(ctx context.Context, text func(*scene) string, runs int, once func(context.Context, *scene, int) (spans, error)) ([]spans, error) {
	w, err := newWorkplace("gone")
	if err != nil {
		return nil, err
	}
	defer w.close()
	s, err := newScene(w.dir)
	if err != nil {
		return nil, err
	}
	if s.node, err = up(s.dir, text(s)); err != nil {
		return nil, err
	}
	defer s.node.stop()
	if err := await(ctx, appears, look, func() string { return unlessServed(ctx, s.front) }); err != nil {
		return nil, err
	}
	var all []spans
	for i := range runs {
		x, err := once(ctx, s, i+1)
		if err != nil {
			return nil, fmt.Errorf("run %d: %w", i+1, err)
		}
		all = append(all, x)
	}
	return all, nil
}

// service is one of apps that say name.
func (s *scene) service(name, says, more string) string {
	return fmt.Sprintf(`  %s:
    version: v1
    run: { exec: [%s, app, -listen, "127.0.0.1:${port.http}", -name, "%s", -work, %v], user: "%s" }
    ports: { http: auto }
    replicas: %d
    probes: { readiness: { http: /healthz, period: 100ms, timeout: 100ms } }
    restart: { reset_after: 1s, limit: 1000/1m }
    %s
`, name, s.exe, says, seeWork, owner(), restarted, more)
}

// watchedShop is a shop whose version answers.
func watchedShop(minReady string, surge int) func(*scene) string {
	return func(s *scene) string {
		return "schema: 1\nservices:\n" +
			s.service(serviceRun, "${version}", fmt.Sprintf("deploy: { min_ready: %s, max_surge: %d }", minReady, surge)) +
			fmt.Sprintf("frontends:\n  web: { bind: [%q], routes: [{ to: %s }] }\n", s.front, serviceRun)
	}
}

// twoShops are two shops, one of which has the route.
func twoShops(s *scene, to string) string {
	return "schema: 1\nservices:\n" + s.service("one", "one", "deploy: { min_ready: 0s, max_surge: 3 }") +
		s.service("two", "two", "deploy: { min_ready: 0s, max_surge: 3 }") +
		fmt.Sprintf("frontends:\n  web: { bind: [%q], routes: [{ to: %s }] }\n", s.front, to)
}

// abortOnce deploys a version, and aborts when two of its instances answer.
func abortOnce(ctx context.Context, s *scene, n int) (spans, error) {
	version := "a" + strconv.Itoa(n)
	l, _, err := deployUntil(ctx, s, version, 2)
	if err != nil {
		return spans{}, err
	}
	defer l.stop()
	x := spans{begin: time.Now()}
	if err := s.node.command(ctx, "abort", serviceRun); err != nil {
		return x, err
	}
	x.end = time.Now()
	return x.finish(ctx, s, l, version, "v1")
}

// deathOnce deploys a version, and kills one of its three instances when all of
// them answer.
func deathOnce(ctx context.Context, s *scene, n int) (spans, error) {
	version := "b" + strconv.Itoa(n)
	l, pids, err := deployUntil(ctx, s, version, restarted)
	if err != nil {
		return spans{}, err
	}
	defer l.stop()
	x := spans{begin: time.Now()}
	if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
		return x, err
	}
	x.end = x.begin
	return x.finish(ctx, s, l, version, "v1")
}

// deployUntil begins a deploy under load and returns when so many instances of
// version have answered, with their pids.
func deployUntil(ctx context.Context, s *scene, version string, instances int) (*load, []int, error) {
	if err := s.node.whole(ctx, serviceRun, restarted, 2*appears); err != nil {
		return nil, nil, err
	}
	l := startLoad(ctx, s.front, http.MethodGet, seers)
	if err := s.node.command(ctx, "deploy", serviceRun, "--version", version, "--detach"); err != nil {
		l.stop()
		return nil, nil, err
	}
	var pids []int
	err := await(ctx, appears, look, func() string {
		pids = l.pidsOf(version)
		if len(pids) < instances {
			return fmt.Sprintf("%d of %d instances of %s have answered", len(pids), instances, version)
		}
		return ""
	})
	if err != nil {
		l.stop()
	}
	return l, pids, err
}

// pidsOf returns the processes that have answered as who.
func (l *load) pidsOf(who string) (pids []int) {
	known := map[string]bool{}
	for _, s := range l.seen() {
		if s.who == who && !known[s.pid] {
			known[s.pid] = true
			pid, _ := strconv.Atoi(s.pid)
			pids = append(pids, pid)
		}
	}
	return pids
}

// finish waits until the deploy is undone, and says what the load has seen.
func (s spans) finish(ctx context.Context, sc *scene, l *load, leaves, comes string) (spans, error) {
	err := sc.node.until(ctx, 2*appears, func(st api.Status) string {
		if d := st.Service(serviceRun).Deploy; d == nil || d.State != api.DeployRolledBack {
			return "the deploy is not rolled back"
		}
		return unlessWhole(st, serviceRun, restarted)
	})
	if err != nil {
		return s, err
	}
	return s.judge(ctx, l, leaves, comes)
}

// judge ends the load and fills in what it has seen.
func (s spans) judge(ctx context.Context, l *load, leaves, comes string) (spans, error) {
	if err := pause(ctx, after); err != nil {
		return s, err
	}
	for _, x := range l.end() {
		s.sent++
		switch {
		case x.lost != "":
			s.lost++
		case x.who == leaves && x.ended.After(s.last):
			s.last = x.ended
		case x.who == comes && x.ended.After(s.begin) && (s.first.IsZero() || x.began.Before(s.first)):
			s.first = x.began
		}
	}
	if s.last.IsZero() || s.first.IsZero() {
		return s, fmt.Errorf("%s answered until %v, %s from %v: one of them was never seen", leaves, s.last, comes, s.first)
	}
	return s, nil
}

// routeOnce moves the route from one shop to the other.
func routeOnce(ctx context.Context, s *scene, n int) (spans, error) {
	from, to := "one", "two"
	if n%2 == 0 {
		from, to = to, from
	}
	for _, service := range []string{from, to} {
		if err := s.node.whole(ctx, service, restarted, appears); err != nil {
			return spans{}, err
		}
	}
	l := startLoad(ctx, s.front, http.MethodGet, seers)
	defer l.stop()
	if err := pause(ctx, after); err != nil {
		return spans{}, err
	}
	text := twoShops(s, to)
	if err := os.WriteFile(s.node.file, []byte(text), 0o644); err != nil {
		return spans{}, err
	}
	x := spans{begin: time.Now()}
	if _, err := s.node.client.Apply(ctx, api.ConfigAsk{Name: s.node.file, Text: []byte(text)}); err != nil {
		return x, err
	}
	x.end = time.Now()
	return x.judge(ctx, l, from, to)
}

// shortest cuts what a program said to its first line.
func shortest(text []byte) string {
	first, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	return first
}
