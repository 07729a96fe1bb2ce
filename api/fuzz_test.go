package api_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/api/apitest"
)

// FuzzRequest: whatever is asked, the answer is a good one or a whole problem,
// and the handler does not panic.
func FuzzRequest(f *testing.F) {
	for _, s := range [][3]string{
		{"GET", "/v1/status", ""},
		{"GET", "/v1/why?ref=shop-11", ""},
		{"GET", "/v1/events?tail=1&follow=false&since=2026-01-02T15:04:05Z", ""},
		{"POST", "/v1/services/shop/deploy", `{"version":"v2","again":true}`},
		{"PUT", "/v1/services/shop/scale", `{"replicas":null}`},
		{"PUT", "/v1/config?name=x", "schema: 1"},
		{"POST", "/v1/services/shop/rollback", `{"to":[[{"a":1}]]}`},
		{"GET", "/v1//%2e", "x"},
	} {
		f.Add(s[0], s[1], s[2])
	}
	f.Fuzz(func(t *testing.T, method, target, body string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || u.Host != "" {
			t.Skip("no request")
		}
		r := &http.Request{Method: method, URL: u, Body: http.NoBody, Header: http.Header{}}
		if body != "" {
			r.Body = httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body)).Body
		}
		w := httptest.NewRecorder()
		log := &loud{t: t}
		api.Handler(apitest.New(), api.Options{Log: log.logger()}).ServeHTTP(w, r)
		if w.Code < 400 {
			return
		}
		var p backstay.Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Code == "" || p.What == "" || p.Where == "" || p.Do == "" || p.Code == "internal" {
			t.Errorf("%s %q %q: %d %s", method, target, body, w.Code, w.Body)
		}
	})
}

// FuzzResolve: whatever names a thing points at one that there is, or is refused.
func FuzzResolve(f *testing.F) {
	for _, s := range []string{"shop", "shop-11", "service/shop", "release/shop@2", "shop@99999999999999999999", "a/b/c", "/", "\xff", "instance/"} {
		f.Add(s)
	}
	st := apitest.World()
	f.Fuzz(func(t *testing.T, s string) {
		ref, err := api.Resolve(st, s)
		if err != nil {
			return
		}
		facts := api.Facts{Status: st, Releases: apitest.Releases()}
		if _, err := api.Why(facts, ref); err != nil && ref.Kind() != "release" {
			t.Errorf("%q is %q: %v", s, ref, err)
		}
	})
}
