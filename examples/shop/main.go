// Command shop is a small web shop to try Backstay on: a real program that
// knows nothing of who runs it.
//
// Every answer says which process gave it and proves that it read the very
// request it answers, so that a client can check each one. Orders are written
// to a file before they are confirmed, so that each can be found exactly once.
// Every line it prints has a number, so that a lost one shows.
//
//	shop --listen 127.0.0.1:8080 [--data DIR] [--graceful] [--die-after 1.5s] ...
//
// A file named like the program with .flags added, beside it, holds more flags,
// one on a line: that is how one build becomes a good release or a bad one.
//
// It leaves at once when told to with SIGTERM, as many programs do.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Time limits of the server: a stuck client must not keep a shop busy.
const (
	headTimeout  = 10 * time.Second
	drainTimeout = 30 * time.Second // of --graceful
)

// dead is the exit status of a release that dies young.
const dead = 3

func main() {
	o, err := parse(os.Args, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "shop:", err)
		os.Exit(2)
	}
	os.Exit(run(o))
}

// run serves until it is told to end and returns the exit status.
func run(o options) int {
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM, syscall.SIGINT)
	out := &lines{to: os.Stdout}
	s, err := newShop(o, out)
	if err != nil {
		fmt.Fprintln(os.Stderr, "shop:", err)
		return 1
	}
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", o.listen)
	if err != nil {
		fmt.Fprintln(os.Stderr, "shop:", err)
		return 1
	}
	out.printf("open at %s, %s", listener.Addr(), s.who)
	server := &http.Server{Handler: s.routes(), ReadHeaderTimeout: headTimeout}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	return live(o, out, server, served, told)
}

// live waits for the end of the shop, whichever comes first.
func live(o options, out *lines, server *http.Server, served <-chan error, told <-chan os.Signal) int {
	chatter := out.chatter(o.chatter)
	defer chatter()
	select {
	case err := <-served:
		fmt.Fprintln(os.Stderr, "shop:", err)
		return 1
	case <-after(o.dieAfter):
		fmt.Fprintln(os.Stderr, "panic: assignment to entry in nil map")
		return dead
	case s := <-told:
		out.printf("told to end: %v", s)
		if !o.graceful {
			return 0
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil && !errors.Is(err, http.ErrServerClosed) {
		fmt.Fprintln(os.Stderr, "shop:", err)
		return 1
	}
	return 0
}

// after fires once after d, never if d is 0.
func after(d time.Duration) <-chan time.Time {
	if d == 0 {
		return nil
	}
	return time.After(d)
}
