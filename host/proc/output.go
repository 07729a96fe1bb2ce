package proc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Limits bound a command that is run for its output.
type Limits struct {
	Timeout   time.Duration // zero means 10 s: a vault over the network answers in one
	MaxOutput int           // bytes; zero means 64 KiB: the largest key chains are half of it
	Dir       string        // empty is that of this process
}

// Defaults of [Limits], and how much of stderr an error repeats.
const (
	outputWithin = 10 * time.Second
	maxOutput    = 64 << 10
	stderrTail   = 200
	// afterKill is how long pipes that a killed command has passed to others
	// are still read.
	afterKill = time.Second
)

// ErrTooLong is wrapped by the error of a command that writes more than it may.
var ErrTooLong = errors.New("writes more than it may")

// Output runs argv, never through a shell, with nothing to read, and returns
// what it writes to stdout. At the timeout, or when it writes too much, it and
// its process group are killed. The error has the end of stderr and never what
// it wrote to stdout, which may be a secret; nor does it repeat any argument
// but the first.
func Output(ctx context.Context, argv []string, l Limits) ([]byte, error) {
	if len(argv) == 0 || argv[0] == "" {
		return nil, errors.New("run command: it is empty")
	}
	if l.Timeout == 0 {
		l.Timeout = outputWithin
	}
	if l.MaxOutput == 0 {
		l.MaxOutput = maxOutput
	}
	ctx, cancel := context.WithTimeoutCause(ctx, l.Timeout, fmt.Errorf("did not end within %v", l.Timeout))
	defer cancel()
	out, tail, err := run(ctx, argv, l)
	switch {
	case out.over:
		err = fmt.Errorf("%w: %d bytes", ErrTooLong, l.MaxOutput)
	case err != nil && ctx.Err() != nil:
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("run %s: %w%s", argv[0], err, tail.quote())
	}
	return out.kept.Bytes(), nil
}

func run(ctx context.Context, argv []string, l Limits) (*head, *tail, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out, errs := &head{max: l.MaxOutput, full: cancel}, &tail{max: stderrTail}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr, cmd.Dir, cmd.WaitDelay = out, errs, l.Dir, afterKill
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	if err := Start(cmd); err != nil {
		return out, errs, err
	}
	err := Wait(cmd)
	if errors.Is(err, exec.ErrWaitDelay) {
		err = nil // it ended well; somebody else holds its stdout
	}
	return out, errs, err
}

// head keeps the first bytes written to it and tells when there are more.
type head struct {
	kept bytes.Buffer
	max  int
	over bool
	full func()
}

func (h *head) Write(b []byte) (int, error) {
	if h.kept.Len()+len(b) > h.max {
		h.over = true
		h.full()
		return len(b), nil
	}
	return h.kept.Write(b)
}

// tail keeps the last bytes written to it.
type tail struct {
	kept []byte
	max  int
}

func (t *tail) Write(b []byte) (int, error) {
	t.kept = append(t.kept, b[max(0, len(b)-t.max):]...)
	t.kept = t.kept[max(0, len(t.kept)-t.max):]
	return len(b), nil
}

// quote returns what t has kept as one line to append to an error.
func (t *tail) quote() string {
	line := strings.Join(strings.Fields(strings.ToValidUTF8(string(t.kept), "?")), " ")
	line = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?' // no escape sequence reaches a terminal
		}
		return r
	}, line)
	if line == "" {
		return ""
	}
	return ": " + line
}
