package l7

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

func (p *Proxy) getMetrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_ = p.WriteMetrics(w) // who asked has gone
}

// WriteMetrics writes all metrics in the text format of Prometheus. They come
// from plain counters: a request pays an addition for each, not a lookup by
// labels. Labels are bounded by the snapshot and by the releases that are kept.
func (p *Proxy) WriteMetrics(w io.Writer) error {
	var e exposition
	s := p.Stats()
	e.single("backstay_l7_generation", "gauge", "Generation of the snapshot in force.", float64(s.Gen))
	e.frontends(s.Frontends)
	e.refused("request", s.BadRequests)
	e.refused("answer", s.BadAnswers)
	e.servers(s.Servers)
	e.services(s.Services)
	e.releases(s.Releases)
	e.logs(s.AccessLog)
	e.answers(p.lasting.allSeries())
	_, err := w.Write(e.Bytes())
	if err != nil {
		return fmt.Errorf("write metrics: %w", err)
	}
	return nil
}

// exposition is metrics in the text format.
type exposition struct{ bytes.Buffer }

func (e *exposition) head(name, kind, help string) {
	fmt.Fprintf(e, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

func (e *exposition) single(name, kind, help string, v float64) {
	e.head(name, kind, help)
	e.sample(name, v)
}

// sample writes one value; labels are names and values in turn.
func (e *exposition) sample(name string, v float64, labels ...string) {
	e.WriteString(name)
	for i := 0; i+1 < len(labels); i += 2 {
		e.WriteByte("{,"[min(i, 1)])
		fmt.Fprintf(e, `%s="%s"`, labels[i], escapeLabel.Replace(labels[i+1]))
	}
	if len(labels) > 0 {
		e.WriteByte('}')
	}
	e.WriteByte(' ')
	e.WriteString(strconv.FormatFloat(v, 'g', -1, 64))
	e.WriteByte('\n')
}

var escapeLabel = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// column is one metric of many things of a kind.
type column[T any] struct {
	name, kind, help string
	value            func(T) float64
}

// table writes columns of rows, whose labels come from a row's key and value.
func writeColumns[T any](e *exposition, rows map[string]T, labels func(key string, row T) []string, columns ...column[T]) {
	for _, c := range columns {
		if len(rows) == 0 {
			return
		}
		e.head(c.name, c.kind, c.help)
		for _, key := range slices.Sorted(maps.Keys(rows)) {
			e.sample(c.name, c.value(rows[key]), labels(key, rows[key])...)
		}
	}
}

func (e *exposition) frontends(rows map[string]FrontendStats) {
	writeColumns(e, rows, func(k string, _ FrontendStats) []string { return []string{"frontend", k} },
		column[FrontendStats]{"backstay_l7_connections", "gauge", "Client connections open.", func(s FrontendStats) float64 { return float64(s.Conns) }},
		column[FrontendStats]{"backstay_l7_connections_opened_total", "counter", "Client connections accepted.", func(s FrontendStats) float64 { return float64(s.Opened) }},
		column[FrontendStats]{"backstay_l7_connections_refused_total", "counter", "Client connections turned away by limits.", func(s FrontendStats) float64 { return float64(s.Refused) }},
		column[FrontendStats]{"backstay_l7_bad_requests_total", "counter", "Requests that were not HTTP, too large or too slow.", func(s FrontendStats) float64 { return float64(s.Bad) }},
		column[FrontendStats]{"backstay_l7_aborted_total", "counter", "Requests whose client left before the answer was whole.", func(s FrontendStats) float64 { return float64(s.Aborted) }},
	)
}

// refused writes only rules that have been broken: there are many, and most
// never are.
func (e *exposition) refused(of string, broken map[string]uint64) {
	name := "backstay_l7_refused_" + of + "s_total"
	for i, code := range slices.Sorted(maps.Keys(broken)) {
		if i == 0 {
			e.head(name, "counter", "What broke a rule of docs/reference/http1-policy.md, by its code.")
		}
		e.sample(name, float64(broken[code]), "code", code)
	}
}

func (e *exposition) servers(rows map[string]ServerStats) {
	writeColumns(e, rows, func(k string, s ServerStats) []string { return []string{"service", s.Service, "instance", k} },
		column[ServerStats]{"backstay_l7_server_open", "gauge", "Whether the server takes new requests.", func(s ServerStats) float64 { return truth(s.Open) }},
		column[ServerStats]{"backstay_l7_server_ejected", "gauge", "Whether real requests have taken the server out.", func(s ServerStats) float64 { return truth(s.Ejected != nil) }},
		column[ServerStats]{"backstay_l7_ejections_total", "counter", "Times that real requests have taken the server out.", func(s ServerStats) float64 { return float64(s.Ejections) }},
		column[ServerStats]{"backstay_l7_in_flight", "gauge", "Requests at the server, upgraded connections too.", func(s ServerStats) float64 { return float64(s.InFlight) }},
		column[ServerStats]{"backstay_l7_upgraded", "gauge", "Upgraded connections to the server.", func(s ServerStats) float64 { return float64(s.Long) }},
		column[ServerStats]{"backstay_l7_idle_connections", "gauge", "Kept connections to the server.", func(s ServerStats) float64 { return float64(s.Idle) }},
	)
}

func (e *exposition) services(rows map[string]ServiceStats) {
	writeColumns(e, rows, func(k string, _ ServiceStats) []string { return []string{"service", k} },
		column[ServiceStats]{"backstay_l7_nobody_ready_total", "counter", "Requests answered 503 because no server was ready.", func(s ServiceStats) float64 { return float64(s.Nobody) }},
		column[ServiceStats]{"backstay_l7_retries_unpaid_total", "counter", "Retries that the budget did not pay for.", func(s ServiceStats) float64 { return float64(s.Exhausted) }},
	)
}

func (e *exposition) releases(rows map[string]ReleaseStats) {
	writeColumns(e, rows, func(k string, s ReleaseStats) []string { return []string{"service", s.Service, "release", k} },
		column[ReleaseStats]{"backstay_l7_first_tries_total", "counter", "First tries of requests.", func(s ReleaseStats) float64 { return float64(s.Sent) }},
		column[ReleaseStats]{"backstay_l7_first_tries_failed_total", "counter", "First tries that ended in a 5xx, a reset or a timeout.", func(s ReleaseStats) float64 { return float64(s.Lost) }},
		column[ReleaseStats]{"backstay_l7_retries_total", "counter", "Further tries of requests.", func(s ReleaseStats) float64 { return float64(s.Retried) }},
	)
}

func (e *exposition) logs(rows map[string]LogStats) {
	writeColumns(e, rows, func(k string, _ LogStats) []string { return []string{"path", k} },
		column[LogStats]{"backstay_l7_access_log_lines_total", "counter", "Lines of access log written.", func(s LogStats) float64 { return float64(s.Written) }},
		column[LogStats]{"backstay_l7_access_log_dropped_total", "counter", "Lines of access log dropped.", func(s LogStats) float64 { return float64(s.Dropped) }},
	)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// answers writes requests by their labels, and how long they took.
func (e *exposition) answers(all []*series) {
	const requests, seconds = "backstay_l7_requests_total", "backstay_l7_request_seconds"
	if len(all) == 0 {
		return
	}
	e.head(requests, "counter", "Requests answered, by class of status; cut: broken off in the middle; left: not waited for.")
	for _, s := range all {
		for i := range s.classes {
			if n := s.classes[i].Load(); n > 0 {
				e.sample(requests, float64(n), append(s.labels(), "class", classNames[i])...)
			}
		}
	}
	e.head(seconds, "histogram", "From the head of a request to the end of its answer.")
	for _, s := range all {
		e.histogram(seconds, &s.latency, s.labels())
	}
}

func (e *exposition) histogram(name string, h *histogram, labels []string) {
	total := uint64(0)
	for i := range h.buckets {
		le := "+Inf"
		if i < histogramBuckets {
			le = strconv.FormatFloat(bound(i), 'g', -1, 64)
		}
		total += h.buckets[i].Load()
		e.sample(name+"_bucket", float64(total), append(slices.Clone(labels), "le", le)...)
	}
	e.sample(name+"_sum", float64(h.sum.Load())/1e9, labels...)
	e.sample(name+"_count", float64(total), labels...)
}

func (s *series) labels() []string {
	return []string{"frontend", s.front, "service", s.service, "release", s.release}
}

// allSeries returns those that have counted something, sorted by their labels.
func (l *lasting) allSeries() (all []*series) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.fronts {
		f.mu.Lock()
		for _, s := range f.series {
			if s.total() > 0 {
				all = append(all, s)
			}
		}
		f.mu.Unlock()
	}
	slices.SortFunc(all, func(a, b *series) int {
		return cmp.Or(strings.Compare(a.front, b.front), strings.Compare(a.service, b.service), strings.Compare(a.release, b.release))
	})
	return all
}
