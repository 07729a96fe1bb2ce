package l7

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/backstay/backstay"
)

// Bounds of what the proxy is told over its socket.
const (
	// maxState is the largest snapshot: ten thousand servers and a thousand
	// certificates fit.
	maxState = 64 << 20
	maxAsk   = 4 << 10
	// maxEventWait is how long a question for events may wait for one.
	maxEventWait = time.Minute
)

// Handler answers on the role's own Unix socket:
//
//	PUT  /v1/state    a whole Snapshot; answers {"gen":N} when it is in force
//	GET  /v1/state    the snapshot in force, without private keys
//	POST /v1/drain    {"server":ID,"long":BOOL}; answers when no request is in flight, with long when no connection is upgraded
//	POST /v1/unbind   {"all":BOOL}; answers when the listeners that no frontend names are closed
//	GET  /v1/stats    Stats
//	GET  /v1/events   ?after=SEQ&wait=30s: what happened since, as soon as something did
//	GET  /v1/alive    {"gen":N}, if the proxy can still decide
//	GET  /metrics     for Prometheus
//
// Errors are [backstay.Problem]. Who may open the socket may do all of it.
func (p *Proxy) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /v1/state", p.putState)
	mux.HandleFunc("GET /v1/state", p.getState)
	mux.HandleFunc("POST /v1/drain", p.postDrain)
	mux.HandleFunc("POST /v1/unbind", p.postUnbind)
	mux.HandleFunc("GET /v1/stats", func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, p.Stats()) })
	mux.HandleFunc("GET /v1/events", p.getEvents)
	mux.HandleFunc("GET /v1/alive", p.getAlive)
	mux.HandleFunc("GET /metrics", p.getMetrics)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		refuse(w, problem("not_found", r.Method+" "+r.URL.Path+" is nothing the proxy answers", r.URL.Path, "see docs/rooms/l7.md for what it does"))
	})
	return mux
}

func (p *Proxy) putState(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxState))
	if err != nil {
		refuse(w, problem("snapshot_unreadable", "the snapshot did not arrive: "+err.Error(), "body", "send all of it, at most 64 MiB"))
		return
	}
	s, err := DecodeSnapshot(text)
	if err == nil {
		err = p.Apply(r.Context(), s)
	}
	if err != nil {
		refuse(w, err)
		return
	}
	p.getAlive(w, r)
}

func (p *Proxy) getState(w http.ResponseWriter, _ *http.Request) {
	s := Snapshot{Backstay: kindOfSnapshot, V: SnapshotVersion}
	if t := p.table.Load(); t != nil {
		s = t.says
	}
	reply(w, http.StatusOK, s.Redacted())
}

func (p *Proxy) postDrain(w http.ResponseWriter, r *http.Request) {
	var ask struct {
		Server string `json:"server"`
		Long   bool   `json:"long"`
	}
	in := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxAsk))
	in.DisallowUnknownFields()
	if err := in.Decode(&ask); err != nil || ask.Server == "" {
		refuse(w, problem("bad_request", "the body does not say what to drain", "body", `send {"server":"shop-7f3a9c","long":false}`))
		return
	}
	if err := p.Drain(r.Context(), ask.Server, ask.Long); err != nil {
		refuse(w, err)
		return
	}
	reply(w, http.StatusOK, ask)
}

func (p *Proxy) postUnbind(w http.ResponseWriter, r *http.Request) {
	var ask struct {
		All bool `json:"all"`
	}
	in := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxAsk))
	in.DisallowUnknownFields()
	if err := in.Decode(&ask); err != nil {
		refuse(w, problem("bad_request", "the body does not say what to close", "body", `send {"all":false}`))
		return
	}
	p.Unbind(ask.All)
	reply(w, http.StatusOK, ask)
}

// getAlive goes through what a request needs: a proxy whose table cannot be
// loaded or whose lists cannot be locked hangs, and is killed for it.
func (p *Proxy) getAlive(w http.ResponseWriter, _ *http.Request) {
	_ = p.lasting.all()
	_ = p.unbound()
	reply(w, http.StatusOK, struct {
		Gen uint64 `json:"gen"`
	}{p.Generation()})
}

func (p *Proxy) getEvents(w http.ResponseWriter, r *http.Request) {
	after, err := number(r.FormValue("after"))
	wait := time.Duration(0)
	if text := r.FormValue("wait"); err == nil && text != "" {
		wait, err = time.ParseDuration(text)
	}
	if err != nil {
		refuse(w, problem("bad_request", "after and wait are not a number and a duration", "query", "ask for ?after=17&wait=30s"))
		return
	}
	events, more := p.recent.after(after)
	if len(events) == 0 && wait > 0 {
		timer := time.NewTimer(min(wait, maxEventWait))
		defer timer.Stop()
		select {
		case <-more:
		case <-timer.C:
		case <-r.Context().Done():
		}
		events, _ = p.recent.after(after)
	}
	reply(w, http.StatusOK, struct {
		Events []numbered `json:"events"`
	}{events})
}

func number(text string) (uint64, error) {
	if text == "" {
		return 0, nil
	}
	return strconv.ParseUint(text, 10, 64)
}

func reply(w http.ResponseWriter, status int, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		panic("l7: " + err.Error()) // our own types
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n')) // who asked has gone
}

// refuse answers with err as a problem.
func refuse(w http.ResponseWriter, err error) {
	var p *backstay.Problem
	switch {
	case errors.As(err, &p):
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		p = problem("timeout", err.Error(), "", "wait longer, or stop the server all the same")
	default:
		p = problem("internal", err.Error(), "", "look into the proxy's log")
	}
	reply(w, statusOf(p.Code), p)
}

func statusOf(code string) int {
	switch code {
	case "not_found":
		return http.StatusNotFound
	case "snapshot_stale":
		return http.StatusConflict
	case "timeout":
		return http.StatusGatewayTimeout
	case "internal":
		return http.StatusInternalServerError
	default:
		return http.StatusBadRequest
	}
}
