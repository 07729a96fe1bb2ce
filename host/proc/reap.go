package proc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Pauses of [Reap]: it looks at every child, of which a thousand may end at once.
const (
	reapSoon  = 5 * time.Millisecond // after the first sign that there is something
	reapAgain = time.Second          // while a zombie stays
)

// own are the children that this process waits for itself.
var own = struct {
	sync.RWMutex // guards pids; held over the fork, so that none is missed

	pids map[int]bool
}{pids: map[int]bool{}}

// Start is cmd.Start for a child that [Reap] leaves alone until [Wait].
func Start(cmd *exec.Cmd) error {
	own.Lock()
	defer own.Unlock()
	if err := cmd.Start(); err != nil {
		return err
	}
	own.pids[cmd.Process.Pid] = true
	return nil
}

// Wait is cmd.Wait for what [Start] has started.
func Wait(cmd *exec.Cmd) error {
	err := cmd.Wait()
	own.Lock()
	defer own.Unlock()
	delete(own.pids, cmd.Process.Pid)
	return err
}

// Subreaper makes this process the parent of descendants whose own parent ends
// (prctl(2)): without it they would go to PID 1, which in a container may be
// this process anyway. The kernel does not pass the setting on to children.
func Subreaper() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become subreaper: %w", err)
	}
	return nil
}

// Reap takes the exit of children that came to this process by the death of their
// parents, so that they do not stay as zombies, until ctx is done. Children that
// [Start] has started are left to who waits for them. The exit status of a zombie
// can be read by others: it is taken away only once may allows it, which is asked
// with the time at which it was seen first, and asked anew when again says so. As
// soon as it may be it is: a program may look for its own pid of the run before.
func Reap(ctx context.Context, may func(seen time.Time) bool, again <-chan struct{}) error {
	died := make(chan os.Signal, 1)
	signal.Notify(died, syscall.SIGCHLD)
	defer signal.Stop(died)
	waiting := map[int]time.Time{} // zombies at the last look, since when
	timer := time.NewTimer(0)
	defer timer.Stop()
	soon := true // the timer is set for a look that is due
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-died:
		case <-again:
		case <-timer.C:
			if soon, waiting = false, reap(waiting, may); len(waiting) > 0 {
				timer.Reset(reapAgain)
			}
			continue
		}
		if !soon {
			soon = true
			timer.Reset(reapSoon)
		}
	}
}

// reap takes the exits of zombies, those of seen and others, if may allows it, and
// returns those that stay.
func reap(seen map[int]time.Time, may func(time.Time) bool) map[int]time.Time {
	stay, now := map[int]time.Time{}, time.Now()
	for _, pid := range zombies() {
		since, known := seen[pid]
		if !known {
			since = now
		}
		if may(since) {
			_, _ = syscall.Wait4(pid, nil, syscall.WNOHANG, nil)
		} else {
			stay[pid] = since
		}
	}
	return stay
}

// zombies returns the children of this process that have ended and that nobody
// here is known to wait for.
func zombies() (pids []int) {
	own.RLock()
	defer own.RUnlock()
	for _, pid := range children() {
		if s, err := Stat(pid); err == nil && s.State == 'Z' && s.Parent == os.Getpid() && !own.pids[pid] {
			pids = append(pids, pid)
		}
	}
	return pids
}

// children returns the children of all threads of this process; where the
// kernel does not list them, every process of the host.
func children() (pids []int) {
	lists, _ := filepath.Glob("/proc/self/task/*/children")
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			continue // the thread has ended
		}
		for word := range strings.FieldsSeq(string(text)) {
			if pid, err := strconv.Atoi(word); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	if len(lists) > 0 {
		return pids
	}
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range all {
		if pid, err := strconv.Atoi(filepath.Base(dir)); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Status is what /proc/PID/stat tells of a process.
type Status struct {
	State  byte // R S D Z T …
	Parent int
	Ticks  uint64             // start since boot, in clock ticks: with the pid it names one process for ever
	Exit   syscall.WaitStatus // of a zombie (State Z)
}

// Stat describes the process pid.
func Stat(pid int) (Status, error) {
	path := filepath.Join("/proc", strconv.Itoa(pid), "stat")
	text, err := os.ReadFile(path)
	if err != nil {
		return Status{}, fmt.Errorf("look at process %d: %w", pid, err)
	}
	s, err := parseStat(string(text))
	if err != nil {
		return Status{}, fmt.Errorf("read %s: %w", path, err)
	}
	return s, nil
}

// parseStat reads proc_pid_stat(5). The name in the second field may hold
// anything, parentheses too.
func parseStat(text string) (Status, error) {
	const state, parent, start, exit = 0, 1, 19, 49 // fields 3, 4, 22 and 52, counted behind the name
	f := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(f) <= start {
		return Status{}, errors.New("too few fields")
	}
	ppid, err := strconv.Atoi(f[parent])
	if err != nil {
		return Status{}, fmt.Errorf("parent: %w", err)
	}
	ticks, err := strconv.ParseUint(f[start], 10, 64)
	if err != nil {
		return Status{}, fmt.Errorf("start time: %w", err)
	}
	s := Status{State: f[state][0], Parent: ppid, Ticks: ticks}
	if len(f) > exit { // 0 without the rights of a tracer
		n, err := strconv.ParseUint(f[exit], 10, 32)
		if err != nil {
			return Status{}, fmt.Errorf("exit status: %w", err)
		}
		s.Exit = syscall.WaitStatus(n)
	}
	return s, nil
}
