package demo

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a program that the demonstration has started.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
	err  error // of its end; read it when done is closed
}

// start starts argv in a session of its own, with what it prints in a file.
func start(dir, name string, argv ...string) (*process, error) {
	out, err := os.Create(filepath.Join(dir, name+".out"))
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	defer func() { _ = out.Close() }()                                     // the child has its own
	cmd := exec.CommandContext(context.Background(), argv[0], argv[1:]...) // it ends when it is told to
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return watched(cmd)
}

func watched(cmd *exec.Cmd) (*process, error) {
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	go func() { p.err = cmd.Wait(); close(p.done) }()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// end sends sig and waits, then kills.
func (p *process) end(sig syscall.Signal, within time.Duration) {
	_ = p.cmd.Process.Signal(sig)
	select {
	case <-p.done:
	case <-time.After(within):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// load is the process that puts load on.
type load struct {
	*process

	mu      sync.Mutex // guards both: one question at a time
	ask     io.WriteCloser
	answers *bufio.Reader
}

// startLoad starts the load on addresses.
func startLoad(program string, addresses ...string) (*load, error) {
	cmd := exec.CommandContext(context.Background(), program, append([]string{"demo-load"}, addresses...)...) // as above
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start load: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start load: %w", err)
	}
	p, err := watched(cmd)
	if err != nil {
		return nil, err
	}
	return &load{process: p, ask: in, answers: bufio.NewReader(out)}, nil
}

// take returns what the load saw since it was taken last.
func (l *load) take() (Tally, error) { return l.question("take") }

// look is take that leaves all as it is.
func (l *load) look() (Tally, error) { return l.question("look") }

func (l *load) question(word string) (t Tally, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := io.WriteString(l.ask, word+"\n"); err != nil {
		return t, fmt.Errorf("ask load: %w", err)
	}
	line, err := l.answers.ReadBytes('\n')
	if err != nil {
		return t, fmt.Errorf("ask load: %w", err)
	}
	if err := json.Unmarshal(line, &t); err != nil {
		return t, fmt.Errorf("ask load: %w", err)
	}
	return t, nil
}

func (l *load) stop() {
	_ = l.ask.Close()
	l.end(syscall.SIGTERM, answerTime+time.Second)
}

// command runs backstay with args and returns what it printed and its status.
func (s *stage) command(ctx context.Context, args ...string) (out string, status int, err error) {
	cmd := exec.CommandContext(ctx, s.program, append(args, s.flags()...)...)
	var both bytes.Buffer
	cmd.Stdout, cmd.Stderr = &both, &both
	err = cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return both.String(), exit.ExitCode(), nil
	}
	if err != nil {
		err = fmt.Errorf("run backstay %s: %w", args[0], err)
	}
	return both.String(), 0, err
}

// kill is what the night does: nobody is asked.
func kill(pids ...int) error {
	var err error
	for _, pid := range pids {
		err = errors.Join(err, syscall.Kill(pid, syscall.SIGKILL))
	}
	if err != nil {
		return fmt.Errorf("kill: %w", err)
	}
	return nil
}

func freeze(pid int) error {
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return fmt.Errorf("freeze: %w", err)
	}
	return nil
}

// runs reports whether process pid is one of those whose command line names dir:
// one that has ended has none, and its number may be somebody else's by now.
func runs(pid int, dir string) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && strings.Contains(string(text), dir)
}
