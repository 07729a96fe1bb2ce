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
