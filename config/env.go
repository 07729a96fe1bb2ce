package config

import (
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/backstay/backstay/host/proc"
)

// Env is the host that a file is for. Parse asks it while it checks; it may read
// files and wait for the user database, a few seconds at most.
type Env interface {
	// UID is that of the agent: 0 may use every user and port.
	UID() int
	// Stat describes a file.
	Stat(name string) (fs.FileInfo, error)
	// ReadFile returns the contents of a file.
	ReadFile(name string) ([]byte, error)
	// Account returns the number of a user or group, as kind says. Its error is
	// [proc.ErrUnknown] if there is none.
	Account(kind, name string) (id uint32, err error)
	// Now is the time certificates are checked against.
	Now() time.Time
}

// Host returns this host as seen by this process.
func Host() Env { return host{users: &proc.Users{}} }

type host struct{ users *proc.Users }

func (host) UID() int { return os.Geteuid() }

func (host) Now() time.Time { return time.Now() }

func (host) Stat(name string) (fs.FileInfo, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("find file: %w", err)
	}
	return info, nil
}

// maxAsked is the size of the largest file that is looked into, in bytes:
// certificates with long chains are a tenth of it.
const maxAsked = 1 << 20

func (host) ReadFile(name string) ([]byte, error) {
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return nil, fmt.Errorf("read file: %w", err)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("read file: %s is no regular file", name)
	case info.Size() > maxAsked:
		return nil, fmt.Errorf("read file: %s is larger than 1MiB", name)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read file: %w", err)
	}
	return text, nil
}

func (h host) Account(kind, name string) (uint32, error) {
	if kind == "group" {
		return h.users.Group(name) //nolint:wrapcheck // it tells its story
	}
	a, err := h.users.User(name)
	return a.UID, err //nolint:wrapcheck // it tells its story
}

// unprivilegedPorts returns the first port that needs no privilege.
func unprivilegedPorts(env Env) uint16 {
	const usual = 1024
	if env.UID() == 0 {
		return 1
	}
	text, err := env.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
	if err != nil {
		return usual
	}
	var n uint16
	if _, err := fmt.Sscan(strings.TrimSpace(string(text)), &n); err != nil {
		return usual
	}
	return n
}
