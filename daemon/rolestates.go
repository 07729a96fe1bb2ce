package daemon

import (
	"fmt"
	"sync"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/host/proc"
	"github.com/backstay/backstay/internal/keeperwire"
	"github.com/backstay/backstay/supervise"
)

// roleStates is what is known of the processes of Backstay itself.
type roleStates struct {
	mu      sync.Mutex // guards all below
	welcome keeperwire.Welcome
	since   time.Time // the keeper was started
	slots   map[string]keeperwire.Slot
}

func newRoleStates() *roleStates { return &roleStates{slots: map[string]keeperwire.Slot{}} }

// meet takes what a keeper has, and returns when it was started.
func (r *roleStates) meet(w keeperwire.Welcome, slots []keeperwire.Slot) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.welcome.PID != w.PID {
		r.since = begun(int(w.PID))
	}
	r.welcome = w
	clear(r.slots)
	for _, s := range slots {
		if isRole(s.ID) {
			r.slots[s.ID] = s
		}
	}
	return r.since
}

// begun is when a process was started; now, where that cannot be seen.
func begun(pid int) time.Time {
	at, err := proc.StartedAt(pid)
	if err != nil {
		return time.Now()
	}
	return at
}

func (r *roleStates) hear(ev keeperwire.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.slots[ev.ID]
	s.ID = ev.ID
	switch ev.Kind {
	case keeperwire.EvStarted:
		s.State, s.PID, s.Ticks, s.Starts, s.StartedAt = keeperwire.Running, ev.PID, 0, ev.Starts, ev.At
	case keeperwire.EvExited:
		s.PID, s.Last, s.Failures = 0, ev.Exit, ev.Failures
	case keeperwire.EvState:
		s.State, s.NextStart = ev.State, ev.NextStart
	default:
		return
	}
	r.slots[ev.ID] = s
}

// runs reports whether a role has a process.
func (r *roleStates) runs(id string) bool { return r.pid(id) > 0 }

// pid returns the process of a role; 0 if there is none.
func (r *roleStates) pid(id string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return int(r.slots[id].PID)
}

// why says how the last run of a role ended.
func (r *roleStates) why(id string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.slots[id]
	switch {
	case !ok:
		return "it was never started"
	case s.PID > 0:
		return fmt.Sprintf("pid %d does not answer", s.PID)
	case s.Last.At > 0:
		return fmt.Sprintf("pid %d: %s", s.Last.PID, supervise.ExitOf(s.Last))
	default:
		return ""
	}
}

// limits returns why instances are not tracked by cgroup; empty if they are.
func (r *roleStates) limits() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.welcome.Cgroups {
		return ""
	}
	return r.welcome.Why
}

// all describes the roles for status.
func (r *roleStates) all(version string, acked, newest uint64, gone *absence) []api.Role {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := []api.Role{r.keeper(gone)}
	for _, name := range []string{"agent", "proxy"} {
		s, ok := r.slots["backstay-"+name]
		if !ok {
			continue
		}
		role := describe(name, s)
		role.Version = version
		if name == "proxy" {
			role.Generation, role.Newest = acked, newest
		}
		out = append(out, role)
	}
	return out
}

// keeper describes the keeper; gone is not nil where it does not answer.
func (r *roleStates) keeper(gone *absence) api.Role {
	role := api.Role{Name: "keeper", Since: r.since, Starts: int(r.welcome.Gen)}
	if gone == nil {
		role.PID, role.Running = int(r.welcome.PID), r.welcome.PID > 0
		return role
	}
	role.Since, role.Because = gone.since, fmt.Sprintf("pid %d does not answer: %s", r.welcome.PID, gone.why)
	return role
}

// alive reports whether the process of a role is there: without a keeper nobody
// hears of its end.
func alive(s keeperwire.Slot) bool {
	if s.PID <= 0 {
		return false
	}
	st, err := proc.Stat(int(s.PID))
	return err == nil && st.State != 'Z' && (s.Ticks == 0 || s.Ticks == st.Ticks)
}

func describe(name string, s keeperwire.Slot) api.Role {
	role := api.Role{
		Name: name, PID: int(s.PID), Running: alive(s), Since: time.Unix(0, s.StartedAt), Starts: int(s.Starts),
	}
	if s.Last.At > 0 {
		exit := supervise.ExitOf(s.Last)
		role.Last = &exit
		role.Because = fmt.Sprintf("the run before: pid %d, %s", s.Last.PID, exit)
	}
	if s.PID > 0 && !role.Running {
		role.PID, role.Because = 0, fmt.Sprintf("pid %d has ended", s.PID)
	}
	return role
}
