package api_test

import (
	"strings"
	"testing"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
)

// What is not as the file has it is said with what to type, and has a status of
// its own; what is in force is not spoken of.
func TestOutcomesAreTold(t *testing.T) {
	for o, c := range map[api.Outcome]struct {
		exit backstay.ExitCode
		says string
	}{
		api.OutcomeInForce:    {backstay.ExitOK, ""},
		api.OutcomeStopped:    {backstay.ExitOK, ""},
		api.OutcomeRolledBack: {backstay.ExitRolledBack, ""}, // its deploy says it
		api.OutcomeNotTried:   {backstay.ExitDegraded, "backstay deploy shop --again"},
		api.OutcomeRefused:    {backstay.ExitDegraded, "backstay deploy shop, once"},
		api.OutcomeSuperseded: {backstay.ExitDegraded, "shop@3 is superseded"},
		api.OutcomeWaits:      {backstay.ExitPerson, "backstay resume shop"},
		api.OutcomeStuck:      {backstay.ExitPerson, "backstay why service/shop"},
		"":                    {backstay.ExitTimeout, ""},
	} {
		w := api.Wanted{Service: "shop", Release: "shop@3", Outcome: o, Why: "so"}
		if note := w.Note(); o.Exit() != c.exit || (note == "") != (c.says == "") || !strings.Contains(note, c.says) {
			t.Errorf("%q: %d, %q", o, o.Exit(), note)
		}
	}
	w := api.Wanted{Service: "shop", Outcome: api.OutcomeStuck, Why: "so"}
	if note := w.Note(); !strings.HasPrefix(note, "shop: what the file wants is not in force: so") {
		t.Errorf("a service whose state cannot be read: %q", note)
	}
}
