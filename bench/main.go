// Command bench measures Backstay beside the tools it replaces: the same work,
// the same machine, the same run, in turn. It prints medians and their ratios;
// single times of a shared machine mean little.
//
//	go run ./bench [-short] [-md FILE] [NAME ...]    all of them without a name
//
// Nothing is judged by time: the status says whether everything could be
// measured. Whether a goal is met is printed.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// bench is one comparison. Run prints its tables and figures to the report.
type bench struct {
	name string
	what string
	most time.Duration // longer than this it hangs
	run  func(ctx context.Context, r *report) error
}

var benches = []bench{
	{"restart", "from the death of a child to the exec of the next, beside supervisord and runit", 20 * time.Minute, restartBench},
	{"keeper", "memory and idle cost of the keeper and the agent; adoption after either is killed", 20 * time.Minute, keeperBench},
	{"rolling", "a restart of three instances under load, beside nginx and HAProxy, untold and told", 30 * time.Minute, rollingBench},
	{"withdraw", "how soon the last answer comes from what is taken out of traffic", 15 * time.Minute, withdrawBench},
	{"cpu", "CPU of the proxy per request, beside nginx and HAProxy", 15 * time.Minute, cpuBench},
	{"start", "sizes of the programs, and from a cold up to the first served request", 10 * time.Minute, startBench},
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == appMode {
		os.Exit(appMain(os.Args[2:]))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are what the command line says.
type options struct {
	short bool
	md    string
	names []string
}

func parse(args []string) (options, error) {
	var o options
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.BoolVar(&o.short, "short", false, "a few rounds of each, to see that it works; its numbers mean little")
	fs.StringVar(&o.md, "md", "", "write the sections measured into this `file` of Markdown, and leave its other ones")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	o.names = fs.Args()
	for _, name := range o.names {
		if !slices.ContainsFunc(benches, func(b bench) bool { return b.name == name }) {
			return o, fmt.Errorf("there is no %q; there are %s", name, strings.Join(names(), ", "))
		}
	}
	return o, nil
}

func names() (all []string) {
	for _, b := range benches {
		all = append(all, b.name)
	}
	return all
}

func run(ctx context.Context, args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	if _, err := os.Stat(program); err != nil {
		return fmt.Errorf("%s is not there; run `make build`, and bench from the root of the project", program)
	}
	r := &report{out: os.Stdout, short: o.short, host: lookAtHost(ctx)}
	r.intro()
	if err := r.writeMarkdown(o.md); err != nil { // before hours of measuring
		return err
	}
	for _, b := range benches {
		if len(o.names) > 0 && !slices.Contains(o.names, b.name) {
			continue
		}
		if err := measure(ctx, r, b); err != nil {
			return fmt.Errorf("%s: %w", b.name, err)
		}
		if err := r.writeMarkdown(o.md); err != nil { // after each: what is measured is kept
			return err
		}
	}
	return nil
}

func measure(ctx context.Context, r *report, b bench) error {
	ctx, cancel := context.WithTimeout(ctx, b.most)
	defer cancel()
	r.begin(b)
	if err := b.run(ctx, r); err != nil {
		return err
	}
	r.end()
	return nil
}
