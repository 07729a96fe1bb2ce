package proc

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// CPUWait tells for how long a process waits for a CPU: one that does not answer
// because others have them all is not ill.
type CPUWait struct {
	pid    int
	before map[string]thread
}

// thread is what /proc tells of one.
type thread struct {
	ran, waited time.Duration // in all: on a CPU, and ready to run without one
	ready       bool          // it runs or waits for a CPU just now
}

// WatchCPU begins to watch process pid.
func WatchCPU(pid int) *CPUWait { return &CPUWait{pid: pid, before: threads(pid)} }

// Waited returns for how much of span, the time since [WatchCPU], threads of the
// process have waited for a CPU: all their waits together, and not more than
// span. One that is stopped, or waits for a lock, a timer or another process,
// does not wait for a CPU. It is 0 for a process that is gone, and where the
// kernel does not keep count.
func (w *CPUWait) Waited(span time.Duration) time.Duration {
	sum := time.Duration(0)
	for id, now := range threads(w.pid) {
		was, known := w.before[id]
		if known && now == was && now.ready { // the kernel counts a wait when it ends: this one has not
			return span
		}
		sum += now.waited - was.waited
	}
	return max(0, min(sum, span))
}

// threads looks at the threads of process pid. Those that end meanwhile are left
// out.
func threads(pid int) map[string]thread {
	dir := filepath.Join("/proc", strconv.Itoa(pid), "task")
	entries, _ := os.ReadDir(dir) // a process that is gone has none
	all := make(map[string]thread, len(entries))
	for _, e := range entries {
		times, err := os.ReadFile(filepath.Join(dir, e.Name(), "schedstat"))
		if err != nil {
			continue
		}
		t, err := parseTimes(string(times))
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(filepath.Join(dir, e.Name(), "stat"))
		if err != nil {
			continue
		}
		if s, err := parseStat(string(stat)); err == nil {
			t.ready = s.State == 'R'
			all[e.Name()] = t
		}
	}
	return all
}

// parseTimes reads schedstat: nanoseconds on a CPU, nanoseconds ready to run
// without one, and how often it was given one.
func parseTimes(text string) (t thread, err error) {
	f := strings.Fields(text)
	if len(f) < 2 {
		return t, errors.New("too few fields")
	}
	ran, err1 := strconv.ParseInt(f[0], 10, 64)
	waited, err2 := strconv.ParseInt(f[1], 10, 64)
	return thread{ran: time.Duration(ran), waited: time.Duration(waited)}, errors.Join(err1, err2)
}
