package l7_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/l7"
)

func TestNobodyReadyIs503AtOnce(t *testing.T) {
	r := newRig(t, nil, serveHTTP(t, named("a")))
	r.edit(0, func(s *l7.Server) { s.Ready = false })
	if status, _ := r.get("/"); status != 503 {
		t.Errorf("got %d", status)
	}
	if n := r.proxy.Stats().Services["shop"].Nobody; n != 1 {
		t.Errorf("nobody = %d", n)
	}
}

func TestAServerThatFailsIsEjectedAndComesBackWithItsNextStart(t *testing.T) {
	r := newRig(t, func(s *l7.Snapshot) {
		pool(s, func(p *l7.Pool) { p.Balance = backstay.RoundRobin })
	}, serveHTTP(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }), serveHTTP(t, named("good")))
	for range 30 {
		r.get("/")
	}
	s := r.proxy.Stats().Servers["shop-000000"]
	if s.Requests != 5 || s.Ejected == nil || s.Ejected.Because != "5 errors in a row, the last: HTTP 500" {
		t.Errorf("after 30 requests: %+v", s)
	}
	r.edit(0, func(s *l7.Server) { s.Starts++ })
	for range 4 {
		r.get("/")
	}
	if s := r.proxy.Stats().Servers["shop-000000"]; s.Requests != 7 || s.Ejected != nil {
		t.Errorf("after a new start: %+v", s)
	}
	r.edit(0, func(s *l7.Server) { s.Starts++ })
	for range 8 {
		r.get("/")
	}
	if s := r.proxy.Stats().Servers["shop-000000"]; s.Requests != 11 || s.Ejected != nil {
		t.Errorf("4 errors after a start are held against it together with the 2 before: %+v", s)
	}
	got := strings.Join(r.events.kinds(), ", ")
	if got != "ejected shop-000000, reinstated shop-000000" {
		t.Errorf("events: %s", got)
	}
}
