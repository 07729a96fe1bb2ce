package health_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/health"
)

func ExampleAsk() {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "the database is away", http.StatusServiceUnavailable)
	}))
	defer s.Close()

	var p backstay.Probe
	p.SetDefaults()
	p.HTTP = "/healthz"
	r := health.Ask(context.Background(), p, target(s.Listener.Addr()))
	fmt.Println(r.Good, r.Output)
	// Output: false HTTP 503
}
