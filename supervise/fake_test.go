package supervise

import (
	"fmt"
	"sync"
	"testing/synctest"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/internal/keeperwire"
)

// events keeps what people are told.
type events struct {
	mu  sync.Mutex
	all []backstay.Event
}

func (e *events) Record(ev backstay.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, ev)
}

// of returns those of a kind, in words.
func (e *events) of(kind backstay.Kind) (out []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, ev := range e.all {
		if ev.Kind == kind {
			out = append(out, fmt.Sprintf("%s: %s > %s: %s", ev.Ref.Name(), ev.From, ev.To, ev.Because))
		}
	}
	return out
}

// fakeResolver has nothing to look up.
type fakeResolver struct{ err error }

func (r *fakeResolver) Spec(rel backstay.Release, id string, _ map[string]uint16) (keeperwire.Spec, error) {
	return keeperwire.Spec{ID: id, Argv: rel.Exec.Argv, Dir: "/", LogFile: "/log/" + id + ".log"}, r.err
}

func (r *fakeResolver) Argv(_ backstay.Release, _ string, _ map[string]uint16, argv []string) ([]string, error) {
	return argv, r.err
}

func (r *fakeResolver) Account(string) (uint32, uint32, []uint32, bool, error) {
	return 0, 0, nil, false, nil
}

type freePorts struct{}

func (freePorts) Free(uint16) bool { return true }

// settle waits until nothing happens without time passing.
func settle() { synctest.Wait() }
