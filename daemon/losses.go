package daemon

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/internal/keeperwire"
)

// losses are the logs that cannot be written just now, by instance, as the keeper
// tells: at once, every 10 s while bytes are dropped, and when it is over.
type losses struct {
	mu   sync.Mutex // guards all below
	from time.Time  // the keeper was started: what one before it has lost it does not know
	now  map[string]loss
}

// meet begins anew with a keeper: what it drops it tells, and what one before it
// has dropped it would never say is over.
func (l *losses) meet(started time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !started.Equal(l.from) {
		l.from = started
		clear(l.now)
	}
}

// loss is that what an instance prints is dropped.
type loss struct {
	since time.Time
	bytes uint64 // of all runs so far
	why   string
}

func (l *losses) hear(ev keeperwire.Event) {
	if ev.Kind != keeperwire.EvLogDropped {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(ev.Text) == 0 {
		delete(l.now, ev.ID)
		return
	}
	if time.Unix(0, ev.At).Before(l.from) {
		return
	}
	if l.now == nil {
		l.now = map[string]loss{}
	}
	one := l.now[ev.ID]
	if one.since.IsZero() {
		one.since = time.Unix(0, ev.At)
	}
	one.bytes, one.why = ev.N, string(ev.Text)
	l.now[ev.ID] = one
}

// of returns the loss of an instance; since is zero where there is none.
func (l *losses) of(id string) loss {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.now[id]
}

// keep forgets instances that are not there any more.
func (l *losses) keep(live func(id string) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id := range l.now {
		if !live(id) {
			delete(l.now, id)
		}
	}
}

// logProblems are of instances whose lines are being lost, and of roles.
func (v *view) logProblems() (out []backstay.Problem) {
	ids := []string{agentID, proxyID}
	for _, service := range sortedKeys(v.instances) {
		for _, i := range v.instances[service] {
			ids = append(ids, i.ID)
		}
	}
	v.losses.keep(func(id string) bool { return strings.Contains(strings.Join(ids, " ")+" ", id+" ") })
	for _, id := range ids {
		if l := v.losses.of(id); !l.since.IsZero() {
			out = append(out, v.logProblem(id, l))
		}
	}
	return out
}

func (v *view) logProblem(id string, l loss) backstay.Problem {
	ref, dir := backstay.NewRef("instance", id), v.Dirs.Log
	if isRole(id) {
		ref, dir = backstay.NewRef("role", strings.TrimPrefix(id, "backstay-")), filepath.Join(dir, roles)
	}
	return backstay.Problem{
		Code: "disk", What: fmt.Sprintf("what %s prints is lost since %s, %d bytes so far: %s", ref, l.since.Local().Format("2006-01-02 15:04:05"), l.bytes, l.why),
		Where: string(ref), Why: l.why, Do: "make room on the disk of " + dir + ", or put it right: the log is tried again every second, and the service goes on meanwhile",
	}
}
