package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/host/proc/keeperclient"
	"github.com/backstay/backstay/internal/hosttest"
)

const versionFile = `schema: 1
services:
  shop:
    version: v1
    run: { exec: [SELF, serve, "127.0.0.1:${port.http}", "${version}"], user: "USER" }
    ports: { http: auto }
    probes: { readiness: { http: /, period: 200ms, timeout: 200ms } }
    deploy: { min_ready: 100ms }
`

// A version that stands over the file ends when the file's is asked for, be it
// running already or not.
func TestVersionOverrideEnds(t *testing.T) {
	t.Parallel()
	n := start(t, versionFile)
	n.whole("shop", 1)
	deploy := func(version string) {
		t.Helper()
		_, err := n.client.Deploy(t.Context(), "shop", api.DeployAsk{Version: version})
		must(t, err)
		n.until(version, func(s api.Status) bool { return s.Services[0].Version == version })
		n.whole("shop", 1)
	}
	deploy("v2")
	if o := n.status().Overrides; len(o) != 1 || o[0].What != "version" || o[0].Value != "v2" {
		t.Fatalf("overrides: %+v", o)
	}
	since := n.status().Overrides[0].Since
	n.kill("agent")
	if o := n.status().Overrides; len(o) != 1 || !o[0].Since.Equal(since) {
		t.Fatalf("overrides after the agent's death: %+v, since %v", o, since)
	}
	_, err := n.client.Deploy(t.Context(), "shop", api.DeployAsk{Version: "v2"})
	if codeOf(err) != "nothing_to_deploy" || len(n.status().Overrides) != 1 {
		t.Fatalf("the same again: %v, %+v", err, n.status().Overrides)
	}
	_, err = n.client.Deploy(t.Context(), "shop", api.DeployAsk{Reset: true})
	must(t, err)
	n.until("v1", func(s api.Status) bool { return s.Services[0].Version == "v1" })
	n.whole("shop", 1)
	if o := n.status().Overrides; len(o) != 0 {
		t.Fatalf("overrides: %+v", o)
	}
	// The file takes over what an override had said.
	deploy("v3")
	must(t, n.apply(strings.ReplaceAll(versionFile, "version: v1", "version: v3")))
	if o := n.status().Overrides; len(o) != 0 {
		t.Fatalf("overrides, where the file says the same: %+v", o)
	}
	// A release that was gone back to by itself runs while the override stands.
	_, err = n.client.Deploy(t.Context(), "shop", api.DeployAsk{Version: "v4"})
	must(t, err)
	_, err = n.client.OnDeploy(t.Context(), "abort", "shop")
	must(t, err)
	n.until("v3 again", func(s api.Status) bool { return s.Services[0].Version == "v3" && s.Services[0].Deploy.State.Ended() })
	d, err := n.client.Deploy(t.Context(), "shop", api.DeployAsk{Version: "v3"})
	if err != nil || !strings.HasPrefix(d.To, "shop@") {
		t.Fatalf("ending it: %+v, %v", d, err)
	}
	if o := n.status().Overrides; len(o) != 0 {
		t.Fatalf("overrides: %+v", o)
	}
}

// Drain answers when the proxy knows, status shows it as an override, and
// undrain ends it.
func TestDrainIsAcknowledgedAndShown(t *testing.T) {
	t.Parallel()
	port := hosttest.FreePort(t)
	n := start(t, shopFile(port, ""))
	id := n.whole("shop", 2).Instances[0].ID
	ref := backstay.NewRef("instance", id)
	for range 3 {
		done, err := n.client.Do(t.Context(), "drain", ref)
		must(t, err)
		if !done.Changed || done.Text != id+" takes no new requests" {
			t.Fatalf("drain: %+v", done)
		}
		if s := n.snapshot(); !strings.Contains(s, `"drain": true`) {
			t.Fatalf("the proxy has not heard of it:\n%s", s)
		}
		o := n.status().Overrides
		if len(o) != 1 || o[0].Ref != ref || o[0].What != "drained" || o[0].Ending != "backstay undrain "+id {
			t.Fatalf("overrides: %+v", o)
		}
		done, err = n.client.Do(t.Context(), "undrain", ref)
		must(t, err)
		if !done.Changed {
			t.Fatalf("undrain: %+v", done)
		}
		if s := n.snapshot(); strings.Contains(s, `"drain": true`) || len(n.status().Overrides) != 0 {
			t.Fatalf("it goes on: %+v\n%s", n.status().Overrides, s)
		}
	}
	if done, err := n.client.Do(t.Context(), "undrain", "service/shop"); err != nil || done.Changed {
		t.Errorf("undrain of what is not drained: %+v, %v", done, err)
	}
	_, err := n.client.Do(t.Context(), "drain", "instance/shop-000000")
	if codeOf(err) != "not_found" {
		t.Errorf("drain of nothing: %v", err)
	}
	for _, verb := range []string{"start", "restart"} {
		if _, err := n.client.Do(t.Context(), verb, "instance/shop-000000"); codeOf(err) != "not_found" {
			t.Errorf("%s of nothing: %v", verb, err)
		}
	}
}

// Who has drained an instance, and when, is known as long as it is drained: over
// the death of the agent and of the instance itself. Plan says so too.
func TestWhoDrainedIsNotForgotten(t *testing.T) {
	t.Parallel()
	file := shopFile(hosttest.FreePort(t), "")
	n := start(t, file)
	i := n.whole("shop", 2).Instances[0]
	ref := backstay.NewRef("instance", i.ID)
	_, err := n.client.Do(t.Context(), "drain", ref)
	must(t, err)
	drained := func(s api.Status) api.Override {
		if len(s.Overrides) != 1 || s.Overrides[0].By == "" || s.Overrides[0].Since.IsZero() {
			t.Fatalf("overrides: %+v", s.Overrides)
		}
		return s.Overrides[0]
	}
	was := drained(n.status())
	n.kill("agent")
	if is := drained(n.status()); is.By != was.By || !is.Since.Equal(was.Since) {
		t.Errorf("after the agent's death %+v, was %+v", is, was)
	}
	p, err := os.FindProcess(i.PID)
	must(t, err)
	must(t, p.Kill())
	s := n.until("another run", func(s api.Status) bool { now := s.Services[0].Instances[0]; return now.PID != i.PID && now.Ready })
	if is := drained(s); is.By != was.By || !is.Since.Equal(was.Since) {
		t.Errorf("after the instance's death %+v, was %+v", is, was)
	}
	if by := s.Services[0].Instances[0].DrainedBy; by != was.By {
		t.Errorf("the instance says %q", by)
	}
	if done, err := n.client.Do(t.Context(), "drain", ref); err != nil || done.Changed {
		t.Errorf("the same again: %+v, %v", done, err)
	}
	plan, err := n.client.Plan(t.Context(), n.opt.File, []byte(n.fill(file)))
	must(t, err)
	if len(plan.Overrides) != 1 || plan.Overrides[0].Ref != ref {
		t.Errorf("plan: %+v", plan.Overrides)
	}
}

// A file that is refused does not end down, one that is taken does, and down is
// known to the agent that comes next.
func TestDownEndsWithTheNextFile(t *testing.T) {
	t.Parallel()
	port := hosttest.FreePort(t)
	n := start(t, shopFile(port, ""))
	n.whole("shop", 2)
	must(t, n.client.Down(t.Context(), func(api.Progress) error { return nil }))
	n.kill("agent")
	if s := n.status(); s.Down == nil || !s.Down.Done {
		t.Fatalf("down: %+v", s.Down)
	}
	taken := occupy(t, hosttest.FreePort(t))
	more := fmt.Sprintf("  more: { bind: [%q], routes: [{ to: shop }] }\n", taken.Addr().String())
	if err := n.apply(shopFile(port, more)); codeOf(err) != "bind_failed" {
		t.Fatalf("apply: %v", err)
	}
	if s := n.status(); s.Down == nil || len(s.Services[0].Instances) != 0 {
		t.Fatalf("a refused file has ended down: %+v", s)
	}
	must(t, n.apply(shopFile(port, "")))
	n.whole("shop", 2)
	if s := n.status(); s.Down != nil {
		t.Fatalf("down: %+v", s.Down)
	}
}

// hup is the number of SIGHUP.
const hup = 1

// A file without services may be the beginning of one that is being saved: it
// stops nothing unless that is asked for in so many words.
func TestFileWithoutServicesStopsNothingUnasked(t *testing.T) {
	t.Parallel()
	n := start(t, versionFile)
	before := n.whole("shop", 1).Instances[0].PID
	ask := api.ConfigAsk{Name: n.opt.File, Text: []byte("schema: 1\n")}
	if _, err := n.client.Apply(t.Context(), ask); codeOf(err) != "stops_everything" {
		t.Errorf("apply: %v", err)
	}
	n.write("schema: 1\n")
	k, err := keeperclient.Dial(t.Context(), keeperclient.Options{Socket: filepath.Join(n.opt.Dirs.Keeper(), "sock")})
	must(t, err)
	defer k.Close()
	must(t, k.Signal(t.Context(), agentID, hup))
	n.until("the refusal", func(s api.Status) bool { return s.Config.Refused != nil && s.Config.Refused.Code == "stops_everything" })
	if now := n.whole("shop", 1).Instances[0].PID; now != before {
		t.Errorf("pid %d was %d", now, before)
	}
	p, err := n.client.Plan(t.Context(), ask.Name, ask.Text)
	must(t, err)
	if len(p.Notes) != 1 || !strings.Contains(p.Notes[0], "--stop-all") {
		t.Errorf("plan notes %q", p.Notes)
	}
	ask.StopAll = true
	_, err = n.client.Apply(t.Context(), ask)
	must(t, err)
	n.until("nothing", func(s api.Status) bool { return len(s.Services) == 0 })
}

// A deploy that is refused leaves no release behind. A file that wants it all the
// same is in force, and says so: in the answer, in status, and after the agent's
// death.
func TestRefusedDeployLeavesNoReleaseBehind(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	must(t, os.Link(self, n.dir+"/prog"))
	file := strings.ReplaceAll(versionFile, "SELF", "DIR/prog")
	n.write(file)
	must(t, launchKeeper(t.Context(), n.opt))
	n.whole("shop", 1)
	n.replace() // there is no way back
	_, err := n.client.Deploy(t.Context(), "shop", api.DeployAsk{Version: "v2"})
	if codeOf(err) != "rollback_not_startable" {
		t.Fatal(err)
	}
	releases := func() int {
		all, err := n.client.Releases(t.Context(), "shop")
		must(t, err)
		return len(all)
	}
	if got := releases(); got != 1 {
		t.Errorf("%d releases, one has been", got)
	}
	if h, err := n.client.History(t.Context(), "shop"); err != nil || h[0].Version != "v2" || h[0].State != api.DeployRefused {
		t.Errorf("history: %+v, %v", h, err)
	}
	wants := strings.ReplaceAll(file, "version: v1", "version: v2")
	applied, err := n.client.Apply(t.Context(), api.ConfigAsk{Name: n.opt.File, Text: []byte(n.fill(wants))})
	must(t, err)
	if !strings.Contains(strings.Join(applied.Notes, " "), "was refused") {
		t.Errorf("apply says nothing of it: %q", applied.Notes)
	}
	n.kill("agent")
	s := n.whole("shop", 1)
	if s.Version != "v1" || s.Wanted == "" || s.Deploy.To != s.Wanted || s.Deploy.State != api.DeployRefused || releases() != 2 {
		t.Errorf("status does not tell what is refused: %+v", s)
	}
	must(t, os.Remove(n.dir+"/prog"))
	must(t, os.Link(self, n.dir+"/prog"))
	must(t, n.apply(file))
	if s := n.whole("shop", 1); s.Wanted != "" || releases() != 1 {
		t.Errorf("nothing but what runs is wanted: %+v", s)
	}
}

// What is applied while it is in force already stays since when it was, by whom
// it was, over a start of everything as well; a file that comes back is anew.
func TestAppliedAgainIsNoNewEntry(t *testing.T) {
	t.Parallel()
	n := start(t, versionFile)
	other := versionFile + "# another\n"
	must(t, n.apply(other))
	must(t, n.apply(versionFile))
	entries := func() []api.Config {
		t.Helper()
		all, err := n.client.Configs(t.Context())
		must(t, err)
		return all
	}
	before, gen := entries(), n.status().Generation
	if len(before) != 2 || !before[0].InUse || before[0].At.Before(before[1].At) {
		t.Fatalf("history: %+v", before)
	}
	_, err := n.client.Apply(t.Context(), api.ConfigAsk{Name: "elsewhere.yaml", Text: []byte(n.fill(versionFile))})
	must(t, err)
	must(t, n.client.Down(t.Context(), func(api.Progress) error { return nil }))
	must(t, leave(t.Context(), n.opt.Dirs))
	must(t, launchKeeper(t.Context(), n.opt)) // the same file, at the next boot
	n.whole("shop", 1)
	if after := entries(); !slices.Equal(after, before) {
		t.Errorf("history\n%+v\nwas\n%+v", after, before)
	}
	s := n.status()
	if s.Generation <= gen || !s.Config.AppliedAt.Equal(before[0].At) {
		t.Errorf("generation %d after %d, in force since %v", s.Generation, gen, s.Config.AppliedAt)
	}
}
