package proc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Bounds of a command that is run for its output.
const (
	// outputWithin is how long it may take: a vault over the network answers in
	// a second.
	outputWithin = 10 * time.Second
	// stderrTail is how much of its stderr an error repeats, in bytes.
	stderrTail = 200
	// afterKill is how long pipes that an ended command has passed to others are
	// still read.
	afterKill = time.Second
)

// ErrTooLong is wrapped by the error of a command that writes more than it may.
var ErrTooLong = errors.New("writes more than it may")

// Output runs argv, never through a shell, with nothing to read, and returns
// what it writes to stdout. After 10 s, when ctx is done, or when it writes more
// than most bytes, it is killed with its process group. The error has the end of
// stderr and never what was written to stdout, which may be a secret; nor does
// it repeat any argument but the first.
func Output(ctx context.Context, argv []string, most int) ([]byte, error) {
	return output(ctx, argv, most, outputWithin)
}

func output(ctx context.Context, argv []string, most int, within time.Duration) ([]byte, error) {
	if len(argv) == 0 || argv[0] == "" {
		return nil, errors.New("run command: it is empty")
	}
	ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("did not end within %v", within))
	defer cancel()
	out, errs := &head{max: most, full: cancel}, &tail{max: stderrTail}
	err := run(ctx, argv, out, errs)
	switch {
	case out.over:
		err = fmt.Errorf("%w: %d bytes", ErrTooLong, most)
	case err != nil && ctx.Err() != nil:
		err = context.Cause(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("run %s: %w%s", argv[0], err, errs.quote())
	}
	return out.kept.Bytes(), nil
}

func run(ctx context.Context, argv []string, out, errs io.Writer) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = out, errs, afterKill
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	if err := Start(cmd); err != nil {
		return err
	}
	err := Wait(cmd)
	if errors.Is(err, exec.ErrWaitDelay) {
		return nil // it ended well; somebody else holds its stdout
	}
	return err
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
