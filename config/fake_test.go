package config_test

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"testing/fstest"
	"time"

	"github.com/backstay/backstay/host/proc"
)

// fake is a host made of the files in testdata/host: root runs the agent unless
// uid says otherwise.
type fake struct {
	uid   int
	files fs.FS
	modes map[string]fs.FileMode // of files that differ from 0644, by path
	gone  map[string]error       // reading these goes wrong
}

// newFake returns the host that all files in testdata are for.
func newFake(uid int) *fake {
	return &fake{
		uid:   uid,
		files: os.DirFS("testdata/host"),
		modes: map[string]fs.FileMode{
			"/etc/tls/shop.key": 0o600, "/etc/tls/other.key": 0o600, "/etc/tls/open.key": 0o644, "/etc/tls/old.key": 0o600,
			"/usr/bin/notes": 0o644, "/etc/tls/future.key": 0o600,
		},
		gone: map[string]error{"/etc/shop/locked": fs.ErrPermission, "/etc/shop/torn": fmt.Errorf("read /etc/shop/torn: %w", errIO)},
	}
}

var errIO = fmt.Errorf("input/output error")

func (f *fake) UID() int { return f.uid }

func (f *fake) Now() time.Time { return time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC) }

func (f *fake) Stat(name string) (fs.FileInfo, error) {
	if err := f.gone[name]; err != nil {
		return nil, err
	}
	info, err := fs.Stat(f.files, inside(name))
	if err != nil {
		return nil, err
	}
	mode := fs.FileMode(0o644)
	switch want, known := f.modes[name]; {
	case known:
		mode = want
	case info.IsDir():
		mode = fs.ModeDir | 0o755
	case strings.HasPrefix(name, "/srv/") || strings.HasPrefix(name, "/usr/"):
		mode = 0o755
	}
	size := info.Size()
	if name == "/etc/shop/large.html" {
		size = 3 << 20
	}
	return fs.Stat(fstest.MapFS{"x": {Mode: mode, Data: make([]byte, size)}}, "x")
}

func (f *fake) ReadFile(name string) ([]byte, error) {
	if err := f.gone[name]; err != nil {
		return nil, err
	}
	return fs.ReadFile(f.files, inside(name))
}

func inside(name string) string {
	if name = strings.TrimPrefix(path.Clean(name), "/"); name == "" {
		return "."
	}
	return name
}

// Account knows the people of testdata; asking for slow takes too long.
func (f *fake) Account(kind, name string) (uint32, error) {
	known := map[string]uint32{"root": 0, "shop": 1000, "redis": 101, "adm": 4, "1000": 1000}
	id, ok := known[name]
	switch {
	case name == "slow":
		return 0, fmt.Errorf("ask getent: no answer within 5s")
	case !ok:
		return 0, fmt.Errorf("%s %s: %w", kind, name, proc.ErrUnknown)
	}
	return id, nil
}
