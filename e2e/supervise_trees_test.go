package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
)

// crashLoops has fifty instances that die at once, for ever: the keeper and the
// agent must have time for all others.
func (n *node) crashLoops() {
	window, most, dear := 8*time.Second, 8, 0.15 // a pause of 100 ms that doubles; a machine with other work pays three times what is promised
	if long() {                                  // looks at loops that have backed off to half a minute
		window, most, dear = time.Minute, 3, 0.05
	}
	n.serve(`
  loop:
    run: { exec: [/bin/false], user: USER }
    replicas: 50
    restart: { limit: 100000/1m }
`)
	n.until("fifty crash", func(s api.Status) string {
		crashed := 0
		for _, i := range s.Service("loop").Instances {
			if i.Starts > 1 {
				crashed++
			}
		}
		if crashed < 50 {
			return fmt.Sprintf("%d have", crashed)
		}
		return ""
	})
	time.Sleep(time.Duration(pick(0, 60)) * time.Second)
	s := n.status()
	pids := []int{s.Role("keeper").PID, s.Role("agent").PID}
	before, starts := cpuOf(n.t, pids), startsOf(s)
	time.Sleep(window)
	share := float64(cpuOf(n.t, pids)-before) / float64(window)
	starts = startsOf(n.status()) - starts
	n.t.Logf("keeper and agent used %.1f %% of a core for %d starts", 100*share, starts)
	if starts == 0 || starts > 50*most {
		n.t.Errorf("fifty instances were started %d times in %v, pauses that double from 100ms allow %d", starts, window, 50*most)
	}
	if share > dear {
		n.t.Errorf("keeper and agent used %.0f %% of a core", 100*share)
	}
	n.must("stop", "loop")
	n.until("they are gone", func(s api.Status) string {
		if left := len(s.Service("loop").Instances); left > 0 {
			return fmt.Sprintf("%d are left", left)
		}
		return ""
	})
	n.serve("")
}

// startsOf counts the starts of all that loops.
func startsOf(s api.Status) (starts int) {
	for _, i := range s.Service("loop").Instances {
		starts += i.Starts
	}
	return starts
}

// cpuOf returns the time that processes have used so far.
func cpuOf(tb testing.TB, pids []int) (used time.Duration) {
	tb.Helper()
	for _, pid := range pids {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			tb.Fatal(err)
		}
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		for _, f := range fields[11:13] { // utime and stime, in hundredths
			ticks, _ := strconv.Atoi(f)
			used += time.Duration(ticks) * 10 * time.Millisecond
		}
	}
	return used
}

// of returns the processes of a service of this node, wherever they have gone: by
// the marks in their environment.
func (n *node) of(service string) (pids []int) {
	all, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, f := range all {
		text, _ := os.ReadFile(f)
		if env := "\x00" + string(text); strings.Contains(env, "\x00BACKSTAY_INSTANCE="+service+"-") && strings.Contains(env, "\x00BACKSTAY_KEEPER="+n.dir) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
			pids = append(pids, pid)
		}
	}
	return pids
}

func (n *node) treesStop() {
	n.serve(`
  away:
    run: { exec: [/bin/sh, -c, "(setsid sh -c 'trap \"\" TERM HUP; while :; do sleep 1; done' &) ; sleep 100000"], user: USER }
    stop: { grace: 500ms }
  bomb:
    run: { exec: [/bin/sh, -c, "trap '' TERM; b() { while :; do setsid sleep 0.3 & setsid sh -c 'sleep 0.2' & sleep 0.02; done; }; b & b & b & wait; wait"], user: USER }
    stop: { grace: 500ms }
`)
	for _, name := range []string{"away", "bomb"} {
		n.until(name+" has grown", func(api.Status) string {
			if got := len(n.of(name)); got < 3 {
				return fmt.Sprintf("%d processes", got)
			}
			return ""
		})
		n.must("stop", name)
		n.vanished(name)
	}
}

// vanished waits until a service has neither instances nor processes.
func (n *node) vanished(service string) {
	n.t.Helper()
	n.until(service+" is gone", func(s api.Status) string {
		if left := len(s.Service(service).Instances); left > 0 {
			return fmt.Sprintf("%d instances are left", left)
		}
		return ""
	})
	if left := n.of(service); len(left) > 0 {
		n.t.Errorf("processes of %s are left: %v", service, left)
	}
}

func (n *node) willNotEnd() {
	n.serve(`
  deaf:
    run: { exec: [/bin/sh, -c, "trap '' TERM; while :; do sleep 0.1; done"], user: USER }
    stop: { grace: 300ms }
  frozen:
    run: { exec: [/bin/sh, -c, "trap 'exit 4' TERM; while :; do sleep 0.1; done"], user: USER }
  traced:
    run: { exec: [/bin/sleep, "100000"], user: USER }
    stop: { grace: 300ms }
`)
	time.Sleep(200 * time.Millisecond) // the traps are set
	n.one("deaf", "runs", isReady)
	frozen, traced := n.one("frozen", "runs", isReady), n.one("traced", "runs", isReady)
	if err := syscall.Kill(frozen.PID, syscall.SIGSTOP); err != nil {
		n.t.Fatal(err)
	}
	letGo := trace(n.t, traced.PID)
	n.must("stop", "traced") // its tracer holds its end back, and nobody else's
	for _, name := range []string{"deaf", "frozen"} {
		n.must("stop", name)
		n.vanished(name)
	}
	events := n.must("events")
	if !strings.Contains(events, "exited 4") {
		n.t.Error("the frozen one could not end by itself")
	}
	letGo()
	n.vanished("traced")
	n.serve("")
}

// trace attaches to a process and holds it as a debugger does, until letGo.
func trace(tb testing.TB, pid int) (letGo func()) {
	tb.Helper()
	release, attached := make(chan struct{}), make(chan error, 1)
	go holdTraced(pid, attached, release)
	if err := <-attached; err != nil {
		tb.Fatal(err)
	}
	return func() { close(release) }
}
