package supervise

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/backstay/backstay"
)

// metrics are the room's figures. Gauges are read from the board when asked for.
type metrics struct {
	board     *board
	instances *prometheus.Desc
	ready     *prometheus.Desc
	restarts  *prometheus.CounterVec
	failures  *prometheus.CounterVec
	forced    *prometheus.CounterVec
}

func newMetrics(b *board) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	return &metrics{
		board: b,
		instances: prometheus.NewDesc("backstay_instances", "Instances by service and state.",
			[]string{"service", "state"}, nil),
		ready:    prometheus.NewDesc("backstay_instances_ready", "Instances that are ready.", []string{"service"}, nil),
		restarts: counter("backstay_instance_restarts_total", "Runs of an instance after its first.", "service"),
		failures: counter("backstay_probe_failures_total", "Answers of probes that did not pass.", "service", "probe"),
		forced:   counter("backstay_drains_forced_total", "Stops with requests in flight, or unacknowledged.", "service"),
	}
}

// count takes what people are told.
func (m *metrics) count(e backstay.Event) {
	if e.Kind == backstay.DrainForced {
		m.forced.WithLabelValues(serviceIn(e.Ref)).Inc()
	}
}

// serviceIn is the service of service/shop/shop-7f3a9c.
func serviceIn(r backstay.Ref) string {
	name := r.Name()
	for i := range len(name) {
		if name[i] == '/' {
			return name[:i]
		}
	}
	return name
}

// Describe implements [prometheus.Collector].
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- m.instances
	ch <- m.ready
	m.restarts.Describe(ch)
	m.failures.Describe(ch)
	m.forced.Describe(ch)
}

// Collect implements [prometheus.Collector].
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	type key struct{ service, state string }
	states, ready := map[key]int{}, map[string]int{}
	for _, v := range m.board.list("") {
		states[key{v.Service, string(v.State)}]++
		ready[v.Service] += map[bool]int{true: 1}[v.Ready]
	}
	for k, n := range states {
		ch <- prometheus.MustNewConstMetric(m.instances, prometheus.GaugeValue, float64(n), k.service, k.state)
	}
	for service, n := range ready {
		ch <- prometheus.MustNewConstMetric(m.ready, prometheus.GaugeValue, float64(n), service)
	}
	m.restarts.Collect(ch)
	m.failures.Collect(ch)
	m.forced.Collect(ch)
}
