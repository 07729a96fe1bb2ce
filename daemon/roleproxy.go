package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/host/sock"
	"github.com/backstay/backstay/l7"
	"github.com/backstay/backstay/run"
)

// Times of the proxy role.
const (
	// proxyFinish is how long a proxy that is told to end finishes what it has.
	proxyFinish = 8 * time.Second
	headWithin  = 5 * time.Second
)

// runProxy is the proxy role: it serves the last snapshot it was told, with
// nobody above it, and then what the agent says.
func runProxy(ctx context.Context, o Options) error {
	held, err := sock.FromEnv()
	if err != nil {
		return fmt.Errorf("take sockets: %w", err)
	}
	file := filepath.Join(o.Dirs.proxy(), "snapshot.json")
	p := l7.New(l7.Options{Log: o.Log, SnapshotFile: file, Quiet: sock.Quiet})
	r := &proxyRole{Options: o, proxy: p, has: map[string]*os.File{heldAPI: held[heldAPI], heldFiles: held[heldFiles]}}
	for name, f := range held {
		if _, ok := bindOf(name); !ok {
			continue
		}
		if err := r.take(name, f); err != nil {
			o.Log.Error("socket not taken", "name", name, "why", err.Error())
		}
	}
	r.resume(ctx, file)
	return r.run(ctx, held)
}

// proxyRole is the process.
type proxyRole struct {
	Options

	proxy *l7.Proxy

	mu  sync.Mutex          // guards has
	has map[string]*os.File // all sockets: an agent that has lost its keeper asks for them
}

// take gives the proxy a listening socket. One that it has already is the same
// one.
func (r *proxyRole) take(name string, f *os.File) error {
	bind, ok := bindOf(name)
	if !ok {
		return errors.Join(fmt.Errorf("%q is no address", name), f.Close())
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.has[name] != nil {
		return f.Close() //nolint:wrapcheck // nothing is lost
	}
	l, err := net.FileListener(f)
	if err != nil {
		return errors.Join(fmt.Errorf("take %s: %w", bind, err), f.Close())
	}
	r.has[name] = f
	r.proxy.SetListener(bind, l)
	return nil
}

// give returns all sockets.
func (r *proxyRole) give() map[string]*os.File {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.has)
}

// resume serves the orders of before: nobody is asked whether they are still
// good, for nobody may be there.
func (r *proxyRole) resume(ctx context.Context, file string) {
	s, err := l7.ReadSnapshot(file)
	if err == nil {
		err = r.proxy.Apply(ctx, s)
	}
	switch {
	case err == nil:
		r.Log.InfoContext(ctx, "serving the last snapshot", "gen", s.Gen)
	case !errors.Is(err, fs.ErrNotExist):
		r.Log.Error("last snapshot not served", "why", err.Error())
	}
}

func (r *proxyRole) run(ctx context.Context, held map[string]*os.File) error {
	api, files := held[heldAPI], held[heldFiles]
	if api == nil || files == nil {
		return errors.New("start proxy: it has no socket to be spoken to; the agent starts it, not a person")
	}
	g := run.Group{Log: r.Log, Events: backstay.Discard}
	g.Add(run.Part{Name: "traffic", Run: r.proxy.Run, StopWithin: proxyFinish})
	g.Add(run.Part{Name: "files", Run: run.AtOnce(func(ctx context.Context) error { return receive(ctx, files, r.take, r.give) })})
	g.Add(run.Part{Name: "api", Run: run.AtOnce(func(ctx context.Context) error { return serveHTTP(ctx, api, r.proxy.Handler()) })})
	if err := g.Run(ctx); err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	return nil
}

func receive(ctx context.Context, f *os.File, take func(string, *os.File) error, give func() map[string]*os.File) error {
	l, err := net.FileListener(f)
	if err != nil {
		return fmt.Errorf("receive files: %w", err)
	}
	unix, ok := l.(*net.UnixListener)
	if !ok {
		return errors.New("receive files: not a Unix socket")
	}
	unix.SetUnlinkOnClose(false)
	defer func() { _ = unix.Close() }() // the keeper has it too
	return sock.Receive(ctx, unix, take, give)
}

// serveHTTP serves h on the listening socket f until ctx is done.
func serveHTTP(ctx context.Context, f *os.File, h http.Handler) error {
	l, err := net.FileListener(f)
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	if unix, ok := l.(*net.UnixListener); ok {
		unix.SetUnlinkOnClose(false)
	}
	return serveListener(ctx, l, h)
}

func serveListener(ctx context.Context, l net.Listener, h http.Handler) error {
	server := &http.Server{Handler: h, ReadHeaderTimeout: headWithin, BaseContext: func(net.Listener) context.Context { return ctx }}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(l); err != nil && ctx.Err() == nil {
		return fmt.Errorf("serve: %w", err)
	}
	return ctx.Err() //nolint:wrapcheck // being told to end is no story
}
