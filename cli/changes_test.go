package cli_test

import (
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/api/apitest"
)

// changes are the states that a script brings the backend into.
var changes = map[string]func(*apitest.Backend){
	"dead-instance": func(b *apitest.Backend) {
		i := &b.State.Services[1].Instances[0]
		i.State, i.Ready, i.NextStart, i.Failures = backstay.Backoff, false, apitest.Now.Add(3*time.Second), 1
		i.Last = &backstay.Exit{At: apitest.Now, Known: true, Code: 3}
	},
	"deploy-ends-well": func(b *apitest.Backend) {
		step(b, "shop-1c44d0 ready, good", false, api.DeployRolling, "")
		step(b, "3 of 3 replaced", true, api.DeployDone, "")
	},
	"deploy-dies": func(b *apitest.Backend) {
		step(b, "shop-9e01aa exited 3", false, api.DeployRollingBack, "it died")
		step(b, "back at shop@2", true, api.DeployRolledBack, "shop-9e01aa exited 3, 1.5s after it was ready")
		b.Steps[1].Deploy.LastLog = []string{"panic: assignment to entry in nil map"}
	},
	"deploy-pauses": func(b *apitest.Backend) {
		step(b, "shop-1c44d0 ready, good", false, api.DeployPaused, "") // lines come with the deploy as it is now
		step(b, "paused: shop-9e01aa died", true, api.DeployPaused, "a person is asked")
	},
	"deploy-sticks": func(b *apitest.Backend) {
		step(b, "both are ill", true, api.DeployStuck, "shop@2 is not ready either")
	},
	"deploy-superseded": func(b *apitest.Backend) {
		step(b, "superseded", true, api.DeploySuperseded, "by shop-d4")
	},
	"deploy-running": func(b *apitest.Backend) { b.State.Services[1].Deploy.State = api.DeployRolling },

	"apply-follows":    follows,
	"apply-over":       over,
	"apply-superseded": applyEnds(api.OutcomeSuperseded),
	"apply-refused":    applyEnds(api.OutcomeRefused),
	"apply-undone":     applyEnds(api.OutcomeNotTried),
	"apply-waits":      applyEnds(api.OutcomeWaits),

	"down-ends": func(b *apitest.Backend) {
		step(b, "shop: 3 instances draining", false, "", "")
		b.Steps = append(b.Steps, api.Progress{N: 2, At: apitest.Now, Text: "all is stopped", Final: true})
	},
	"agent-breaks": func(b *apitest.Backend) { b.Broken = 1 },
	"no-file": func(b *apitest.Backend) {
		b.Fail = &backstay.Problem{Code: "no_config", What: "there is no file in force", Where: "x.yaml", Do: "apply one"}
	},
	"bad-file": func(b *apitest.Backend) { b.Mistake = noUnit },

	"overridden": func(b *apitest.Backend) {
		b.State.Overrides = []api.Override{{Ref: "service/shop", What: "version", Value: "v2", File: "v1", By: "ann", Ending: "backstay deploy shop --version v1"}}
	},
	"notes": func(b *apitest.Backend) {
		b.Notes = []string{"shop: shop@2 was rolled back and is not tried again by itself: backstay deploy shop --again"}
	},
	"also": func(b *apitest.Backend) { b.Also = []string{"starts what down of ann has stopped"} },
	"lines": func(b *apitest.Backend) {
		for n, text := range []string{"listening on :20001", "\x1b[31mpanic\x1b[0m\tat 7"} {
			b.Lines = append(b.Lines, api.LogLine{At: apitest.Before(time.Duration(10-n) * time.Second), Service: "shop", Instance: "shop-11aa11", Stream: []string{"stdout", "stderr"}[n], Text: text})
		}
	},
	"events": func(b *apitest.Backend) {
		b.Past = []backstay.Event{
			{ID: "n1/1/1", At: apitest.Before(time.Minute), Kind: backstay.StateChanged, Ref: "service/shop/shop-11aa11", From: "running", To: "crashed", Because: "exited 3"},
			{ID: "n1/1/2", At: apitest.Now, Kind: backstay.OverrideSet, Ref: "service/shop", Because: "replicas 5", Actor: "ann"},
		}
	},
}

// step adds a line to what a deploy to shop@3 says.
func step(b *apitest.Backend, text string, final bool, state api.DeployState, reason string) {
	d := api.Deploy{
		ID: "shop-d3", Service: "shop", From: "shop@2", To: "shop@3", Version: "v3", Strategy: "rolling", State: state, Reason: reason,
		Started: apitest.Now, Since: apitest.Now, Of: 3,
	}
	if state.Ended() {
		d.Ended = apitest.Now.Add(11200 * time.Millisecond)
	}
	b.Steps = append(b.Steps, api.Progress{N: len(b.Steps) + 1, At: apitest.Now, Text: text, Final: final, State: string(state), Deploy: &d})
}

// follows has shop@2 roll, while shop@3 is wanted.
func follows(b *apitest.Backend) {
	wanted := func(o api.Outcome, d *api.Deploy) api.Wanted {
		return api.Wanted{Service: "shop", Release: "shop@3", After: "shop-d1", Outcome: o, Deploy: d}
	}
	step(b, "shop-1c44d0 ready, good", true, api.DeployDone, "")
	rolling := api.Deploy{ID: "shop-d2", Service: "shop", From: "shop@1", To: "shop@2", State: api.DeployRolling}
	dead := api.Deploy{ID: "shop-d3", Service: "shop", From: "shop@2", To: "shop@3", State: api.DeployRolledBack, Reason: "it died"}
	b.Wants = []api.Wanted{wanted("", &rolling)}
	b.Outcomes = []api.Wanted{wanted("", nil), wanted("", &dead), wanted(api.OutcomeRolledBack, &dead)}
}

// over has the deploy of what is applied end before the answer.
func over(b *apitest.Backend) {
	b.Steps = nil
	step(b, "shop-9e01aa exited 3", true, api.DeployRolledBack, "it died at once")
	b.Wants = []api.Wanted{{Service: "shop", Release: "shop@3", After: "shop-d2", Outcome: api.OutcomeRolledBack, Deploy: b.Steps[0].Deploy}}
}

// applyEnds has what a file wants of shop come to o.
func applyEnds(o api.Outcome) func(*apitest.Backend) {
	return func(b *apitest.Backend) {
		b.Wants = []api.Wanted{{Service: "shop", Release: "shop@3"}}
		b.Outcomes = []api.Wanted{{Service: "shop", Release: "shop@3", Outcome: o, Why: "shop@4 is wanted now"}}
	}
}

// noUnit is the mistake of every file.
func noUnit(name string, _ []byte) error {
	return &api.Refusal{
		Problem:  backstay.Problem{Code: "invalid_file", What: "1 mistake in " + name, Where: name, Do: "change the line"},
		Mistakes: []backstay.Problem{{Code: "no_unit", What: "30 has no unit", Where: name + ":3:1", Do: "try 30s"}},
		Text:     "shop.yaml:3:1: 30 has no unit\n    3 | grace: 30\n      |        ^ try 30s",
	}
}
