package api

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/backstay/backstay"
)

// Outcome is what has become of a release that a file wants.
type Outcome string

// The outcomes. The empty one is that it is not decided yet.
const (
	OutcomeInForce    Outcome = "in_force"    // it serves
	OutcomeRolledBack Outcome = "rolled_back" // by the deploy that the file has brought
	OutcomeNotTried   Outcome = "not_tried"   // rolled back before, or by hand: not tried again by itself
	OutcomeRefused    Outcome = "refused"     // a guard said no
	OutcomeSuperseded Outcome = "superseded"  // another release is wanted by now
	OutcomeStopped    Outcome = "stopped"     // no instance is wanted
	OutcomeWaits      Outcome = "waits"       // a deploy waits for a person
	OutcomeStuck      Outcome = "stuck"       // both releases are ill, or the only one is, or the state of the service cannot be read
)

// Exit returns the status of a command that has asked for a release of which o
// has become.
func (o Outcome) Exit() backstay.ExitCode {
	switch o {
	case OutcomeInForce, OutcomeStopped:
		return backstay.ExitOK
	case OutcomeRolledBack:
		return backstay.ExitRolledBack
	case OutcomeWaits, OutcomeStuck:
		return backstay.ExitPerson
	case OutcomeNotTried, OutcomeRefused, OutcomeSuperseded:
		return backstay.ExitDegraded
	default:
		return backstay.ExitTimeout
	}
}

// Wanted is the release that a file wants of a service, and what has become of
// it.
type Wanted struct {
	Service string `json:"service"`
	Release string `json:"release,omitempty"` // shop@3; empty where the state of the service cannot be read
	// After is the newest deploy that had ended when it was wanted; later ones
	// decide. Empty if there was none.
	After   string  `json:"after,omitempty"`
	Outcome Outcome `json:"outcome,omitempty"` // empty: not decided yet
	Why     string  `json:"why,omitempty"`     // of Outcome
	Deploy  *Deploy `json:"deploy,omitempty"`  // what decided it or, until then, what is under way
}

// Over reports whether w was decided, at the first look, by a deploy that it has
// brought about: its story is still to be told.
func (w Wanted) Over() bool {
	return w.Outcome != "" && w.Deploy != nil && w.Deploy.ID != w.After && w.Deploy.State != DeployRefused && !w.Deploy.Ended.IsZero()
}

// Note says what of w is not as the file has it; empty if nothing is, or if the
// deploy tells it.
func (w Wanted) Note() string {
	switch w.Outcome {
	case OutcomeNotTried:
		return fmt.Sprintf("%s: %s was rolled back (%s) and is not tried again by itself: backstay deploy %s --again", w.Service, w.Release, w.Why, w.Service)
	case OutcomeRefused:
		return fmt.Sprintf("%s: the deploy to %s was refused: %s; backstay deploy %s, once that is put right", w.Service, w.Release, w.Why, w.Service)
	case OutcomeSuperseded:
		return fmt.Sprintf("%s: %s is superseded: %s", w.Service, w.Release, w.Why)
	case OutcomeWaits:
		return fmt.Sprintf("%s: %s is not in force, a deploy waits for a person: %s; backstay resume %s or backstay abort %s", w.Service, w.Release, w.Why, w.Service, w.Service)
	case OutcomeStuck:
		return fmt.Sprintf("%s: %s is not in force: %s; backstay why service/%s", w.Service, cmp.Or(w.Release, "what the file wants"), w.Why, w.Service)
	default:
		return ""
	}
}

// outcome answers what has become of a release. While that is not decided the
// answer names the deploy under way, which is watched by progress.
func (s *server) outcome(c *call) error {
	name, err := c.name("service")
	if err != nil {
		return err
	}
	release, err := c.need("release", "send the release that is wanted, as in ?release="+name+"@3")
	if err != nil {
		return err
	}
	if service, _, ok := strings.Cut(release, "@"); !ok || service != name {
		return badParam("release", release, "send one of "+name+", as in "+name+"@3")
	}
	after := c.query.Get("after")
	if after != "" && !backstay.ValidName(after) {
		return badParam("after", after, "send the id of a deploy, as history shows it, or leave it out")
	}
	return ask(c, func(ctx context.Context) (Wanted, error) { return s.Outcome(ctx, name, release, after) })
}
