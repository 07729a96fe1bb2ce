package e2e

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
)

// killAtEveryLine follows a deploy to its end and kills the agent after every
// line that it tells, and a moment later than that if random is not nil. It
// returns the states in which the agent died.
func (o *oddNode) killAtEveryLine(id string, random *rand.Rand) (d api.Deploy, states []string) {
	o.t.Helper()
	died := map[string]int{}
	d = o.watched(id, func(p api.Progress) {
		if p.Final {
			return
		}
		if random != nil {
			time.Sleep(time.Duration(random.IntN(200)) * time.Millisecond)
		}
		died[p.State] += o.kill("agent", syscall.SIGKILL) // a line may be heard of one that is dead
	})
	o.t.Logf("the agent was killed in %v", died)
	maps.DeleteFunc(died, func(_ string, times int) bool { return times == 0 })
	return d, slices.Sorted(maps.Keys(died))
}

// An agent that dies after every single line of a deploy brings it to its end,
// and no request notices.
func TestAgentKilledInEveryStateOfADeploy(t *testing.T) {
	o := startOdd(t)
	random := seed(t)
	for round := range pick(1, 20) {
		version := o.install("")
		o.underLoad(func() {
			slow := o.ask("GET", "/?work=8s", "") // keeps an old one, so that there is something to finish
			time.Sleep(100 * time.Millisecond)
			d, states := o.killAtEveryLine(o.begin(version).ID, lateFrom(round, random))
			if d.State != api.DeployDone || !slices.Contains(states, "finishing") || !slices.Contains(states, "rolling") {
				t.Errorf("round %d: %s: %s; the agent died in %v", round, d.State, d.Reason, states)
			}
			if a := <-slow; a.err != nil {
				t.Errorf("the request in flight: %v", a.err)
			}
			o.at(version)
			if n := o.tries(version); n != o.replicas {
				t.Errorf("round %d: %d processes of %s were started for %d instances: the next agent did not go on in the middle", round, n, version, o.replicas)
			}
		})
	}
}

// lateFrom has the first round kill at once.
func lateFrom(round int, random *rand.Rand) *rand.Rand {
	if round == 0 {
		return nil
	}
	return random
}

// The same while a deploy is undone: it goes on going back.
func TestAgentKilledInEveryStateOfARollback(t *testing.T) {
	o := startOdd(t)
	random := seed(t)
	rounds, all := pick(1, 20), 0
	for round := range rounds {
		now, version := o.now(), o.install("")
		o.underLoad(func() {
			d := o.begin(version)
			aborted, kills := false, 0
			got := o.watched(d.ID, func(p api.Progress) {
				switch {
				case !aborted && strings.Contains(p.Text, " good "):
					aborted = true
					if _, err := o.client.OnDeploy(context.Background(), "abort", "odd"); err != nil {
						t.Fatal(err)
					}
				case aborted && !p.Final:
					if late := lateFrom(round, random); late != nil {
						time.Sleep(time.Duration(late.IntN(100)) * time.Millisecond)
					}
					kills += o.kill("agent", syscall.SIGKILL)
				}
			})
			least := 2
			if round > 0 { // it goes on while the kill waits for its moment: one line may be all that is left
				least = 1
			}
			if got.State != api.DeployRolledBack || kills < least {
				t.Errorf("round %d: %s after %d kills: %s", round, got.State, kills, got.Reason)
			}
			all += kills
			o.at(now)
		})
	}
	if 5*all < 6*rounds { // or the rounds have tried a single kill only, all of them
		t.Errorf("%d kills in %d rounds, want 6 in 5", all, rounds)
	}
}
