package daemon

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/backstay/backstay/config"
	"github.com/backstay/backstay/internal/atomicfile"
	"github.com/backstay/backstay/internal/statefile"
)

// keptConfigs is how many good files are kept: a day of hectic changes.
const keptConfigs = 20

// kept is a good file: its name, and who brought it when.
type kept struct {
	statefile.Head

	Digest string    `json:"digest"` // first 8 of the sha256 of the text
	Name   string    `json:"name"`   // as it is called in messages
	Gen    uint64    `json:"gen"`
	At     time.Time `json:"at"`
	By     string    `json:"by"`
	Source string    `json:"source,omitempty"` // of what is in force: file, last_good
}

var keptFormat = statefile.Format{Kind: "config", V: 1}

// configs keeps the good files of a state directory, and which of them is in
// force until the host restarts.
type configs struct {
	dir   string // texts and their descriptions
	force string // file on tmpfs: what is in force
}

// keepText puts a text on disk that is about to be in force: it is no good file
// before keep has said so. There must be room for it before anything changes.
func (c configs) keepText(k kept, text []byte) error {
	if err := atomicfile.WriteFile(c.path(k.Digest, ".yaml"), text, 0o600); err != nil {
		return fmt.Errorf("keep config: %w", err)
	}
	return nil
}

// keep makes k a good file, and the one in force until the host restarts, and
// forgets the oldest.
func (c configs) keep(k kept) error {
	good, path := k, c.path(k.Digest, ".json")
	good.Source = ""
	before, missing := os.ReadFile(path)
	if err := c.write(path, good); err != nil {
		return err
	}
	if err := c.use(k); err != nil {
		if missing == nil { // it was good before, at another time
			return errors.Join(err, atomicfile.WriteFile(path, before, 0o600))
		}
		return errors.Join(err, os.Remove(path))
	}
	_ = c.prune() // one more that is kept does no harm
	return nil
}

// use says that k is in force until the host restarts.
func (c configs) use(k kept) error {
	return c.write(c.force, k)
}

// dated returns k as it comes in force now. Where the newest good file says the
// same, that was in force last: since when, and who brought it, stays true.
func (c configs) dated(k kept) kept {
	if all, err := c.all(); err == nil && len(all) > 0 && all[0].Digest == k.Digest {
		return all[0]
	}
	k.At = time.Now()
	return k
}

// nextGen is the generation of the next file: above that of every one before,
// also of those before the host was restarted.
func (c configs) nextGen(now *desired) uint64 {
	gen := uint64(0)
	if now != nil {
		gen = now.kept.Gen
	}
	if all, err := c.all(); err == nil {
		for _, k := range all {
			gen = max(gen, k.Gen)
		}
	}
	return gen + 1
}

func (c configs) write(path string, k kept) error {
	if err := keptFormat.Write(path, &k, 0o600); err != nil {
		return fmt.Errorf("keep config: %w", err)
	}
	return nil
}

func (c configs) path(digest, ext string) string { return filepath.Join(c.dir, digest+ext) }

// inForce returns what an earlier agent of this boot had in force. What says so is
// put aside if it cannot be read.
func (c configs) inForce() (k kept, text []byte, err error) {
	if err = keptFormat.Load(c.force, &k); err != nil {
		if errors.Is(err, statefile.ErrNewer) {
			statefile.Aside(c.force) // it would be written over
		}
		return k, nil, err //nolint:wrapcheck // it names the file
	}
	text, err = c.text(k.Digest)
	return k, text, err
}

// last returns the newest good file whose text is whole.
func (c configs) last() (kept, []byte, error) {
	all, err := c.all()
	for _, k := range all {
		text, bad := c.text(k.Digest)
		if bad == nil {
			return k, text, nil
		}
		err = errors.Join(err, bad)
	}
	return kept{}, nil, errors.Join(err, fs.ErrNotExist)
}

// unread returns why kept files cannot be read.
func (c configs) unread() (all []error) {
	names, _ := filepath.Glob(filepath.Join(c.dir, "*.json"))
	for _, name := range names {
		k, err := readKept(name)
		if err == nil {
			_, err = c.text(k.Digest)
		}
		if err != nil {
			all = append(all, err)
		}
	}
	return all
}

// text returns the text that has digest: what is left of one is another file.
func (c configs) text(digest string) ([]byte, error) {
	text, err := os.ReadFile(c.path(digest, ".yaml"))
	if err != nil {
		return nil, fmt.Errorf("read kept config: %w", err)
	}
	if has := config.Digest(text); has != digest {
		return nil, fmt.Errorf("read kept config %s: its text is damaged: it has the digest %s", c.path(digest, ".yaml"), has)
	}
	return text, nil
}

// all returns the good files that can be read, the one that came in force last
// first: generations grow where a clock may not.
func (c configs) all() ([]kept, error) {
	names, err := filepath.Glob(filepath.Join(c.dir, "*.json"))
	if err != nil {
		return nil, fmt.Errorf("list kept configs: %w", err)
	}
	var all []kept
	for _, name := range names {
		if k, err := readKept(name); err == nil {
			all = append(all, k)
		}
	}
	slices.SortFunc(all, func(a, b kept) int {
		return cmp.Or(cmp.Compare(b.Gen, a.Gen), b.At.Compare(a.At))
	})
	return all, nil
}

func readKept(path string) (k kept, err error) {
	err = keptFormat.Read(path, &k)
	return k, err //nolint:wrapcheck // it names the file
}

// prune forgets the oldest good files, and texts that have not become one. What
// cannot be read is not ours to forget: a newer version has kept it, no more than
// so many either, and may be back.
func (c configs) prune() error {
	all, err := c.all()
	if err != nil {
		return err
	}
	keep := map[string]bool{}
	for _, k := range all[:min(len(all), keptConfigs)] {
		keep[k.Digest] = true
	}
	if k, err := readKept(c.force); err == nil {
		keep[k.Digest] = true
	}
	files, err := filepath.Glob(filepath.Join(c.dir, "*"))
	for _, f := range files {
		name, ext := strings.CutSuffix(filepath.Base(f), ".yaml")
		if !ext {
			name, ext = strings.CutSuffix(filepath.Base(f), ".json")
		}
		if ext && !keep[name] && !c.unreadable(name) {
			err = errors.Join(err, os.Remove(f))
		}
	}
	return err //nolint:wrapcheck // it names the files
}

// unreadable reports whether there is a description of a text that cannot be read.
func (c configs) unreadable(digest string) bool {
	_, err := readKept(c.path(digest, ".json"))
	return err != nil && !errors.Is(err, fs.ErrNotExist)
}
