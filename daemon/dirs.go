package daemon

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/backstay/backstay"
)

// Dirs are where one Backstay keeps its things. Two with other directories do
// not meet.
type Dirs struct {
	Run   string // tmpfs: sockets, FIFOs, what need not outlive the host's run
	State string // configs, releases, overrides, events, identity
	Log   string
}

// DefaultDirs are those of the system for root, else those of the user, by the
// XDG base directory specification.
func DefaultDirs() Dirs {
	if os.Geteuid() == 0 {
		return Dirs{Run: "/run/backstay", State: "/var/lib/backstay", Log: "/var/log/backstay"}
	}
	home, err := os.UserHomeDir()
	if err != nil {
		home = os.TempDir()
	}
	state := env("XDG_STATE_HOME", filepath.Join(home, ".local", "state"))
	run := filepath.Join(os.TempDir(), fmt.Sprintf("backstay-%d", os.Geteuid()))
	if xdg := os.Getenv("XDG_RUNTIME_DIR"); xdg != "" {
		run = filepath.Join(xdg, "backstay")
	}
	return Dirs{
		Run: run, State: filepath.Join(state, "backstay"),
		Log: filepath.Join(state, "backstay", "log"),
	}
}

func env(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

// make makes the directories. Others may walk through run and log, which hold
// what they are allowed to reach; state is ours alone.
func (d Dirs) make() error {
	for _, dir := range []struct {
		path string
		mode os.FileMode
	}{
		{d.Run, 0o755},
		{d.State, 0o711},
		{d.Log, 0o755},
		{filepath.Join(d.Run, "keeper"), 0o700},
		{filepath.Join(d.Log, roles), 0o755},
		{filepath.Join(d.State, "identity"), 0o700},
		{filepath.Join(d.State, "releases"), 0o700},
		{filepath.Join(d.State, "configs"), 0o700},
		{filepath.Join(d.State, "deploys"), 0o700},
		{filepath.Join(d.State, "events"), 0o700},
	} {
		if err := os.MkdirAll(dir.path, dir.mode); err != nil {
			return &backstay.Problem{
				Code: "bad_directory", What: "a directory cannot be made: " + err.Error(), Where: dir.path,
				Why: "every Backstay keeps its things in three directories", Do: "make it writable, or give another with --run-dir, --state-dir and --log-dir",
			}
		}
	}
	// Whoever else owns it could put sockets of his own there: below /tmp a name
	// is free to anyone. Only the owner, or root, may set a mode.
	if err := os.Chmod(d.Run, 0o755); err != nil {
		return &backstay.Problem{
			Code: "bad_directory", What: "the run directory is another user's", Where: d.Run, Why: err.Error(),
			Do: "run the command as that user, or name a directory of your own with --run-dir",
		}
	}
	return nil
}

// absolute makes d independent of the working directory.
func (d Dirs) absolute() (Dirs, error) {
	for _, p := range []*string{&d.Run, &d.State, &d.Log} {
		abs, err := filepath.Abs(*p)
		if err != nil {
			return d, fmt.Errorf("directory %s: %w", *p, err)
		}
		*p = abs
	}
	return d, nil
}

// Parts of a [Dirs] that more than one part of the program names.

// API is the socket that the command line speaks to.
func (d Dirs) API() string { return filepath.Join(d.Run, "api.sock") }

// AgentLog returns the file that the agent prints to.
func (d Dirs) AgentLog() string { return filepath.Join(d.Log, roles, "agent"+logSuffix) }

// Keeper is the directory of the keeper.
func (d Dirs) Keeper() string { return filepath.Join(d.Run, "keeper") }

func (d Dirs) proxy() string { return filepath.Join(d.Run, "proxy") }

// roles is the reserved service under which roles log.
const roles = "backstay"

// maxSocketPath is the longest path of a Unix socket (unix(7)).
const maxSocketPath = 107

// check refuses what could not work: the longest path of a socket below the run
// directory is that of the keeper.
func (d Dirs) check() error {
	path := filepath.Join(d.Keeper(), "sock")
	if len(path) <= maxSocketPath {
		return nil
	}
	return &backstay.Problem{
		Code: "bad_directory", What: fmt.Sprintf("the run directory has a path of %d bytes, which is too long", len(d.Run)), Where: d.Run,
		Why: fmt.Sprintf("%s would have %d, and a socket's path has at most %d (unix(7))", path, len(path), maxSocketPath),
		Do:  "give --run-dir a shorter one, as in /run/backstay",
	}
}
