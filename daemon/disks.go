package daemon

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/backstay/backstay"
)

// How it is found out whether a directory can be written: by writing there. What
// was refused last would be known too, but not that there is room again.
const (
	// trialName is written, and gone at once.
	trialName = ".trial"
	// trialSize is the room that a change may need: a file of services, and what is
	// kept of it.
	trialSize = 64 << 10
	// trialWithin is when a disk counts as hung. Who asks for status waits so long.
	trialWithin = time.Second
)

// disks are the three directories, and what came of writing there.
type disks struct {
	dirs  Dirs
	tries [3]trial
}

// trial is one directory, tried as often as somebody asks and once at a time.
type trial struct {
	mu    sync.Mutex    // guards all below
	busy  chan struct{} // closed when the try under way is over; nil: there is none
	err   error         // of the newest try
	since time.Time     // of the first of those that were refused, without one between that was not
}

// look tries to write in dir, and returns what refused it and since when.
func (t *trial) look(dir string) (time.Time, error) {
	timer := time.NewTimer(trialWithin)
	defer timer.Stop()
	select {
	case <-t.begin(dir):
	case <-timer.C:
		t.end(fmt.Errorf("it does not answer within %v", trialWithin), false)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.since, t.err
}

// begin returns what is closed when a try is over, which a disk that hangs may put
// off for ever.
func (t *trial) begin(dir string) <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.busy == nil {
		t.busy = make(chan struct{})
		go func() { t.end(try(dir), true) }()
	}
	return t.busy
}

func (t *trial) end(err error, over bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err = err; err == nil {
		t.since = time.Time{}
	} else if t.since.IsZero() {
		t.since = time.Now()
	}
	if over {
		close(t.busy)
		t.busy = nil
	}
}

// try writes a file in dir that is not kept, so that hardly any disk hears of it.
func try(dir string) error {
	path := filepath.Join(dir, trialName)
	_ = os.Remove(path) // of one that was killed, or somebody's link
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err //nolint:wrapcheck // it names the file
	}
	_, err = f.Write(make([]byte, trialSize))
	return errors.Join(err, f.Close(), os.Remove(path))
}

// problems are of the directories that cannot be written.
func (d *disks) problems(events func() (time.Time, error)) (out []backstay.Problem) {
	costs := [...]struct{ name, dir, cost string }{
		{"state", d.dirs.State, "what runs goes on, and no change is taken until then"},
		{"run", d.dirs.Run, "what runs goes on and is started again, and hardly anything new is begun until then"},
		{"log", d.dirs.Log, "what services print may be lost until then; they go on"},
	}
	var since [len(costs)]time.Time
	var errs [len(costs)]error
	var all sync.WaitGroup
	for i, c := range costs {
		all.Go(func() { since[i], errs[i] = d.tries[i].look(c.dir) })
	}
	all.Wait()
	if errs[0] == nil {
		since[0], errs[0] = events()
	}
	for i, c := range costs {
		if err := errs[i]; err != nil {
			out = append(out, backstay.Problem{
				Code: "disk", What: "the " + c.name + " directory cannot be written since " + since[i].Local().Format("2006-01-02 15:04:05") + ": " + err.Error(),
				Where: c.dir, Why: err.Error(), Do: "make room on the disk of " + c.dir + ", or put it right: " + c.cost,
			})
		}
	}
	return out
}
