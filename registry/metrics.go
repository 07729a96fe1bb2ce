package registry

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	applied, failed prometheus.Counter
	withdrawn       prometheus.Histogram
}

// newMetrics registers with r, or with nothing if r is nil. No label names a
// balancer or an instance: their numbers have no bound over a year.
func newMetrics(r prometheus.Registerer, counts func() (gen uint64, endpoints, ready, balancers, behind int)) *metrics {
	f := promauto.With(r)
	gauge := func(name, help string, value func() int) {
		f.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(value()) })
	}
	gauge("backstay_registry_generation", "Generation of the newest snapshot.", func() int { gen, _, _, _, _ := counts(); return int(gen) })
	gauge("backstay_registry_endpoints", "Instances known.", func() int { _, n, _, _, _ := counts(); return n })
	gauge("backstay_registry_endpoints_ready", "Instances that take new requests.", func() int { _, _, n, _, _ := counts(); return n })
	gauge("backstay_registry_balancers", "Live balancers.", func() int { _, _, _, n, _ := counts(); return n })
	gauge("backstay_registry_balancers_behind", "Balancers that have not acknowledged the newest snapshot.",
		func() int { _, _, _, _, n := counts(); return n })
	return &metrics{
		applied: f.NewCounter(prometheus.CounterOpts{
			Name: "backstay_registry_applies_total", Help: "Snapshots acknowledged by balancers.",
		}),
		failed: f.NewCounter(prometheus.CounterOpts{
			Name: "backstay_registry_apply_failures_total", Help: "Snapshots a balancer did not take; each is tried again.",
		}),
		withdrawn: f.NewHistogram(prometheus.HistogramOpts{
			Name: "backstay_registry_withdraw_seconds", Help: "From the wish to withdraw to the last acknowledgement.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, 1, 5, 30},
		}),
	}
}
