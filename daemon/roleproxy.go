package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/host/proc"
	"github.com/backstay/backstay/host/sock"
	"github.com/backstay/backstay/internal/statefile"
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
	r := newProxyRole(o)
	for name, f := range held {
		if err := r.take(name, f); err != nil {
			o.Log.ErrorContext(ctx, "socket not taken", "name", name, "why", err.Error())
		}
	}
	r.resume(ctx, r.file())
	return r.run(ctx, held)
}

// newProxyRole returns a proxy that has no socket yet.
func newProxyRole(o Options) *proxyRole {
	r := &proxyRole{Options: o, sockets: newSockets()}
	r.proxy = l7.New(l7.Options{Log: o.Log, SnapshotFile: r.file(), Quiet: sock.Quiet, Gone: r.sockets.gone, Deafen: sock.Deafen, Hear: sock.Hear})
	return r
}

// proxyRole is the process.
type proxyRole struct {
	Options

	proxy   *l7.Proxy
	sockets *sockets
}

func (r *proxyRole) file() string { return filepath.Join(r.Dirs.proxy(), "snapshot.json") }

// take keeps a socket that was handed to this process.
func (r *proxyRole) take(name string, f *os.File) error { return r.sockets.take(name, f) }

// handler is that of the role: what is put in force gets the sockets it
// asks for before it is acknowledged, and those that it does not are closed.
func (r *proxyRole) handler() http.Handler {
	inner := r.proxy.Handler()
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.Method != http.MethodPut {
			inner.ServeHTTP(w, q)
			return
		}
		seen := &statusSeen{ResponseWriter: w, status: http.StatusOK}
		inner.ServeHTTP(seen, q)
		if seen.status == http.StatusOK {
			r.serveSockets(q.Context())
		}
	})
}

// statusSeen remembers how a request was answered.
type statusSeen struct {
	http.ResponseWriter

	status int
}

func (w *statusSeen) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// serveSockets gives the proxy the sockets that its frontends wait for.
func (r *proxyRole) serveSockets(ctx context.Context) {
	if !r.sockets.waiting() {
		return
	}
	r.handOver(ctx)
	r.sockets.closeIdle()
}

// resume serves the orders of before: nobody is asked whether they are still
// good, for nobody may be there. What cannot be read is put aside, so that the next
// orders can be kept; what a newer version has written is no damage.
func (r *proxyRole) resume(ctx context.Context, file string) {
	s, err := l7.ReadSnapshot(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return
	case err != nil && !isCode(err, "snapshot_too_new"):
		r.Log.ErrorContext(ctx, "last snapshot put aside", "aside", statefile.Aside(file))
	case err == nil:
		err = r.proxy.Apply(ctx, s)
	}
	if err != nil {
		r.Log.ErrorContext(ctx, "last snapshot not served, waiting for orders", "why", err.Error())
		return
	}
	r.Log.InfoContext(ctx, "serving the last snapshot", "gen", s.Gen)
	r.handOver(ctx)
}

// handOver closes nothing: a socket that the last snapshot does not know may be
// of the next one.
func (r *proxyRole) handOver(ctx context.Context) {
	for _, bind := range r.proxy.Stats().Unbound {
		if l, err := r.sockets.listener(bind); err != nil {
			r.Log.ErrorContext(ctx, "socket not served", "bind", bind, "why", err.Error())
		} else if l != nil {
			r.proxy.SetListener(bind, l)
		}
	}
}

func (r *proxyRole) run(ctx context.Context, held map[string]*os.File) error {
	api, files := held[heldAPI], held[heldFiles]
	if api == nil || files == nil {
		return errors.New("start proxy: it has no socket to be spoken to; the agent starts it, not a person")
	}
	g := run.Group{Log: r.Log, Events: backstay.Discard}
	g.Add(run.Part{Name: "traffic", Run: r.proxy.Run, StopWithin: proxyFinish})
	g.Add(run.Part{Name: "files", Run: run.AtOnce(func(ctx context.Context) error { return receive(ctx, files, r.take, r.sockets.all) })})
	g.Add(run.Part{Name: "api", Run: run.AtOnce(func(ctx context.Context) error { return serveHTTP(ctx, api, r.handler()) })})
	g.Add(run.Part{Name: "hangups", Run: run.AtOnce(r.hangups)})
	if err := g.Run(ctx); err != nil {
		return fmt.Errorf("proxy: %w", err)
	}
	return nil
}

// hangups opens access logs anew at each SIGHUP, which the agent passes on.
func (r *proxyRole) hangups(ctx context.Context) error {
	told := proc.Hangups()
	for {
		select {
		case <-told:
			r.proxy.ReopenLogs()
		case <-ctx.Done():
			return ctx.Err() //nolint:wrapcheck // being told to end is no story
		}
	}
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
