package cli

import (
	"context"
	"errors"
	"io"
	"os"

	"golang.org/x/term"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api/client"
	"github.com/backstay/backstay/daemon"
	"github.com/backstay/backstay/host/proc"
)

// Version is that of this program; the build sets it.
var Version = "dev"

// Surroundings are what a command may touch beside the agent.
type Surroundings struct {
	In       io.Reader
	Out, Err io.Writer
	Getenv   func(string) string
	Terminal bool // Out is one
	// Screen returns its columns and rows as they are now; nil and 0 are unknown.
	Screen func() (columns, rows int)
}

// Main runs the command line of this process and returns its exit status.
func Main() int {
	ctx, stop := proc.UntilTold(context.Background())
	defer stop()
	s := &Surroundings{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv}
	fd := int(os.Stdout.Fd())
	if s.Terminal = term.IsTerminal(fd); s.Terminal {
		s.Screen = func() (columns, rows int) { columns, rows, _ = term.GetSize(fd); return columns, rows }
	}
	return int(Run(ctx, s, os.Args[1:]))
}

// Run runs the command that args ask for.
func Run(ctx context.Context, s *Surroundings, args []string) backstay.ExitCode {
	a := &app{Surroundings: s, dirs: daemon.DefaultDirs()}
	root := a.root() //nolint:contextcheck // each command gets ctx when it is executed
	root.SetArgs(args)
	root.SetIn(s.In)
	root.SetOut(s.Out)
	root.SetErr(s.Err)
	return a.finish(ctx, root.ExecuteContext(ctx))
}

// app is one run of the command line.
type app struct {
	*Surroundings

	dirs   daemon.Dirs
	output string // table, json, yaml
}

// client returns a client of the agent.
func (a *app) client() *client.Client {
	return client.New(client.Options{Socket: a.dirs.API(), Log: a.dirs.AgentLog(), Waiting: func() { a.say("waiting for the agent at %s", a.dirs.API()) }})
}

// exit ends a command with a status that says all: nothing more is printed.
type exit struct{ code backstay.ExitCode }

func (e exit) Error() string { return "exit" }

// leave ends a command with code.
func leave(code backstay.ExitCode) error {
	if code == backstay.ExitOK {
		return nil
	}
	return exit{code}
}

// finish tells why a command ended and returns its status.
func (a *app) finish(ctx context.Context, err error) backstay.ExitCode {
	var e exit
	switch {
	case err == nil:
		return backstay.ExitOK
	case errors.As(err, &e):
		return e.code
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		err = &backstay.Problem{Code: "interrupted", What: "interrupted", Do: "what was asked for goes on: backstay status"}
	}
	return a.tell(err)
}
