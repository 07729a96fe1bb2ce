package proc

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// kernelTells reports whether the kernel knows the exit status of a process that
// has been taken away: Linux 6.15. It goes by the version, for a witness that
// never knows must not pass for an old kernel.
func kernelTells(t *testing.T) bool {
	t.Helper()
	text, err := os.ReadFile("/proc/sys/kernel/osrelease")
	must(t, err)
	var major, minor int
	_, err = fmt.Sscanf(string(text), "%d.%d", &major, &minor)
	must(t, err)
	return major > 6 || major == 6 && minor >= 15
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWitnessKnowsTheExitOfWhatIsGone(t *testing.T) {
	if !kernelTells(t) {
		t.Skip("Linux before 6.15 does not tell the exit of what is gone: docs/rooms/keeper.md")
	}
	for script, want := range map[string]syscall.WaitStatus{"exit 7": 7 << 8, "kill -9 $$": 9} {
		cmd := exec.Command("/bin/sh", "-c", "read x; "+script)
		in, err := cmd.StdinPipe()
		must(t, err)
		must(t, cmd.Start())
		w, err := Watch(cmd.Process.Pid, 0, t.TempDir())
		must(t, err)
		if _, known := w.Exit(); known {
			t.Error("it has not ended, and its exit is known")
		}
		_, _ = io.WriteString(in, "go\n")
		_ = cmd.Wait()
		if got, known := w.Exit(); !known || got != want {
			t.Errorf("%s: got %#x, known %v; want %#x", script, got, known, want)
		}
		must(t, w.Close())
	}
}

func TestWitnessKeepsWhatIsUnread(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out")
	must(t, syscall.Mkfifo(path, 0o600))
	cmd := exec.Command("/bin/sh", "-c", "read x; echo last words 1<>"+path)
	in, err := cmd.StdinPipe()
	must(t, err)
	must(t, cmd.Start())
	w, err := Watch(cmd.Process.Pid, 0, dir)
	must(t, err)
	_, _ = io.WriteString(in, "go\n")
	_ = cmd.Wait() // the last one that had it open but the witness
	f, err := os.OpenFile(path, os.O_RDWR|syscall.O_NONBLOCK, 0)
	must(t, err)
	defer func() { _ = f.Close() }()
	b := make([]byte, 64)
	n, err := f.Read(b)
	if err != nil || string(b[:n]) != "last words\n" {
		t.Errorf("read %q, %v", b[:n], err)
	}
	must(t, w.Close())
}

func TestWitnessRefusesAnotherProcess(t *testing.T) {
	s, err := Stat(os.Getpid())
	must(t, err)
	if w, err := Watch(os.Getpid(), s.Ticks+1, t.TempDir()); err == nil {
		t.Error("took another process for the one that was meant", w.PID())
	}
}
