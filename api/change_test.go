package api_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/api/apitest"
)

// planned is a backend that answers every plan with one of its own.
type planned struct {
	*apitest.Backend

	plan api.Plan
}

// Plan implements [api.Configs].
func (p planned) Plan(context.Context, api.ConfigAsk) (api.Plan, error) { return p.plan, nil }

// No change promises what an override prevents; one that no override is about
// stays as it is.
func TestOverridesOverruleChanges(t *testing.T) {
	change := func(key string) api.Change {
		return api.Change{Key: "services.shop." + key, Service: "shop", Tag: api.Roll, Traffic: "rolls 3 instances"}
	}
	over := func(what, value, file string) api.Override {
		return api.Override{Ref: backstay.NewRef("service", "shop"), What: what, Value: value, File: file, By: "ann"}
	}
	for name, c := range map[string]struct {
		change api.Change
		over   api.Override
		want   string
	}{
		"another version":        {change("version"), over("version", "v2", "v3"), "version v2 by ann stands over it"},
		"the same version":       {change("version"), over("version", "v3", "v3"), "version is v3 already, by ann"},
		"another number":         {change("replicas"), over("replicas", "5", "3"), "replicas 5 by ann stands over it"},
		"of a stopped service":   {change("run.exec"), over("stopped", "true", "false"), "it is stopped by ann"},
		"another key":            {change("run.exec"), over("version", "v2", "v3"), ""},
		"of another service":     {change("version"), api.Override{Ref: "service/db", What: "version"}, ""},
		"the service as a whole": {api.Change{Key: "services.shop", Service: "shop", Traffic: "rolls 3 instances"}, over("version", "v2", ""), ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := planned{apitest.New(), api.Plan{Changes: []api.Change{c.change}, Overrides: []api.Override{c.over}}}
			w := serve(api.Handler(b, api.Options{Log: quiet()}), http.MethodPost, "/v1/plan", "schema: 1\n")
			var got api.Plan
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || len(got.Changes) != 1 {
				t.Fatalf("%v: %s", err, w.Body)
			}
			if g := got.Changes[0]; g.Overruled != c.want || (g.Traffic == "") != (c.want != "") {
				t.Errorf("%+v, want %q", g, c.want)
			}
		})
	}
}

// A file that is too large is told by its name, and what may be done.
func TestLargeFileIsToldByItsName(t *testing.T) {
	w := serve(api.Handler(apitest.New(), api.Options{Log: quiet()}), http.MethodPost, "/v1/plan?name=/etc/a.yaml", strings.Repeat("#", 1<<20+1))
	var p backstay.Problem
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Where != "/etc/a.yaml" || !strings.Contains(p.Do, "split it") {
		t.Errorf("%v: %s", err, w.Body)
	}
}
