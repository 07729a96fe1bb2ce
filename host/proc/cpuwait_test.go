package proc

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/backstay/backstay/internal/hosttest"
)

// spin returns a process that does nothing but work, all of them on one CPU.
func spin(t *testing.T) int {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", "while :; do :; done")
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	var may, one unix.CPUSet
	must(t, unix.SchedGetaffinity(0, &may))
	for cpu := range 1024 {
		if may.IsSet(cpu) {
			one.Set(cpu)
			break
		}
	}
	must(t, unix.SchedSetaffinity(cmd.Process.Pid, &one))
	return cmd.Process.Pid
}

// One that is starved is known from one that is stopped: the first waits for a
// CPU, and nobody else's wait is counted as the other's.
func TestStarvedIsToldFromStopped(t *testing.T) {
	if _, err := os.Stat("/proc/self/schedstat"); err != nil {
		hosttest.Cannot(t, "count of waits for a CPU in this kernel: %v", err)
	}
	starved, stopped := spin(t), spin(t)
	spin(t)
	must(t, unix.Setpriority(unix.PRIO_PROCESS, starved, 19))
	must(t, syscall.Kill(stopped, syscall.SIGSTOP))
	soon(t, "it is stopped", func() bool {
		s, err := Stat(stopped)
		return err == nil && s.State == 'T'
	})
	began := time.Now()
	hungry, frozen, gone := WatchCPU(starved), WatchCPU(stopped), WatchCPU(1<<30)
	soon(t, "it has waited for most of half a second", func() bool {
		span := time.Since(began)
		waited := hungry.Waited(span)
		if waited > span {
			t.Errorf("it has waited for %v of %v", waited, span)
		}
		return span > 500*time.Millisecond && waited > span/2
	})
	if waited := frozen.Waited(time.Since(began)); waited != 0 {
		t.Errorf("one that is stopped has waited for %v", waited)
	}
	if waited := gone.Waited(time.Minute); waited != 0 {
		t.Errorf("one that is not there has waited for %v", waited)
	}
}

// soon waits for f, and fails where it never comes.
func soon(t *testing.T, what string, f func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); !f(); <-tick.C {
		if time.Now().After(end) {
			t.Fatal("not within a minute: " + what)
		}
	}
}

func TestTimesOfAThread(t *testing.T) {
	if got, err := parseTimes("76747971 122195306 378\n"); err != nil || got.ran != 76747971 || got.waited != 122195306 {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"", "1", "1 x 2", "x 1 1"} {
		if _, err := parseTimes(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}
