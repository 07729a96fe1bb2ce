package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"syscall"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/api/client"
	"github.com/backstay/backstay/daemon"
)

// program is the binary that `make build` has made.
const program = "bin/backstay"

// node is a Backstay of its own.
type node struct {
	dirs   daemon.Dirs
	file   string
	client *client.Client
	front  *process
}

// up starts `backstay up` on a file with text, whose directories are in dir.
func up(dir, text string) (*node, error) {
	n := &node{dirs: daemon.DirsIn(dir), file: filepath.Join(dir, "backstay.yaml")}
	n.client = client.New(client.Options{Socket: n.dirs.API()})
	if err := os.WriteFile(n.file, []byte(text), 0o644); err != nil {
		return nil, err
	}
	var err error
	n.front, err = startProcess(syscall.SIGINT, append([]string{program, "up", n.file}, n.flags()...)...)
	return n, err
}

// stop drains and stops all that n runs.
func (n *node) stop() { n.front.stop() }

func (n *node) flags() []string {
	return []string{"--run-dir", n.dirs.Run, "--state-dir", n.dirs.State, "--log-dir", n.dirs.Log}
}

// command runs `backstay ARGS` and returns when it has ended well.
func (n *node) command(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, program, append(args, n.flags()...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("backstay %v: %w: %s", args, err, out)
	}
	return nil
}

// until waits until f finds nothing missing in the status.
func (n *node) until(ctx context.Context, most time.Duration, f func(api.Status) (missing string)) error {
	return n.front.story(await(ctx, most, look, func() string {
		s, err := n.client.Status(ctx)
		if err != nil {
			return "no status: " + err.Error()
		}
		return f(s)
	}))
}

// whole waits until service has so many instances, all ready, and nothing else,
// and no deploy is under way.
func (n *node) whole(ctx context.Context, service string, replicas int, most time.Duration) error {
	return n.until(ctx, most, func(s api.Status) string { return unlessWhole(s, service, replicas) })
}

func unlessWhole(s api.Status, service string, replicas int) string {
	v := s.Service(service)
	for _, i := range v.Instances {
		if i.State != backstay.Running || !i.Ready || i.PID == 0 {
			return fmt.Sprintf("%s is %s: %s", i.ID, i.State, i.Because)
		}
	}
	switch {
	case len(v.Instances) != replicas:
		return fmt.Sprintf("%d of %d instances", len(v.Instances), replicas)
	case v.Deploy == nil || !v.Deploy.State.Ended():
		return "a deploy is under way"
	}
	return ""
}

// owner is the user that instances run as: who runs bench.
func owner() string {
	if u, err := user.Current(); err == nil {
		return u.Uid
	}
	return "0"
}
