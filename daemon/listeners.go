package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/host/sock"
	"github.com/backstay/backstay/l7"
)

// Names of what the keeper holds for the proxy.
const (
	heldAPI   = "api"   // its Unix socket
	heldFiles = "files" // where it is given listeners while it runs
	heldBind  = "bind=" // and an address, escaped: LISTEN_FDNAMES has no colon
)

func heldName(bind string) string { return heldBind + url.QueryEscape(bind) }

// bindOf returns the address that is held under name.
func bindOf(name string) (bind string, ok bool) {
	escaped, ok := strings.CutPrefix(name, heldBind)
	if !ok {
		return "", false
	}
	bind, err := url.QueryUnescape(escaped)
	return bind, err == nil
}

// bind binds those of addresses that nobody holds yet, all or none. A socket is
// bound once in its life, here; the keeper holds it over every death.
func (l *link) bind(ctx context.Context, addresses []string) (bound []string, err error) {
	for _, a := range addresses {
		if l.file(heldName(a)) != nil {
			continue
		}
		f, err := sock.Listen(a)
		if err == nil {
			bound = append(bound, a)
			err = l.hold(ctx, heldName(a), f)
		}
		if err != nil {
			return nil, errors.Join(l.bindProblem(a, err), l.unbind(ctx, bound), unlink(ctx, bound))
		}
	}
	return bound, nil
}

// bindProblem says why address cannot be bound; it may be ourselves.
func (l *link) bindProblem(address string, err error) error {
	p := &backstay.Problem{
		Code: "bind_failed", What: "cannot listen at " + address + ": " + err.Error(), Where: address,
		Why: "an address belongs to one socket on a host",
		Do:  "free it (ss -lntp shows who has it) or bind another; nothing has changed",
	}
	switch {
	case sock.NotHere(err):
		p.Why, p.Do = "this host has no such address", "bind an address that it has (ip address shows them), or :PORT for all; nothing has changed"
		return p
	case errors.Is(err, fs.ErrPermission):
		p.Why, p.Do = "ports below 1024 are for root", "start backstay as root, or bind a port from 1024; nothing has changed"
		return p
	}
	for _, name := range l.names() {
		if other, ok := bindOf(name); ok && overlap(address, other) {
			p.Why = "backstay itself listens at " + other + ", which has it too"
			p.Do = "apply the file without " + other + " first, or bind " + other + " again; nothing has changed"
		}
	}
	return p
}

// overlap reports whether two addresses are of one port, so that one socket may
// be in the other's way.
func overlap(a, b string) bool {
	x, errX := l7.ParseBind(a)
	y, errY := l7.ParseBind(b)
	return errX == nil && errY == nil && a != b && x.Unix == "" && y.Unix == "" && x.Port == y.Port
}

// unbindWithin is how long a keeper is waited for that is to let go of an
// address. One that comes back with it later is told then; see [agent.tidy].
const unbindWithin = time.Second

// unbind has neither us nor the keeper hold addresses, whether or not anybody
// waits for that. The proxy, if it has one, closes it last: see [agent.letGo].
func (l *link) unbind(ctx context.Context, addresses []string) (err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), unbindWithin)
	defer cancel()
	for _, a := range addresses {
		err = errors.Join(err, l.release(ctx, heldName(a)))
	}
	return err
}

// unlink takes away the paths of those of addresses that are Unix sockets which
// nobody serves any more.
func unlink(ctx context.Context, addresses []string) (err error) {
	for _, a := range addresses {
		err = errors.Join(err, unlinkOne(ctx, a))
	}
	return err
}

func unlinkOne(ctx context.Context, bind string) error {
	path, ok := strings.CutPrefix(bind, "unix:")
	if !ok {
		return nil
	}
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() != fs.ModeSocket {
		return nil //nolint:nilerr // it is no longer what we made
	}
	c, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err == nil {
		return c.Close() //nolint:wrapcheck // another has taken our place
	}
	return os.Remove(path) //nolint:wrapcheck // it names the path
}

// holdProxySockets makes what the proxy is spoken to through. The directory is
// the proxy's own: nobody else gets near. What it has put there instead is not
// followed: it may point at what is root's.
func (l *link) holdProxySockets(ctx context.Context, dir string, uid int) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("directory of the proxy: %w", err)
	}
	if err := os.Lchown(dir, uid, -1); err != nil {
		return fmt.Errorf("directory of the proxy: %w", err)
	}
	if err := os.Lchown(filepath.Join(dir, "snapshot.json"), uid, -1); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("snapshot of the proxy: %w", err)
	}
	for _, s := range []struct {
		name, path string
		listen     func(path string) (*os.File, error)
	}{
		{heldAPI, filepath.Join(dir, "sock"), func(p string) (*os.File, error) { return sock.Listen("unix:" + p) }},
		{heldFiles, filepath.Join(dir, "files"), sock.ListenPass},
	} {
		if _, err := os.Stat(s.path); l.file(s.name) != nil && err == nil {
			if err := os.Lchown(s.path, uid, -1); err != nil { // it may be another one's than before
				return fmt.Errorf("socket of the proxy: %w", err)
			}
			continue
		}
		if err := os.Remove(s.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("socket of the proxy: %w", err)
		}
		f, err := s.listen(s.path)
		if err != nil {
			return fmt.Errorf("socket of the proxy: %w", err)
		}
		if err := errors.Join(os.Lchown(s.path, uid, -1), os.Chmod(s.path, 0o600)); err != nil {
			return fmt.Errorf("socket of the proxy: %w", err)
		}
		if err := l.hold(ctx, s.name, f); err != nil {
			return err
		}
	}
	return nil
}
