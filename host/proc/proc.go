// Package proc knows processes: the signals a role hears, who a user is, and,
// below it, the keeper and its client.
package proc

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// UntilTold returns a context that is done on SIGINT or SIGTERM. A second
// signal ends the process at once.
func UntilTold(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// Hangups returns a channel that hears SIGHUP, which asks for a reload.
func Hangups() <-chan os.Signal {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGHUP)
	return c
}
