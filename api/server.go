package api

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/internal/nearest"
)

// Bounds of what a client can stretch.
const (
	// maxAtOnce is how many requests are under way at once, streams included.
	// Each is a goroutine and a few KiB.
	maxAtOnce = 256
	// maxHead is the size of a request's head: the longest path and the agent's
	// own headers take a tenth.
	maxHead = 16 << 10
	// headWithin and bodyWithin: the other end is on this host.
	headWithin = 5 * time.Second
	bodyWithin = 30 * time.Second
	// writeWithin drops a client that does not read its stream: whoever feeds it
	// waits meanwhile.
	writeWithin = 30 * time.Second
	idleWithin  = 2 * time.Minute
)

// Options are what the handler needs beside its [Backend].
type Options struct {
	Log *slog.Logger
	// Owner is the user that the agent runs as: it and root may change the file.
	Owner uint32
	// Peer returns who is at the other end of a connection.
	Peer func(net.Conn) (Actor, error)
}

// NewServer returns a server of b with every limit set. Serve it on a listener
// that went through [Listener].
func NewServer(b Backend, o Options) *http.Server {
	return &http.Server{
		Handler: Handler(b, o), ConnContext: o.connContext, ReadHeaderTimeout: headWithin, IdleTimeout: idleWithin,
		MaxHeaderBytes: maxHead, ErrorLog: slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
	}
}

// Handler serves the API of b. Who asks is found by [NewServer]; without it
// nobody is known, and what needs rights is denied.
func Handler(b Backend, o Options) http.Handler {
	return &server{Backend: b, Options: o, slots: make(chan struct{}, maxAtOnce)}
}

type server struct {
	Backend
	Options

	slots chan struct{} // one for each request under way
}

// ServeHTTP implements [http.Handler].
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{w: w, r: r, rc: http.NewResponseController(w)}
	defer s.rescue(c)
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		c.refuse(&backstay.Problem{Code: "busy", What: "too many requests are under way", Do: "end some of those that follow events or logs, and ask again"})
		return
	}
	if err := s.serve(c); err != nil {
		s.fail(c, err)
	}
}

func (s *server) serve(c *call) error {
	e, names, err := route(c.r.Method, c.r.URL.EscapedPath())
	if err != nil {
		return err
	}
	c.endpoint, c.names = e, names
	if err := errors.Join(c.readQuery(), c.readBody()); err != nil {
		return first(err)
	}
	if e.owner {
		if err := s.ownerOnly(c); err != nil {
			return err
		}
	}
	return e.do(s, c)
}

// first returns the first of joined errors: one mistake at a time, since the
// later ones may follow from it.
func first(err error) error {
	var all interface{ Unwrap() []error }
	if errors.As(err, &all) {
		return all.Unwrap()[0]
	}
	return err
}

// fail answers err, and says it in the log if it is our own fault.
func (s *server) fail(c *call, err error) {
	r := asRefusal(err)
	if r.Code == "internal" {
		s.Log.Error("request failed", "method", c.r.Method, "path", c.r.URL.Path, "error", err)
		r.What = "a fault of Backstay itself: " + r.What
	}
	if r.Where == "" {
		r.Where = c.r.Method + " " + c.r.URL.Path
	}
	c.refuseAll(r)
}

// asRefusal returns err as what is answered.
func asRefusal(err error) *Refusal {
	var r *Refusal
	var p *backstay.Problem
	switch {
	case errors.As(err, &r):
		out := *r
		return &out
	case errors.As(err, &p):
		return &Refusal{Problem: *p}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return &Refusal{Problem: backstay.Problem{Code: "timeout", What: err.Error(), Do: "ask again; what was asked for may go on: backstay status"}}
	case errors.Is(err, context.Canceled):
		return &Refusal{Problem: backstay.Problem{Code: "canceled", What: "the agent stops or the client has left", Do: "ask again"}}
	default:
		return &Refusal{Problem: backstay.Problem{Code: "internal", What: err.Error(), Do: "look at backstay logs backstay/agent and report it"}}
	}
}

// rescue keeps a panic from taking the agent along and from reaching the client
// as anything but a problem.
func (s *server) rescue(c *call) {
	v := recover()
	if v == nil {
		return
	}
	if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(v)
	}
	s.Log.Error("request panicked", "method", c.r.Method, "path", c.r.URL.Path, "panic", v, "stack", string(debug.Stack()))
	c.refuse(&backstay.Problem{
		Code: "internal", What: "a fault of Backstay itself", Where: c.r.Method + " " + c.r.URL.Path,
		Do: "look at backstay logs backstay/agent and report it",
	})
}

// route returns the endpoint of method and path and what the path names.
func route(method, path string) (*endpoint, map[string]string, error) {
	var methods, paths []string
	for i := range endpoints {
		e := &endpoints[i]
		paths = append(paths, e.path)
		names, ok := match(e.path, path)
		if !ok {
			continue
		}
		if e.method == method {
			return e, names, nil
		}
		methods = append(methods, e.method)
	}
	if methods != nil {
		return nil, nil, &backstay.Problem{
			Code: "wrong_method", What: quote(path) + " does not take " + quote(method), Where: method + " " + short(path),
			Do: "use " + strings.Join(methods, " or "),
		}
	}
	do := "GET /v1 lists every path"
	if near := nearest.Of(path, paths); near != "" {
		do = "did you mean " + near + "? " + do
	}
	return nil, nil, &backstay.Problem{Code: "unknown_path", What: "there is nothing at " + quote(path), Where: method + " " + short(path), Do: do}
}

// match compares path with pattern, whose elements in braces stand for a name.
func match(pattern, path string) (names map[string]string, ok bool) {
	want, have := strings.Split(pattern, "/"), strings.Split(path, "/")
	if len(want) != len(have) {
		return nil, false
	}
	names = map[string]string{}
	for i, w := range want {
		if name, is := strings.CutPrefix(w, "{"); is {
			names[strings.TrimSuffix(name, "}")] = have[i]
		} else if w != have[i] {
			return nil, false
		}
	}
	return names, true
}
