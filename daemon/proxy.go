package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/host/sock"
	"github.com/backstay/backstay/l7"
	"github.com/backstay/backstay/registry"
)

// Times of the line to the proxy.
const (
	// proxyAskWithin is how long it may take to answer what costs it nothing.
	proxyAskWithin = time.Second
	// proxyUnbindWithin is how long a proxy may take to empty the queues of what it
	// closes: several times what it needs.
	proxyUnbindWithin = 3 * time.Second
)

// proxy is the agent's line to the proxy role: it is the registry's balancer,
// and watches that the role answers.
type proxy struct {
	dir    string
	link   *link
	board  *board
	log    *slog.Logger
	events backstay.Recorder
	client *http.Client
	watched

	mu      sync.Mutex // guards all below
	gen     uint64     // of the newest snapshot that was sent
	acked   uint64     // of the newest that is in force there
	run     uint32     // which start of the proxy the rest is about
	passed  map[string]bool
	told    map[string]registry.Endpoint // by instance, as acknowledged
	started time.Time
}

func newProxy(dir string, l *link, b *board, log *slog.Logger, events backstay.Recorder) *proxy {
	return &proxy{
		dir: dir, link: l, board: b, log: log, events: events, passed: map[string]bool{}, watched: watchedBy(l),
		client: proxyClient(dir),
	}
}

// proxyClient asks the proxy whose directory is dir.
func proxyClient(dir string) *http.Client {
	path := filepath.Join(dir, "sock")
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path) //nolint:wrapcheck // net names the socket
	}
	return &http.Client{Transport: &http.Transport{DialContext: dial, MaxIdleConnsPerHost: 4}}
}

// startedAnew says that the proxy is another process: what was passed to the one
// before is gone with it.
func (p *proxy) startedAnew(run uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.run != run {
		p.run, p.acked, p.started, p.told = run, 0, time.Now(), nil
		clear(p.passed)
	}
}

// Apply implements [registry.Balancer].
func (p *proxy) Apply(ctx context.Context, s registry.Snapshot) error {
	o, run := p.board.get(), p.process()
	if err := p.passListeners(ctx, o); err != nil {
		return err
	}
	gen, err := p.next(ctx)
	if err != nil {
		return err
	}
	text, err := json.Marshal(o.snapshot(s, gen))
	if err != nil {
		return fmt.Errorf("apply snapshot %d: %w", gen, err)
	}
	err = p.call(ctx, http.MethodPut, "/v1/state", text, nil)
	if isCode(err, "snapshot_stale") {
		p.forgetGeneration()
	}
	if err != nil {
		return fmt.Errorf("apply snapshot %d: %w", gen, err)
	}
	p.acknowledged(run, gen, s)
	return nil
}

// process returns which start of the proxy there is.
func (p *proxy) process() uint32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.run
}

// forgetGeneration has the proxy asked anew: it has been told more than we know.
func (p *proxy) forgetGeneration() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gen = 0
}

// acknowledged notes what that start of the proxy has in force.
func (p *proxy) acknowledged(run uint32, gen uint64, s registry.Snapshot) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.run != run {
		return // it was another process that said so
	}
	p.acked = max(p.acked, gen)
	p.told = map[string]registry.Endpoint{}
	for _, e := range s.Endpoints {
		p.told[e.Instance] = e
	}
}

// knows reports whether the proxy has acknowledged e as it is now.
func (p *proxy) knows(e registry.Endpoint) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	was, ok := p.told[e.Instance]
	return ok && was.Ready == e.Ready && was.Drain == e.Drain && (was.Starts == e.Starts || !e.Ready)
}

func isCode(err error, code string) bool {
	p := new(backstay.Problem)
	return errors.As(err, &p) && p.Code == code
}

// next returns the generation of the next snapshot: above that of every proxy
// that an earlier agent has told.
func (p *proxy) next(ctx context.Context) (uint64, error) {
	p.mu.Lock()
	known := p.gen
	p.mu.Unlock()
	if known == 0 {
		var state struct {
			Gen uint64 `json:"gen"`
		}
		if err := p.call(ctx, http.MethodGet, "/v1/state", nil, &state); err != nil {
			return 0, fmt.Errorf("ask for generation: %w", err)
		}
		known = state.Gen
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gen = max(p.gen, known) + 1
	return p.gen, nil
}

// passListeners gives the proxy the sockets it was not started with. Those that
// o does not name any more it closes by itself, and gets again if they come back.
func (p *proxy) passListeners(ctx context.Context, o orders) error {
	wanted := map[string]string{}
	for _, front := range o.frontends {
		for _, bind := range front.Bind {
			wanted[heldName(bind)] = bind
		}
	}
	p.mu.Lock()
	maps.DeleteFunc(p.passed, func(name string, _ bool) bool { return wanted[name] == "" })
	p.mu.Unlock()
	for name, bind := range wanted {
		if err := p.pass(ctx, name, bind); err != nil {
			return err
		}
	}
	return nil
}

// pass gives the proxy one socket, if it has not got it.
func (p *proxy) pass(ctx context.Context, name, bind string) error {
	p.mu.Lock()
	run, has := p.run, p.passed[name]
	p.mu.Unlock()
	f := p.link.file(name)
	if has || f == nil {
		return nil
	}
	if err := sock.Pass(ctx, filepath.Join(p.dir, "files"), name, f); err != nil {
		return fmt.Errorf("give %s to the proxy: %w", bind, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.run == run {
		p.passed[name] = true
	}
	return nil
}

// Drain implements [registry.Balancer].
func (p *proxy) Drain(ctx context.Context, instance string, long bool) error {
	ask, err := json.Marshal(struct {
		Server string `json:"server"`
		Long   bool   `json:"long"`
	}{instance, long})
	if err != nil {
		return fmt.Errorf("drain %s: %w", instance, err)
	}
	if err := p.call(ctx, http.MethodPost, "/v1/drain", ask, nil); err != nil {
		return fmt.Errorf("drain %s: %w", instance, err)
	}
	return nil
}

// unbind has the proxy close its sockets that no frontend in force has, or all of
// them. Nobody else may hold them then.
func (p *proxy) unbind(ctx context.Context, all bool) error {
	ctx, cancel := context.WithTimeout(ctx, proxyUnbindWithin)
	defer cancel()
	err := p.call(ctx, http.MethodPost, "/v1/unbind", fmt.Appendf(nil, `{"all":%t}`, all), nil)
	if err != nil {
		return fmt.Errorf("close sockets: %w", err)
	}
	return nil
}

// stats asks the proxy what it has counted.
func (p *proxy) stats(ctx context.Context) (s l7.Stats, err error) {
	ctx, cancel := context.WithTimeout(ctx, proxyAskWithin)
	defer cancel()
	err = p.call(ctx, http.MethodGet, "/v1/stats", nil, &s)
	return s, err
}

// generations returns the snapshot that the proxy has acknowledged and the
// newest there is.
func (p *proxy) generations() (acked, newest uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.acked, p.gen
}

// maxProxyAnswer bounds an answer: the counters of ten thousand servers.
const maxProxyAnswer = 16 << 20

// call asks the proxy and reads its answer, if one is wanted.
func (p *proxy) call(ctx context.Context, method, path string, body []byte, answer any) error {
	text, err := p.ask(ctx, method, path, body)
	if err != nil || answer == nil {
		return err
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return fmt.Errorf("read the proxy's answer: %w", err)
	}
	return nil
}

// errNoProxy says that nobody is to be asked.
var errNoProxy = errors.New("there is no proxy, for there is no frontend")

// ask returns what the proxy answers.
func (p *proxy) ask(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://proxy"+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("ask proxy: %w", err)
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask proxy: %w", err)
	}
	defer func() { _ = resp.Body.Close() }() // read to its end below
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxProxyAnswer))
	switch {
	case err != nil:
		return nil, fmt.Errorf("ask proxy: %w", err)
	case resp.StatusCode < http.StatusBadRequest:
		return text, nil
	}
	problem := new(backstay.Problem)
	if json.Unmarshal(text, problem) == nil && problem.Code != "" {
		return nil, problem
	}
	return nil, fmt.Errorf("ask proxy: %s", resp.Status)
}
