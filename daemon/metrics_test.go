package daemon

import (
	"fmt"
	"slices"
	"testing"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/internal/hosttest"
)

func TestMetricsAddressIsCheckedFirst(t *testing.T) {
	t.Parallel()
	for at, good := range map[string]bool{
		"": true, "127.0.0.1:9090": true, "[::1]:9090": true, "127.0.0.2:1": true,
		"foo": false, "0.0.0.0:9090": false, ":9090": false, "127.0.0.1": false, "127.0.0.1:0": false, "192.0.2.1:9090": false, "127.0.0.1:70000": false,
	} {
		if err := (Options{Metrics: at}).checkMetrics(); (err == nil) != good || !good && codeOf(err) != "bad_flag_value" {
			t.Errorf("%q: %v", at, err)
		}
	}
}

// Metrics that are not served are a problem, until they are.
func TestMetricsThatAreNotServedAreAProblem(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	port := hosttest.FreePort(t)
	l := occupy(t, port)
	n.opt.Metrics = fmt.Sprintf("127.0.0.1:%d", port)
	n.write(versionFile)
	must(t, launchKeeper(t.Context(), n.opt))
	has := func(s api.Status) bool {
		return slices.ContainsFunc(s.Problems, func(p backstay.Problem) bool { return p.Code == "bind_failed" && p.Where == n.opt.Metrics })
	}
	n.until("the problem", has)
	l.Close()
	n.until("metrics", func(s api.Status) bool { return !has(s) })
	if _, err := get("http://" + n.opt.Metrics + "/metrics"); err != nil {
		t.Error(err)
	}
}
