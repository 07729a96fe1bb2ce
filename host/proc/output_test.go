package proc

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func sh(script string) []string { return []string{"/bin/sh", "-c", script} }

const secret = "hunter2-correct-horse"

func TestErrorsTellStderrAndNeverTheSecret(t *testing.T) {
	for name, c := range map[string]struct {
		argv []string
		want string
	}{
		"fails":          {sh("echo " + secret + "; echo 'vault: sealed' >&2; exit 3"), "exit status 3: vault: sealed"},
		"killed":         {sh("echo " + secret + "; kill -9 $$"), "signal: killed"},
		"too long":       {sh("while :; do echo " + secret + "; done"), "writes more than it may"},
		"escapes":        {sh("printf 'a\\033[31mb\\n' >&2; exit 1"), "a?[31mb"},
		"missing":        {[]string{"/no/such/vault", secret}, "no such file"},
		"not executable": {[]string{"/etc/passwd", secret}, "permission denied"},
		"directory":      {[]string{"/tmp", secret}, "permission denied"},
		"empty":          {nil, "it is empty"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := Output(t.Context(), c.argv, 4096)
			if err == nil || !strings.Contains(err.Error(), c.want) || out != nil {
				t.Fatalf("%q, %v; want %q", out, err, c.want)
			}
			if strings.Contains(err.Error(), secret) || strings.ContainsRune(err.Error(), 0x1b) {
				t.Errorf("the error tells too much: %v", err)
			}
		})
	}
}

func TestOnlyTheEndOfStderrIsTold(t *testing.T) {
	_, err := Output(t.Context(), sh("i=0; while [ $i -lt 3000 ]; do echo line $i >&2; i=$((i+1)); done; echo the end >&2; exit 1"), 4096)
	if err == nil || !strings.HasSuffix(err.Error(), "the end") || len(err.Error()) > 2*stderrTail {
		t.Errorf("%v", err)
	}
}

func TestOutputIsWholeAndExact(t *testing.T) {
	out, err := Output(t.Context(), sh("echo noise >&2; cat; printf 'a\\000b\\n'"), 4096) // cat finds nothing to read
	if err != nil || string(out) != "a\x00b\n" {
		t.Errorf("%q, %v", out, err)
	}
}

func TestArgumentsAreNotShell(t *testing.T) {
	out, err := Output(t.Context(), []string{"printf", "%s|%s", "$HOME", "a; b"}, 4096)
	if err != nil || string(out) != "$HOME|a; b" {
		t.Errorf("%q, %v", out, err)
	}
}

// A command that hangs, with a child that ignores the end, is gone after its
// time, with all of its group.
func TestHangingCommandIsKilledAsAGroup(t *testing.T) {
	pidFile := filepath.Join(t.TempDir(), "pid")
	_, err := output(t.Context(), sh("(trap '' TERM; echo $(exec sh -c 'echo $PPID') >"+pidFile+"; sleep 100; sleep 100) & wait"), 4096, 3*time.Second)
	if err == nil || !strings.Contains(err.Error(), "did not end within 3s") {
		t.Fatalf("%v", err)
	}
	text, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the child is gone", func() bool {
		s, err := Stat(pid)
		return err != nil || s.State == 'Z'
	})
}

func TestCommandEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	started := filepath.Join(t.TempDir(), "started")
	result := make(chan error, 1)
	go func() {
		_, err := Output(ctx, sh("touch "+started+"; sleep 100"), 4096)
		result <- err
	}()
	until(t, "it runs", func() bool { _, err := os.Stat(started); return err == nil })
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// A daemon that keeps stdout open does not hold the caller.
func TestLeftoverHolderOfStdoutDoesNotHoldUs(t *testing.T) {
	out, err := output(t.Context(), sh("setsid sh -c 'echo $$ >&2; exec sleep 5' & echo ok"), 4096, 4*time.Second)
	if err != nil || string(out) != "ok\n" {
		t.Errorf("%q, %v", out, err)
	}
}

// A process whose parent ends comes to us and does not stay as a zombie, and
// the exit status of a child of our own still reaches who waits for it.
func TestReapTakesOrphansAndLeavesOurOwn(t *testing.T) {
	if os.Getenv("PROC_REAP") == "" {
		// In a process of its own: a subreaper for ever would be another test's surprise.
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestReapTakesOrphansAndLeavesOurOwn$", "-test.v")
		cmd.Env = append(os.Environ(), "PROC_REAP=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	if err := Subreaper(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	reaped := make(chan error, 1)
	go func() { reaped <- Reap(ctx, func(time.Time) bool { return true }, nil) }()

	out, err := Output(t.Context(), sh("setsid sh -c 'exit 7' >/dev/null 2>&1 & echo $!"), 4096)
	if err != nil {
		t.Fatal(err)
	}
	orphan, _ := strconv.Atoi(strings.TrimSpace(string(out)))
	own := exec.Command("/bin/sh", "-c", "exit 5")
	if err := Start(own); err != nil {
		t.Fatal(err)
	}
	until(t, "our own child is a zombie", func() bool { s, err := Stat(own.Process.Pid); return err == nil && s.State == 'Z' })
	until(t, "the orphan is gone", func() bool { return syscall.Kill(orphan, 0) != nil })

	second, err := Output(t.Context(), sh("setsid sh -c 'exit 7' >/dev/null 2>&1 & echo $!"), 4096)
	if err != nil {
		t.Fatal(err)
	}
	orphan, _ = strconv.Atoi(strings.TrimSpace(string(second)))
	until(t, "a second orphan is gone, by when our own was seen twice", func() bool { return syscall.Kill(orphan, 0) != nil })
	var exit *exec.ExitError
	if err := Wait(own); !errors.As(err, &exit) || exit.ExitCode() != 5 {
		t.Errorf("exit of our own child: %v", err)
	}
	cancel()
	if err := <-reaped; err != nil {
		t.Error(err)
	}
}

func TestStatReadsNamesWithParentheses(t *testing.T) {
	s, err := parseStat("42 (a) b) R (c) S 7 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 123456 1 2 3")
	if err != nil || s != (Status{State: 'S', Parent: 7, Ticks: 123456}) {
		t.Errorf("%+v, %v", s, err)
	}
	for _, bad := range []string{"", ")", "1 (x) S", "1 (x) S x 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 123456", "1 (x) S 1 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 x"} {
		if s, err := parseStat(bad); err == nil {
			t.Errorf("%q: %+v", bad, s)
		}
	}
	me, err := Stat(os.Getpid())
	if err != nil || me.Parent != os.Getppid() || me.Ticks == 0 {
		t.Errorf("%+v, %v", me, err)
	}
}

// until waits for what another process does. The ceiling only guards against
// hanging for ever.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for limit := time.Now().Add(30 * time.Second); !done(); {
		if time.Now().After(limit) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
