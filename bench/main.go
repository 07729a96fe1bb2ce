// Command bench measures Backstay beside the tools it replaces: the same work,
// the same machine, the same run, in turn. It prints medians and their ratios;
// single times of a shared machine mean little.
//
//	go run ./bench [NAME ...]    all of them without a name
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// bench is one comparison. Run prints its table to the report.
type bench struct {
	name string
	what string
	run  func(ctx context.Context, r *report) error
}

var benches = []bench{
	{"restart", "from the death of a child to the exec of the next, beside supervisord and runit", restartBench},
	{"cpu", "CPU of the proxy per request, beside nginx and HAProxy", cpuBench},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, names []string) error {
	r := &report{out: os.Stdout}
	r.machine()
	for _, b := range benches {
		if len(names) > 0 && !slices.Contains(names, b.name) {
			continue
		}
		r.printf("\n## %s: %s\n", b.name, b.what)
		if err := b.run(ctx, r); err != nil {
			return fmt.Errorf("%s: %w", b.name, err)
		}
	}
	return nil
}

// report is what is printed.
type report struct{ out *os.File }

func (r *report) printf(format string, args ...any) { fmt.Fprintf(r.out, format, args...) }

func (r *report) machine() {
	var u syscall.Utsname
	_ = syscall.Uname(&u)
	load, _ := os.ReadFile("/proc/loadavg")
	r.printf("machine: %d CPUs, Linux %s, %s, load %s, %s\n", runtime.NumCPU(), chars(u.Release[:]),
		runtime.Version(), strings.TrimSpace(string(load)), time.Now().UTC().Format(time.DateOnly))
	for _, argv := range [][]string{{"supervisord", "-v"}, {"nginx", "-v"}, {"haproxy", "-v"}} {
		out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
		if err == nil {
			first, _, _ := strings.Cut(string(out), "\n")
			r.printf("peer: %s %s\n", argv[0], first)
		}
	}
}

func chars(b []int8) string {
	var s strings.Builder
	for _, c := range b {
		if c == 0 {
			break
		}
		s.WriteByte(byte(c))
	}
	return s.String()
}

// quantile returns the q-th of sorted samples, 0 to 1.
func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}
