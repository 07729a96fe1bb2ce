package daemon

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/internal/statefile"
)

// refusal is that a text was offered and not taken. It outlives the agent, not the
// host's run: one that comes back does not look at the file, and says the same.
type refusal struct {
	statefile.Head

	At  time.Time    `json:"at"`
	Why *api.Refusal `json:"why"`
}

var refusalFormat = statefile.Format{Kind: "refusal", V: 1}

func (a *agent) refusalPath() string { return filepath.Join(a.Dirs.Run, "refused.json") }

// readRefusal returns what an earlier agent has refused; nil where it is nothing. A
// mark that cannot be read still says that something was.
func readRefusal(path string) *refusal {
	r := &refusal{}
	err := refusalFormat.Read(path, r)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil || r.Why == nil:
		return &refusal{At: time.Now(), Why: &api.Refusal{Problem: backstay.Problem{
			Code: "file_unreadable", What: "a file was refused, and what is wrong with it is not known any more", Where: path,
			Do: "backstay validate FILE says it; backstay apply FILE ends this",
		}}}
	}
	return r
}

// refuse says that the file of this host was not taken: status shows it until
// one is, also by an agent that comes after this one.
func (a *agent) refuse(name string, err error, by string) (news bool) {
	r := &refusal{At: time.Now(), Why: problemsOf(name, err)}
	if err := refusalFormat.Write(a.refusalPath(), r, 0o600); err != nil {
		a.log.Warn("refusal not kept: the next agent does not know of it", "why", err.Error())
	}
	return a.show(r, by)
}

// show has status show r. The same again is no news.
func (a *agent) show(r *refusal, by string) (news bool) {
	if was := a.refused.Swap(r); was != nil && was.Why.Error() == r.Why.Error() {
		return false
	}
	a.bus.Record(backstay.Event{Kind: backstay.ConfigRefused, Ref: "config/file", Because: r.Why.What, Actor: by})
	return true
}

// endRefusal says that a file was taken.
func (a *agent) endRefusal() {
	a.refused.Store(nil)
	if err := os.RemoveAll(a.refusalPath()); err != nil {
		a.log.Warn("mark of a refusal not removed", "why", err.Error())
	}
}

func problemsOf(name string, err error) *api.Refusal {
	r := new(api.Refusal)
	if !errors.As(err, &r) {
		p := new(backstay.Problem)
		if !errors.As(err, &p) {
			p = &backstay.Problem{Code: "file_unreadable", What: err.Error(), Where: name, Do: "put the file right and apply it"}
		}
		r = &api.Refusal{Problem: *p}
	}
	return r
}
