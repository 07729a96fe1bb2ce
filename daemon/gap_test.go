package daemon

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/config"
	"github.com/backstay/backstay/internal/hosttest"
)

// gapFile is services that print their own names, and a frontend with routes.
func gapFile(port int, routes string, services ...string) string {
	b := &strings.Builder{}
	b.WriteString("schema: 1\nservices:\n")
	for _, name := range services {
		fmt.Fprintf(b, `  %s:
    run: { exec: [SELF, serve, "127.0.0.1:${port.http}", %s], user: "USER" }
    ports: { http: auto }
    probes: { readiness: { http: /, period: 100ms } }
    deploy: { min_ready: 100ms }
`, name, name)
	}
	fmt.Fprintf(b, "frontends:\n  web: { bind: [\"127.0.0.1:%d\"], routes: [%s] }\n", port, routes)
	return b.String()
}

// A service gets another name without the loss of a request: what would lose
// some is refused, and says how it is done.
func TestARouteDoesNotLeadIntoNothing(t *testing.T) {
	t.Parallel()
	port := hosttest.FreePort(t)
	url := fmt.Sprintf("http://127.0.0.1:%d/", port)
	n := start(t, gapFile(port, "{ to: old }", "old"))
	n.whole("old", 1)
	both, after := gapFile(port, "{ to: old }", "old", "new"), gapFile(port, "{ to: new }", "new")
	p, err := n.client.Plan(t.Context(), n.opt.File, []byte(n.fill(after)))
	must(t, err)
	if !slices.ContainsFunc(p.Notes, func(s string) bool { return strings.Contains(s, "without --gap") }) {
		t.Errorf("plan notes %q", p.Notes)
	}
	if err := n.apply(after); codeOf(err) != "opens_gap" || !strings.Contains(err.Error(), "from old, which answers, to new") {
		t.Fatalf("apply: %v", err)
	}
	var stop atomic.Bool
	lost := make(chan []string, 1)
	go func() {
		var all []string
		for !stop.Load() {
			if got, err := get(url); err != nil || !strings.HasPrefix(got, "old") && !strings.HasPrefix(got, "new") {
				all = append(all, fmt.Sprint(got, err))
			}
		}
		lost <- all
	}()
	must(t, n.apply(both))
	n.whole("new", 1)
	must(t, n.apply(after))
	n.until("the old one is gone", func(s api.Status) bool { return len(s.Services) == 1 })
	stop.Store(true)
	if all := <-lost; len(all) > 0 {
		t.Errorf("%d lost: %s", len(all), all[0])
	}
	if got, err := get(url); err != nil || !strings.HasPrefix(got, "new") {
		t.Errorf("%q, %v", got, err)
	}
	_, err = n.client.Apply(t.Context(), api.ConfigAsk{Name: n.opt.File, Text: []byte(n.fill(gapFile(port, "{ to: third }", "third"))), Gap: true})
	must(t, err)
}

// Only what takes requests from one who answers is a gap.
func TestGapsAreTakenRequests(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	was := gapFile(1024, "{ path: /a/, to: a }, { path: /x, to: idle }, { to: b }", "a", "b", "idle")
	for name, c := range map[string]struct{ is, want string }{
		"the same":               {was, ""},
		"another name":           {gapFile(1024, "{ path: /a/, to: c }, { to: b }", "b", "c"), "a → c"},
		"another frontend there": {strings.Replace(gapFile(1024, "{ path: /a/, to: c }, { to: b }", "b", "c"), "  web:", "  site:", 1), "a → c"},
		"the second route":       {gapFile(1024, "{ path: /a/, to: a }, { to: c }", "a", "c"), "b → c"},
		"to one that is ready":   {gapFile(1024, "{ path: /a/, to: b }, { to: a }", "a", "b"), ""},
		"to one that is idle":    {gapFile(1024, "{ path: /a/, to: idle }, { to: b }", "b", "idle"), "a → idle"},
		"a new route":            {gapFile(1024, "{ path: /c/, to: c }, { path: /a/, to: a }, { to: b }", "a", "b", "c"), ""},
		"a route less":           {gapFile(1024, "{ to: b }", "b"), ""},
		"a new address":          {strings.Replace(gapFile(1025, "{ path: /a/, to: c }, { to: b }", "b", "c"), "  web:", "  site:", 1), ""},
		"from who is idle":       {gapFile(1024, "{ path: /a/, to: a }, { path: /x, to: c }, { to: b }", "a", "b", "c"), ""},
		"an answer of its own":   {gapFile(1024, "{ respond: { status: 404 } }", "c"), ""},
	} {
		before, err := config.Parse("was", []byte(n.fill(was)))
		must(t, err)
		after, err := config.Parse("is", []byte(n.fill(c.is)))
		must(t, err)
		got := ""
		if g, ok := firstGap(before, after, func(s string) bool { return s == "a" || s == "b" }); ok {
			got = g.from + " → " + g.to
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// Two services that have a fixed port in common cannot be there at once: what is
// to be done is another thing.
func TestAGapOfTheSamePortSaysSo(t *testing.T) {
	t.Parallel()
	port, own := hosttest.FreePort(t), hosttest.FreePort(t)
	fixed := func(name string) string {
		return strings.NewReplacer("http: auto", fmt.Sprintf("http: %d", own), "min_ready: 100ms", "strategy: recreate").
			Replace(gapFile(port, "{ to: "+name+" }", name))
	}
	n := start(t, fixed("two"))
	n.whole("two", 1)
	if err := n.apply(fixed("three")); codeOf(err) != "opens_gap" || !strings.Contains(err.Error(), "in common") {
		t.Fatalf("apply: %v", err)
	}
	_, err := n.client.Apply(t.Context(), api.ConfigAsk{Name: n.opt.File, Text: []byte(n.fill(fixed("three"))), Gap: true})
	must(t, err)
	if s := n.whole("three", 1); s.Instances[0].Starts != 1 {
		t.Errorf("it was started %d times, for the other one had its port", s.Instances[0].Starts)
	}
}

// A service does not get the port of a frontend in the step by which that leaves.
func TestAPortMovesInTwoSteps(t *testing.T) {
	t.Parallel()
	port, other := hosttest.FreePort(t), hosttest.FreePort(t)
	was := gapFile(port, "{ to: shop }", "shop")
	is := gapFile(other, "{ to: shop }", "shop") // its fixed port is that of the frontend before
	is = strings.Replace(is, "frontends:", fmt.Sprintf(`  web:
    run: { exec: [SELF, serve, "127.0.0.1:${port.http}", web], user: "USER" }
    ports: { http: %d }
    deploy: { strategy: recreate }
frontends:`, port), 1)
	n := start(t, was)
	n.whole("shop", 1)
	if err := n.apply(is); codeOf(err) != "port_moves" {
		t.Fatalf("apply: %v", err)
	}
	must(t, n.apply(gapFile(other, "{ to: shop }", "shop")))
	must(t, n.apply(is))
	if s := n.whole("web", 1); s.Instances[0].Starts != 1 {
		t.Errorf("it was started %d times", s.Instances[0].Starts)
	}
}
