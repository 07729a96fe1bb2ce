// Package statefile keeps state in JSON files that say what they are:
//
//	{"backstay": KIND, "v": VERSION, …}
//
// A reader takes the version it writes and the one before, so that a host can go
// up one version at a time. What is newer it refuses by name: it cannot know what
// it would lose by writing it anew.
package statefile

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/backstay/backstay/internal/atomicfile"
)

// Head is how a state file begins. What is kept embeds it first.
type Head struct {
	Backstay string `json:"backstay"` // the kind
	V        int    `json:"v"`
}

func (h *Head) head() *Head { return h }

// State is a pointer to a struct that embeds [Head].
type State interface{ head() *Head }

// Format is a kind of file, and the newest version of it that this program knows.
type Format struct {
	Kind string
	V    int
}

// ErrNewer is in the error for a file that this program is too old for.
var ErrNewer = errors.New("written by a newer version of Backstay")

// Read reads the file at path into to.
func (f Format) Read(path string, to State) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read %s: %w", f.Kind, err) // it names the file
	}
	if err := f.Decode(text, to); err != nil {
		return fmt.Errorf("read %s %s: %w", f.Kind, path, err)
	}
	return nil
}

// ErrBroken is in the error for a file that could not be read as what it should be,
// and was put aside.
var ErrBroken = errors.New("broken, and put aside")

// Load is Read for who goes on without a file that is broken: it is put aside, so
// that what is in its place afterwards is ours, and what happened can be looked
// into. One of a newer version, and one that the disk does not give, stays.
func (f Format) Load(path string, to State) error {
	err := f.Read(path, to)
	if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrNewer) {
		return err
	}
	if _, unread := errors.AsType[*fs.PathError](err); unread && !errors.Is(err, fs.ErrPermission) && !odd(path) {
		return err
	}
	return fmt.Errorf("%w, %w: %s", err, ErrBroken, Aside(path))
}

// odd reports whether there is something at path that we never make: a directory, a
// link to itself.
func odd(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && !info.Mode().IsRegular()
}

// asideMark is in the name of what was put aside: .broken- and when.
const asideMark = ".broken-"

// Aside puts what is at path aside under another name and returns that; where the
// directory does not let it, it stays.
func Aside(path string) string {
	aside := path + asideMark + strconv.FormatInt(time.Now().UnixNano(), 36)
	if err := os.Rename(path, aside); err != nil {
		return path
	}
	return aside
}

// IsAside reports whether a name is that of something put aside, and of what.
func IsAside(name string) (of string, ok bool) {
	of, _, ok = strings.Cut(name, asideMark)
	return of, ok
}

// Decode reads text into to. The caller says which file it is of.
func (f Format) Decode(text []byte, to State) error {
	var h Head
	if err := json.Unmarshal(text, &h); err != nil {
		return err //nolint:wrapcheck // the caller names the file
	}
	if err := f.takes(h); err != nil {
		return err
	}
	return json.Unmarshal(text, to) //nolint:wrapcheck // the caller names the file
}

func (f Format) takes(h Head) error {
	switch {
	case h.Backstay != f.Kind || h.V < 1:
		return fmt.Errorf("it says %q, version %d, and should be %s", h.Backstay, h.V, f.Kind)
	case h.V > f.V:
		return fmt.Errorf("it is %s version %d, this one reads up to %d: %w", f.Kind, h.V, f.V, ErrNewer)
	case h.V < f.V-1:
		return fmt.Errorf("it is %s version %d, this one reads from %d: start the version in between once", f.Kind, h.V, f.V-1)
	}
	return nil
}

// Write gives v its head and replaces the file at path by it, as
// [atomicfile.WriteFile] does.
func (f Format) Write(path string, v State, perm fs.FileMode) error {
	*v.head() = Head{f.Kind, f.V}
	text, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return fmt.Errorf("write %s %s: %w", f.Kind, path, err)
	}
	return atomicfile.WriteFile(path, append(text, '\n'), perm) //nolint:wrapcheck // it names the file
}
