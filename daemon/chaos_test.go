package daemon

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/internal/hosttest"
)

// An agent that is killed at any moment of a change leaves the file before or
// the new one, whole: what is in force, what is bound and what runs belong
// together, and the same file can be applied again.
func TestAgentKilledInTheMiddleOfAChange(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	dice := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // a test's own
	ports := []int{hosttest.FreePort(t), hosttest.FreePort(t), hosttest.FreePort(t)}
	text := func(i int) string {
		return strings.ReplaceAll(shopFile(ports[0], fmt.Sprintf("  more: { bind: [\"127.0.0.1:%d\", \"unix:DIR/s%d\"], routes: [{ to: shop }] }\n", ports[1+i%2], i%2)), "replicas: 2", fmt.Sprintf("replicas: %d", 1+i%2))
	}
	n := start(t, text(0))
	n.whole("shop", 1)
	for i := 1; i <= 5; i++ {
		var killing sync.WaitGroup
		pid := n.status().Role("agent").PID
		pause := time.Duration(dice.IntN(60)) * time.Millisecond
		killing.Go(func() {
			time.Sleep(pause)
			if p, err := os.FindProcess(pid); err == nil {
				_ = p.Kill()
			}
		})
		answer := n.apply(text(i))
		killing.Wait()
		n.until("a file in force", func(s api.Status) bool { return s.Config.Digest != "" && s.Role("agent").PID != pid })
		must(t, n.apply(text(i)))
		n.whole("shop", 1+i%2)
		gone, here := ports[1+(i+1)%2], ports[1+i%2]
		if got, err := get(fmt.Sprintf("http://127.0.0.1:%d/", here)); err != nil || !strings.HasPrefix(got, "one") {
			t.Fatalf("round %d (apply said %v): %q, %v\n%s", i, answer, got, err, n.story())
		}
		if _, err := get(fmt.Sprintf("http://127.0.0.1:%d/", gone)); err == nil || !strings.Contains(err.Error(), "refused") {
			t.Fatalf("round %d: the address that is gone: %v", i, err)
		}
	}
}

// Whatever people ask for at once, each gets an answer with a code, and what is
// left is what was asked for last.
func TestPeopleAskAtOnce(t *testing.T) {
	t.Parallel()
	port := hosttest.FreePort(t)
	n := start(t, strings.Replace(shopFile(port, ""), "run: {", "version: v1\n    run: {", 1))
	n.whole("shop", 2)
	asks := []func() error{
		func() error { k := 3; _, err := n.client.Scale(t.Context(), "shop", &k); return err },
		func() error { _, err := n.client.Scale(t.Context(), "shop", nil); return err },
		func() error { _, err := n.client.Do(t.Context(), "stop", "service/shop"); return err },
		func() error { _, err := n.client.Do(t.Context(), "start", "service/shop"); return err },
		func() error { _, err := n.client.Do(t.Context(), "drain", "service/shop"); return err },
		func() error { _, err := n.client.Do(t.Context(), "undrain", "service/shop"); return err },
		func() error { _, err := n.client.Do(t.Context(), "restart", "service/shop"); return err },
		func() error {
			_, err := n.client.Deploy(t.Context(), "shop", api.DeployAsk{Version: "v2", Supersede: true})
			return err
		},
		func() error { _, err := n.client.OnDeploy(t.Context(), "abort", "shop"); return err },
		func() error { return n.apply(shopFile(port, "")) },
		func() error { _, err := n.client.Status(t.Context()); return err },
	}
	var all sync.WaitGroup
	for range 3 {
		for _, ask := range asks {
			all.Go(func() {
				err := ask()
				if code := codeOf(err); err != nil && (code == "internal" || !isKnown(code)) {
					t.Errorf("an answer without a code: %v", err)
				}
			})
		}
	}
	all.Wait()
	must(t, n.apply(shopFile(port, "")))
	_, err := n.client.Scale(t.Context(), "shop", nil)
	must(t, err)
	_, err = n.client.Do(t.Context(), "start", "service/shop")
	must(t, err)
	n.until("two that serve", func(s api.Status) bool {
		d := s.Services[0].Deploy
		return len(s.Services[0].Instances) == 2 && (d == nil || d.State.Ended())
	})
	_, err = n.client.Do(t.Context(), "undrain", "service/shop")
	must(t, err)
	if _, err = n.client.Deploy(t.Context(), "shop", api.DeployAsk{Again: true}); err != nil && codeOf(err) != "nothing_to_deploy" {
		t.Errorf("deploy of what the file says: %v", err)
	}
	n.whole("shop", 2)
}

func isKnown(code string) bool { _, ok := api.Lookup(code); return ok }

// What a unit starts becomes the keeper. Told to end it leaves what runs, and
// started again it adopts that.
func TestUnitsKeeperLeavesAndAdopts(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.write(shopFile(hosttest.FreePort(t), ""))
	unit := n.agent()
	n.whole("shop", 2)
	ids := pidsOf(n.whole("shop", 2))
	if got := n.status().Role("keeper").PID; got != unit.Pid {
		t.Errorf("the keeper is pid %d, and the unit started %d", got, unit.Pid)
	}
	k := n.keeper()
	must(t, k.Leave(t.Context()))
	must(t, k.Close())
	n.ends(unit)
	next := n.agent()
	n.until("the next keeper", func(s api.Status) bool { return s.Role("keeper").PID == next.Pid })
	if now := pidsOf(n.whole("shop", 2)); now != ids {
		t.Errorf("after another keeper: %s, had %s", now, ids)
	}
	n.kill("keeper")
	if now := pidsOf(n.whole("shop", 2)); now != ids {
		t.Errorf("after the keeper's death: %s, had %s", now, ids)
	}
	n.ends(next)
}

func pidsOf(s api.Service) string {
	text := ""
	for _, i := range s.Instances {
		text += fmt.Sprintf("%s=%d ", i.ID, i.PID)
	}
	return text
}

// agent starts what a unit starts.
func (n *node) agent() *os.Process {
	n.Helper()
	out, err := os.OpenFile(n.dir+"/front.out", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	must(n, err)
	defer out.Close()
	d := n.opt.Dirs
	p, err := os.StartProcess(self, []string{self, "agent", "--run-dir", d.Run, "--state-dir", d.State, "--log-dir", d.Log, "--config", n.opt.File},
		&os.ProcAttr{Files: []*os.File{nil, out, out}, Env: os.Environ()})
	must(n, err)
	n.Cleanup(func() { _ = p.Release() })
	return p
}
