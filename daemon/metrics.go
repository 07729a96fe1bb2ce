package daemon

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/host/sock"
)

// Metrics implements [api.Backend]: those of the agent and of the proxy in one,
// in Prometheus' text format. Where no proxy answers those of the agent are
// served all the same; backstay_proxy_answers says which it is.
func (a *agent) Metrics() http.Handler {
	own := promhttp.HandlerFor(a.metrics, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		plain := r.Clone(r.Context())
		plain.Header = http.Header{} // neither compressed nor in another format: something follows
		page := &kept200{header: http.Header{}}
		own.ServeHTTP(page, plain)
		text := page.body.Bytes()
		theirs, err := a.proxy.metrics(r.Context())
		answers := 1
		if err != nil {
			answers = 0
		}
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		_, _ = w.Write(text) // who asked has gone
		_, _ = fmt.Fprintf(w, "# HELP backstay_proxy_answers Whether a proxy answers; if not, its metrics are missing here.\n# TYPE backstay_proxy_answers gauge\nbackstay_proxy_answers %d\n", answers)
		_, _ = w.Write(without(theirs, families(text)))
	})
}

// kept200 keeps a page that is written, to have more put after it.
type kept200 struct {
	header http.Header
	body   bytes.Buffer
}

func (k *kept200) Header() http.Header                 { return k.header }
func (k *kept200) WriteHeader(int)                     {}
func (k *kept200) Write(b []byte) (int, error)         { return k.body.Write(b) }
func (k *kept200) ReadFrom(r io.Reader) (int64, error) { return k.body.ReadFrom(r) }

// families returns the names of the metrics in text.
func families(text []byte) map[string]bool {
	names := map[string]bool{}
	for line := range bytes.Lines(text) {
		if name, ok := familyOf(string(line)); ok {
			names[name] = true
		}
	}
	return names
}

// familyOf returns the metric that a # TYPE or # HELP line begins.
func familyOf(line string) (name string, ok bool) {
	f := strings.Fields(line)
	if len(f) < 3 || f[0] != "#" || f[1] != "TYPE" && f[1] != "HELP" {
		return "", false
	}
	return f[2], true
}

// without returns text without the metrics in names: one that is there twice
// makes the whole page unreadable.
func without(text []byte, names map[string]bool) []byte {
	var out bytes.Buffer
	in := bufio.NewReader(bytes.NewReader(text))
	for skip := false; ; {
		line, err := in.ReadString('\n')
		if name, ok := familyOf(line); ok {
			skip = names[name]
		}
		if !skip && line != "" {
			out.WriteString(line)
		}
		if err != nil {
			return out.Bytes()
		}
	}
}

// metrics asks the proxy for its page.
func (p *proxy) metrics(ctx context.Context) ([]byte, error) {
	if len(p.board.get().frontends) == 0 {
		return nil, errNoProxy
	}
	ctx, cancel := context.WithTimeout(ctx, proxyAskWithin)
	defer cancel()
	return p.ask(ctx, http.MethodGet, "/metrics", nil)
}

// checkMetrics is an error where metrics are to be served and cannot be.
func (o Options) checkMetrics() error {
	if o.Metrics == "" {
		return nil
	}
	at, err := netip.ParseAddrPort(o.Metrics)
	if err == nil && at.Addr().IsLoopback() && at.Port() != 0 {
		return nil
	}
	return &backstay.Problem{
		Code: "bad_flag_value", What: fmt.Sprintf("metrics are not served at %q", o.Metrics), Where: "--metrics",
		Why: "it is no address of loopback with a port", Do: "use 127.0.0.1:PORT or [::1]:PORT",
	}
}

// metricsProblem is that metrics are to be served and are not.
func (a *agent) metricsProblem() []backstay.Problem {
	if err := a.unmeasured.Load(); err != nil && *err != nil {
		return []backstay.Problem{{
			Code: "bind_failed", What: "metrics are not served: " + (*err).Error(), Where: a.Options.Metrics,
			Do: "free the address (ss -lntp shows who has it): it is tried again; or start with another --metrics",
		}}
	}
	return nil
}

// serveMetrics answers those who scrape, on this host only: what is told there
// is nobody else's business.
func (a *agent) serveMetrics(ctx context.Context) error {
	if err := a.checkMetrics(); err != nil {
		return err
	}
	f, err := sock.Listen(a.Options.Metrics)
	a.unmeasured.Store(&err)
	if err != nil {
		return fmt.Errorf("serve metrics: %w", err)
	}
	defer func() { _ = f.Close() }()
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", a.Metrics())
	return serveHTTP(ctx, f, mux)
}
