package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// Sizes of the comparison.
const (
	children  = 20
	kills     = 200
	youngest  = 2 * time.Second // a child younger than this is not killed: peers punish the young
	reappears = 20 * time.Second
)

// supervisor is a tool under test: start begins children, each as argv of
// child, and returns what ends them all.
type supervisor struct {
	name  string
	start func(ctx context.Context, dir, child, records string) (stop func(), err error)
}

func restartBench(ctx context.Context, r *report) error {
	dir, err := os.MkdirTemp("", "bs-restart-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	child := filepath.Join(dir, "child")
	if out, err := exec.CommandContext(ctx, "gcc", "-O2", "-static", "-o", child, "bench/testdata/child.c").CombinedOutput(); err != nil {
		return fmt.Errorf("compile child.c: %w: %s", err, out)
	}
	r.printf("%-12s %5s %9s %9s %9s %9s\n", "", "kills", "median", "p90", "p99", "max")
	medians := map[string]time.Duration{}
	for _, s := range []supervisor{{"backstay", startBackstay}, {"runit", startRunit}, {"supervisord", startSupervisord}} {
		took, err := killLoop(ctx, s, filepath.Join(dir, s.name), child)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		slices.Sort(took)
		medians[s.name] = quantile(took, 0.5)
		r.printf("%-12s %5d %9s %9s %9s %9s\n", s.name, len(took), ms(quantile(took, 0.5)), ms(quantile(took, 0.9)), ms(quantile(took, 0.99)), ms(took[len(took)-1]))
	}
	for _, peer := range []string{"supervisord", "runit"} {
		r.printf("backstay / %s, medians: %.2f\n", peer, float64(medians["backstay"])/float64(medians[peer]))
	}
	return nil
}

func ms(d time.Duration) string { return fmt.Sprintf("%.2fms", float64(d.Microseconds())/1000) }

// killLoop kills the oldest child again and again and measures until the next
// of its name has said so.
func killLoop(ctx context.Context, s supervisor, dir, child string) ([]time.Duration, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	records := filepath.Join(dir, "records")
	stop, err := s.start(ctx, dir, child, records)
	if err != nil {
		return nil, err
	}
	defer stop()
	tail := &tail{path: records, alive: map[string]record{}}
	if err := tail.until(ctx, func() bool { return len(tail.alive) == children }); err != nil {
		return nil, fmt.Errorf("%d of %d children came up: %w", len(tail.alive), children, err)
	}
	took := make([]time.Duration, 0, kills)
	for range kills {
		victim := tail.oldest()
		if age := time.Duration(monotonic() - victim.at); age < youngest {
			time.Sleep(youngest - age)
		}
		at := monotonic()
		if err := syscall.Kill(victim.pid, syscall.SIGKILL); err != nil {
			return nil, fmt.Errorf("kill %s: %w", victim.name, err)
		}
		if err := tail.until(ctx, func() bool { return tail.alive[victim.name].pid != victim.pid }); err != nil {
			return nil, fmt.Errorf("%s did not come back: %w", victim.name, err)
		}
		took = append(took, time.Duration(tail.alive[victim.name].at-at))
	}
	return took, nil
}

type record struct {
	name string
	pid  int
	at   int64 // CLOCK_MONOTONIC, ns
}

// tail reads what children append.
type tail struct {
	path   string
	offset int64
	alive  map[string]record
}

func (t *tail) oldest() record {
	var old record
	for _, r := range t.alive {
		if old.pid == 0 || r.at < old.at {
			old = r
		}
	}
	return old
}

func (t *tail) until(ctx context.Context, done func() bool) error {
	end := time.Now().Add(reappears)
	for !done() {
		if time.Now().After(end) || ctx.Err() != nil {
			return errors.Join(ctx.Err(), fmt.Errorf("waited %v", reappears))
		}
		time.Sleep(200 * time.Microsecond)
		if err := t.read(); err != nil {
			return err
		}
	}
	return nil
}

func (t *tail) read() error {
	f, err := os.Open(t.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if _, err := f.Seek(t.offset, 0); err != nil {
		return err
	}
	in := bufio.NewReader(f)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return nil // the rest of a line comes later
		}
		t.offset += int64(len(line))
		if f := strings.Fields(line); len(f) == 3 {
			pid, _ := strconv.Atoi(f[1])
			at, _ := strconv.ParseInt(f[2], 10, 64)
			t.alive[f[0]] = record{f[0], pid, at}
		}
	}
}

// monotonic is CLOCK_MONOTONIC, which the children read too.
func monotonic() int64 {
	var ts syscall.Timespec
	const clockMonotonic = 1
	_, _, _ = syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clockMonotonic, uintptr(unsafe.Pointer(&ts)), 0)
	return ts.Nano()
}

func startSupervisord(ctx context.Context, dir, child, records string) (func(), error) {
	conf := filepath.Join(dir, "supervisord.conf")
	text := fmt.Sprintf("[supervisord]\nnodaemon=true\nlogfile=%s/log\npidfile=%s/pid\nuser=root\n"+
		"[program:c]\ncommand=%s %s c%%(process_num)d\nprocess_name=c%%(process_num)d\nnumprocs=%d\nautorestart=true\n", dir, dir, child, records, children)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		return nil, err
	}
	return startGroup(ctx, syscall.SIGTERM, "supervisord", "-c", conf)
}

func startRunit(ctx context.Context, dir, child, records string) (func(), error) {
	for i := range children {
		sv := filepath.Join(dir, "sv", fmt.Sprintf("c%d", i))
		if err := os.MkdirAll(sv, 0o755); err != nil {
			return nil, err
		}
		run := fmt.Sprintf("#!/bin/sh\nexec %s %s c%d\n", child, records, i)
		if err := os.WriteFile(filepath.Join(sv, "run"), []byte(run), 0o755); err != nil {
			return nil, err
		}
	}
	return startGroup(ctx, syscall.SIGHUP, "runsvdir", filepath.Join(dir, "sv")) // HUP: each runsv gets TERM and takes its child along
}

// startGroup starts argv in a session of its own and returns what ends it: sig,
// and after 15 s KILL.
func startGroup(ctx context.Context, sig syscall.Signal, argv ...string) (func(), error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return func() {
		_ = cmd.Process.Signal(sig)
		done := make(chan struct{})
		go func() { _ = cmd.Wait(); close(done) }()
		select {
		case <-done:
		case <-time.After(15 * time.Second):
			_ = cmd.Process.Kill()
			<-done
		}
	}, nil
}
