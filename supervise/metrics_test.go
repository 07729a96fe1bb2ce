package supervise

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestMetricsCountWhatHappened(t *testing.T) {
	in(t, map[string]Service{"shop": service("readiness")}, func(w *world) {
		reg := prometheus.NewPedanticRegistry()
		reg.MustRegister(w.metrics)
		a, b := w.start("shop"), w.start("shop")
		time.Sleep(time.Minute)
		w.keeper.exit(a, 1, 0)
		time.Sleep(time.Minute)
		w.keeper.behave(b, func(p *program) { p.bad = map[string]string{"readiness": "busy"} })
		time.Sleep(9 * time.Second)
		w.registry.ackIn = time.Hour
		if err := w.Stop(w.ctx(), b, "scale"); err != nil {
			w.t.Fatal(err)
		}
		time.Sleep(time.Minute)
		settle()
		want := `# HELP backstay_drains_forced_total Stops with requests in flight, or unacknowledged.
# TYPE backstay_drains_forced_total counter
backstay_drains_forced_total{service="shop"} 1
# HELP backstay_instance_restarts_total Runs of an instance after its first.
# TYPE backstay_instance_restarts_total counter
backstay_instance_restarts_total{service="shop"} 1
# HELP backstay_instances Instances by service and state.
# TYPE backstay_instances gauge
backstay_instances{service="shop",state="running"} 1
# HELP backstay_instances_ready Instances that are ready.
# TYPE backstay_instances_ready gauge
backstay_instances_ready{service="shop"} 1
`
		names := []string{
			"backstay_drains_forced_total", "backstay_instance_restarts_total", "backstay_instances", "backstay_instances_ready",
		}
		if err := testutil.GatherAndCompare(reg, strings.NewReader(want), names...); err != nil {
			w.t.Error(err)
		}
		if n := testutil.ToFloat64(w.metrics.failures.WithLabelValues("shop", "readiness")); n < 3 {
			w.t.Errorf("%v failures of probes", n)
		}
	})
}
