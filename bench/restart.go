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
	children = 20
	youngest = 2 * time.Second // a child younger than this is not killed: peers punish the young
)

// supervisor is a tool under test: start begins children, each as argv of
// child, and returns its process, which takes them along.
type supervisor struct {
	name  string
	start func(dir, child, records string) (*process, error)
	tail  *tail
	took  []time.Duration
}

func restartBench(ctx context.Context, r *report) error {
	w, err := newWorkplace("restart")
	if err != nil {
		return err
	}
	defer w.close()
	child, err := compileChild(ctx, w.dir)
	if err != nil {
		return err
	}
	all := []*supervisor{{name: "backstay", start: startBackstay}, {name: "runit", start: startRunit}, {name: "supervisord", start: startSupervisord}}
	for _, s := range all {
		p, err := s.begin(ctx, w, child)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		defer p.stop()
	}
	kills := r.rounds(200, 20)
	if err := killLoop(ctx, all, kills); err != nil {
		return err
	}
	r.note("%d children each, the oldest killed -9, %d times each in turn; up for 2 s or more when killed; the child notes the time as its first act", children, kills)
	restartTable(r, all)
	return nil
}

func restartTable(r *report, all []*supervisor) {
	var rows [][]string
	for _, s := range all {
		rows = append(rows, []string{
			s.name, strconv.Itoa(len(s.took)), ms2(quantile(s.took, 0.5)), ms2(quantile(s.took, 0.9)),
			ms2(quantile(s.took, 0.99)), ms2(slices.Max(s.took)),
		})
	}
	r.table([]string{"death to exec", "kills", "median", "p90", "p99", "max"}, rows)
	ours, runit, supervisord := quantile(all[0].took, 0.5), quantile(all[1].took, 0.5), quantile(all[2].took, 0.5)
	r.goal("death to exec, median", ms2(ours), "< 10 ms", ours < 10*time.Millisecond)
	r.figure("death to exec, p99", ms2(quantile(all[0].took, 0.99)))
	r.goal("beside supervisord, medians", ratio(ours, supervisord), "≤ 0.10", ours*10 <= supervisord)
	r.goal("beside runit, medians", ratio(ours, runit), "≤ 1.20", ours*10 <= runit*12)
}

// ratio prints a over b.
func ratio(a, b time.Duration) string { return fmt.Sprintf("%.2f", float64(a)/float64(b)) }

// compileChild builds the child in dir: static, so that little is measured but
// the supervisor.
func compileChild(ctx context.Context, dir string) (string, error) {
	child := filepath.Join(dir, "child")
	out, err := exec.CommandContext(ctx, "gcc", "-O2", "-static", "-o", child, "bench/testdata/child.c").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("compile child.c: %w: %s", err, out)
	}
	return child, nil
}

// begin starts s and returns when all its children are up.
func (s *supervisor) begin(ctx context.Context, w *workplace, child string) (*process, error) {
	dir, err := w.sub(s.name)
	if err != nil {
		return nil, err
	}
	s.tail = &tail{path: filepath.Join(dir, "records"), alive: map[string]record{}}
	p, err := s.start(dir, child, s.tail.path)
	if err != nil {
		return nil, err
	}
	if err := s.tail.until(ctx, func() bool { return len(s.tail.alive) == children }); err != nil {
		p.stop()
		return nil, p.story(fmt.Errorf("%d of %d children came up: %w", len(s.tail.alive), children, err))
	}
	return p, nil
}

func killLoop(ctx context.Context, all []*supervisor, kills int) error {
	for range kills {
		for _, s := range all {
			took, err := s.kill(ctx)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			s.took = append(s.took, took)
		}
	}
	return nil
}

// kill kills the oldest child and returns how long it took until the next of its
// name ran.
func (s *supervisor) kill(ctx context.Context) (time.Duration, error) {
	victim := s.tail.oldest()
	if age := time.Duration(monotonic() - victim.at); age < youngest {
		if err := pause(ctx, youngest-age); err != nil {
			return 0, err
		}
	}
	at := monotonic()
	if err := syscall.Kill(victim.pid, syscall.SIGKILL); err != nil {
		return 0, fmt.Errorf("kill %s: %w", victim.name, err)
	}
	if err := s.tail.until(ctx, func() bool { return s.tail.alive[victim.name].pid != victim.pid }); err != nil {
		return 0, fmt.Errorf("%s did not come back: %w", victim.name, err)
	}
	return time.Duration(s.tail.alive[victim.name].at - at), nil
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

// until reads on until done says yes. Its step disturbs little and adds nothing:
// children say themselves when they ran.
func (t *tail) until(ctx context.Context, done func() bool) error {
	return await(ctx, appears, time.Millisecond, func() string {
		if err := t.read(); err != nil {
			return err.Error()
		}
		if !done() {
			return "not yet"
		}
		return ""
	})
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
