package deploy

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/internal/statefile"
)

// The files of a service.
var (
	recordFormat  = statefile.Format{Kind: "deploys", V: 1}
	releaseFormat = statefile.Format{Kind: "release", V: 1}
)

// Bounds of a record.
const (
	maxHistory = 20  // deploys kept; backstay history shows no more
	maxTold    = 3   // of these, how many with their lines
	maxUndone  = 200 // digests that are not tried again; the oldest is forgotten
)

// record is what is kept of one service: deploys/<service>.json.
type record struct {
	statefile.Head

	Service string   `json:"service"`
	Current int      `json:"current"`           // seq of the release in force; 0 is none
	Seq     int      `json:"seq"`               // of the newest release
	N       int      `json:"n"`                 // of the newest deploy
	Good    []int    `json:"good,omitempty"`    // releases whose deploy ended in done
	Undone  []undone `json:"undone,omitempty"`  // releases that are not tried again by themselves
	Unbegun []int    `json:"unbegun,omitempty"` // releases to which no deploy has begun; forgotten once not wanted
	Deploys []Deploy `json:"deploys,omitempty"` // oldest first
}

// undone is a release that was rolled back.
type undone struct {
	Digest string    `json:"digest"`
	Seq    int       `json:"seq"`
	At     time.Time `json:"at"`
	Why    string    `json:"why"`
}

// newest returns the last deploy, the zero Deploy if there was none.
func (r *record) newest() Deploy {
	if len(r.Deploys) == 0 {
		return Deploy{}
	}
	return r.Deploys[len(r.Deploys)-1]
}

// put replaces the newest deploy by d, or adds d where it is another one.
func (r *record) put(d Deploy) {
	if last := len(r.Deploys) - 1; last >= 0 && r.Deploys[last].ID == d.ID {
		r.Deploys[last] = d
		return
	}
	r.Deploys = append(r.Deploys, d)
	if over := len(r.Deploys) - maxHistory; over > 0 {
		r.Deploys = slices.Delete(r.Deploys, 0, over)
	}
	for i := range len(r.Deploys) - maxTold {
		r.Deploys[i].Lines, r.Deploys[i].LastLog = nil, nil
	}
}

// undo notes that a release is not tried again by itself.
func (r *record) undo(u undone) {
	r.redo(u.Digest)
	r.Undone = append(r.Undone, u)
	if over := len(r.Undone) - maxUndone; over > 0 {
		r.Undone = slices.Delete(r.Undone, 0, over)
	}
}

func (r *record) redo(digest string) {
	r.Undone = slices.DeleteFunc(r.Undone, func(u undone) bool { return u.Digest == digest })
}

func (r *record) undone(digest string) (undone, bool) {
	i := slices.IndexFunc(r.Undone, func(u undone) bool { return u.Digest == digest })
	if i < 0 {
		return undone{}, false
	}
	return r.Undone[i], true
}

// begin notes that a deploy to release seq has begun.
func (r *record) begin(seq int) {
	r.Unbegun = slices.DeleteFunc(r.Unbegun, func(n int) bool { return n == seq })
}

// clone returns r with nothing shared.
func (r *record) clone() record {
	c := *r
	c.Good, c.Undone, c.Deploys, c.Unbegun = slices.Clone(r.Good), slices.Clone(r.Undone), slices.Clone(r.Deploys), slices.Clone(r.Unbegun)
	return c
}

// kept is a release on disk: releases/<service>/<seq>.json. It holds the bytes of
// env_files, hence its permissions.
type kept struct {
	statefile.Head

	Release backstay.Release `json:"release"`
}

// files are the state of all services, below one directory.
type files struct{ dir string }

func (f files) record(service string) string {
	return filepath.Join(f.dir, "deploys", service+".json")
}

func (f files) release(service string, seq int) string {
	return filepath.Join(f.dir, "releases", service, strconv.Itoa(seq)+".json")
}

// save writes v at path, with its directory.
func save(path string, f statefile.Format, v statefile.State) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("save %s: %w", path, err)
	}
	return f.Write(path, v, 0o600) //nolint:wrapcheck // it names the file
}

// services returns the names of all that there are records or releases of.
func (f files) services() ([]string, error) {
	var names []string
	for _, d := range []string{"deploys", "releases"} {
		entries, err := os.ReadDir(filepath.Join(f.dir, d))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("list services: %w", err)
		}
		for _, e := range entries {
			name := e.Name()
			if d == "deploys" {
				name = strings.TrimSuffix(name, ".json")
			}
			if backstay.ValidName(name) && (d == "deploys") == !e.IsDir() && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names, nil
}

// releases reads all releases of a service. Those that cannot be read are in
// err, and do not keep the others from being there.
func (f files) releases(service string) (map[int]backstay.Release, error) {
	found := map[int]backstay.Release{}
	entries, err := os.ReadDir(filepath.Join(f.dir, "releases", service))
	if errors.Is(err, fs.ErrNotExist) {
		return found, nil
	}
	errs := []error{err}
	for _, e := range entries {
		seq, err := strconv.Atoi(strings.TrimSuffix(e.Name(), ".json"))
		if err != nil || !strings.HasSuffix(e.Name(), ".json") {
			continue // put aside, or not ours
		}
		var k kept
		if err := releaseFormat.Load(f.release(service, seq), &k); err != nil {
			errs = append(errs, err)
			continue
		}
		if k.Release.Service == service && k.Release.Seq == seq {
			found[seq] = k.Release
		}
	}
	return found, errors.Join(errs...)
}

func (f files) saveRecord(r record) error {
	return save(f.record(r.Service), recordFormat, &r)
}

func (f files) saveRelease(rel backstay.Release) error {
	return save(f.release(rel.Service, rel.Seq), releaseFormat, &kept{Release: rel})
}

func (f files) removeRelease(service string, seq int) error {
	if err := os.Remove(f.release(service, seq)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget release: %w", err)
	}
	return nil
}
