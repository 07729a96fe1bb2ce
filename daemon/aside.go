package daemon

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/internal/statefile"
)

// putAside returns what lies aside below the directories of d: files of our own
// state that could not be read. They lie there until a person has looked.
func (d Dirs) putAside() (paths []string) {
	for _, dir := range []string{
		d.State, filepath.Join(d.State, "configs"), filepath.Join(d.State, "deploys"), filepath.Join(d.State, "identity"),
		filepath.Join(d.State, "releases"), filepath.Join(d.State, "releases", "*"), d.Run, d.proxy(),
	} {
		found, _ := filepath.Glob(filepath.Join(dir, "*.broken-*"))
		paths = append(paths, found...)
	}
	return slices.DeleteFunc(paths, func(path string) bool { _, ok := statefile.IsAside(filepath.Base(path)); return !ok })
}

// asideProblems are those of state that was put aside. What it said is not in
// force, and only who reads it knows what that was.
func (d Dirs) asideProblems() (out []backstay.Problem) {
	for _, path := range d.putAside() {
		of, _ := statefile.IsAside(filepath.Base(path))
		out = append(out, backstay.Problem{
			Code: "state_broken", What: "a file of Backstay's own state could not be read and was put aside: " + of, Where: path,
			Why: "what it said is not in force; a disk or another program has damaged it",
			Do:  "look into " + path + ", set again what is missing, and remove it: it is shown as long as it is there",
		})
	}
	return out
}

// tellAside tells of what was put aside since before.
func (a *agent) tellAside(before []string) {
	for _, path := range a.Dirs.putAside() {
		if slices.Contains(before, path) {
			continue
		}
		of, _ := statefile.IsAside(filepath.Base(path))
		a.log.Error("a state file could not be read, going on without it", "file", of, "aside", path)
		a.tellBroken(of + " could not be read and was put aside: " + path)
	}
}

func (a *agent) tellBroken(because string) {
	a.bus.Record(backstay.Event{Kind: backstay.StateBroken, Ref: backstay.NewRef("role", "agent"), Because: because})
}

// newerProblem is about state that a newer version has written: it is left as it
// is, and nothing is written in its place.
func newerProblem(path string, err error) *backstay.Problem {
	return &backstay.Problem{
		Code: "state_newer", What: "a file of Backstay's own state cannot be read by this version: " + filepath.Base(path), Where: path, Why: err.Error(),
		Do: "start the version that wrote it; this one goes on without the file, and leaves it as it is",
	}
}

// keyOr reads the key at path, or makes one where there is none of that size: what
// is there is put aside.
func keyOr(path string, size int, fresh func() ([]byte, error)) ([]byte, error) {
	key, err := os.ReadFile(path)
	if err == nil && len(key) == size {
		return key, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		statefile.Aside(path)
	}
	return fresh()
}
