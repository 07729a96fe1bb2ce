package deploy

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

type metrics struct {
	live    *prometheus.GaugeVec
	release *prometheus.GaugeVec
	ended   *prometheus.CounterVec
	took    *prometheus.HistogramVec
	steps   *prometheus.CounterVec
}

// newMetrics registers with r, or with nothing if r is nil. The services that
// label them are those of the file.
func newMetrics(r prometheus.Registerer) *metrics {
	f := promauto.With(r)
	return &metrics{
		live: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "backstay_deploy_live", Help: "1 while a deploy of the service is under way.",
		}, []string{"service"}),
		release: f.NewGaugeVec(prometheus.GaugeOpts{
			Name: "backstay_deploy_release", Help: "Number of the release that the last deploy has brought into force.",
		}, []string{"service"}),
		ended: f.NewCounterVec(prometheus.CounterOpts{
			Name: "backstay_deploys_total", Help: "Deploys that have ended, by how.",
		}, []string{"service", "state"}),
		took: f.NewHistogramVec(prometheus.HistogramOpts{
			Name: "backstay_deploy_seconds", Help: "From the beginning of a deploy to its end.",
			Buckets: []float64{1, 3, 10, 30, 60, 120, 300, 600, 1800, 3600},
		}, []string{"service"}),
		steps: f.NewCounterVec(prometheus.CounterOpts{
			Name: "backstay_deploy_steps_total", Help: "Steps carried out, by what they were.",
		}, []string{"step"}),
	}
}

// became counts what a deploy has become.
func (m *metrics) became(service string, d Deploy) {
	if d.Live() {
		m.live.WithLabelValues(service).Set(1)
		return
	}
	m.live.WithLabelValues(service).Set(0)
	m.ended.WithLabelValues(service, string(d.State)).Inc()
	m.took.WithLabelValues(service).Observe(d.Ended.Sub(d.Started).Seconds())
	if d.State == Done {
		m.release.WithLabelValues(service).Set(float64(d.To))
	}
}

func (m *metrics) did(step Do) { m.steps.WithLabelValues(string(step)).Inc() }

// forget drops the series of a service that is gone.
func (m *metrics) forget(service string) {
	for _, v := range []interface {
		DeletePartialMatch(prometheus.Labels) int
	}{m.live, m.release, m.ended, m.took} {
		v.DeletePartialMatch(prometheus.Labels{"service": service})
	}
}
