package config

import (
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/backstay/backstay/host/proc"
)

// Env is the host that a file is for. Parse asks it while it checks; it may read
// files and wait for the user database, a few seconds at most.
type Env interface {
	// Root reports whether the agent runs as root, which may use every user and port.
	Root() bool
	// Stat describes a file.
	Stat(name string) (fs.FileInfo, error)
	// ReadFile returns the contents of a file.
	ReadFile(name string) ([]byte, error)
	// Account returns an error if there is no such account; kind is user or group.
	Account(kind, name string) error
}

// Host returns this host as seen by this process.
func Host() Env { return host{users: &proc.Users{}} }

type host struct{ users *proc.Users }

func (host) Root() bool { return os.Geteuid() == 0 }

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

func (h host) Account(kind, name string) error {
	if kind == "group" {
		_, err := h.users.Group(name)
		return err //nolint:wrapcheck // it tells its story
	}
	_, err := h.users.User(name)
	return err //nolint:wrapcheck // it tells its story
}

// unprivilegedPorts returns the first port that needs no privilege.
func unprivilegedPorts(env Env) int {
	const usual = 1024
	if env.Root() {
		return 1
	}
	text, err := env.ReadFile("/proc/sys/net/ipv4/ip_unprivileged_port_start")
	if err != nil {
		return usual
	}
	n := usual
	if _, err := fmt.Sscan(strings.TrimSpace(string(text)), &n); err != nil {
		return usual
	}
	return n
}
