package daemon

import (
	"log/slog"
	"path/filepath"
	"sync"

	"github.com/backstay/backstay/host/proc"
	"github.com/backstay/backstay/internal/keeperwire"
)

// witnesses stand by every process that the keeper runs: if the keeper dies and
// the process too before the next one is there, they still know how it ended,
// and hold what it has printed last.
type witnesses struct {
	dir string // of the keeper
	log *slog.Logger

	mu  sync.Mutex // guards all
	all map[string]*proc.Witness
}

func newWitnesses(dir string, log *slog.Logger) *witnesses {
	return &witnesses{dir: dir, log: log, all: map[string]*proc.Witness{}}
}

// meet stands by what slots run, leaves what they do not, and fills in the ends
// that the keeper did not see.
func (w *witnesses) meet(slots []keeperwire.Slot) {
	here := map[string]bool{}
	for i := range slots {
		s := &slots[i]
		here[s.ID] = true
		w.fill(s.ID, &s.Last)
		if s.PID > 0 {
			w.watch(s.ID, int(s.PID), s.Ticks)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, one := range w.all {
		if !here[id] {
			_ = one.Close()
			delete(w.all, id)
		}
	}
}

// leave lets go of an instance that the keeper has forgotten: nobody asks again
// how it ended.
func (w *witnesses) leave(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if one := w.all[id]; one != nil {
		_ = one.Close()
		delete(w.all, id)
	}
}

// hear does the same for one event.
func (w *witnesses) hear(ev *keeperwire.Event) {
	switch ev.Kind {
	case keeperwire.EvStarted:
		w.watch(ev.ID, int(ev.PID), 0)
	case keeperwire.EvExited:
		w.fill(ev.ID, &ev.Exit)
	default:
	}
}

// watch stands by pid. The witness of the process before goes: the keeper has
// told its end by now.
func (w *witnesses) watch(id string, pid int, ticks uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if old := w.all[id]; old != nil {
		if old.PID() == pid {
			return
		}
		_ = old.Close()
		delete(w.all, id)
	}
	one, err := proc.Watch(pid, ticks, filepath.Join(w.dir, "i", id))
	if err != nil {
		w.log.Debug("process not watched", "instance", id, "why", err.Error()) // it has just ended
		return
	}
	w.all[id] = one
}

// fill completes an exit that the keeper does not know.
func (w *witnesses) fill(id string, e *keeperwire.Exit) {
	w.mu.Lock()
	defer w.mu.Unlock()
	one := w.all[id]
	if e.At == 0 || e.Known || one == nil || one.PID() != int(e.PID) {
		return
	}
	status, known := one.Exit()
	switch {
	case !known:
		return
	case status.Signaled():
		e.Signal, e.Core = int32(status.Signal()), status.CoreDump()
	default:
		e.Code = int32(status.ExitStatus()) //nolint:gosec // 0 to 255
	}
	e.Known = true
}
