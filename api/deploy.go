package api

import (
	"fmt"
	"time"

	"github.com/backstay/backstay"
)

// DeployState is where a deploy is in its life.
type DeployState string

// The states of a deploy.
const (
	DeployChecking    DeployState = "checking"     // nothing has changed yet
	DeployRolling     DeployState = "rolling"      // instances of the new release come, old ones leave
	DeployFinishing   DeployState = "finishing"    // traffic has moved, old instances leave
	DeployPaused      DeployState = "paused"       // waits for a person
	DeployDone        DeployState = "done"         // traffic has moved, the old instances are gone
	DeployRollingBack DeployState = "rolling_back" // traffic first, instances second
	DeployRolledBack  DeployState = "rolled_back"  // the release it came from runs
	DeployStuck       DeployState = "stuck"        // both releases are ill, or the only one is; what is ready is kept
	DeployRefused     DeployState = "refused"      // not begun: a guard said no
	DeploySuperseded  DeployState = "superseded"   // another deploy took its place
	DeployFailed      DeployState = "failed"       // ended before anything was changed
)

// Ended reports whether nothing more happens in s by itself or by a person.
func (s DeployState) Ended() bool {
	switch s {
	case DeployDone, DeployRolledBack, DeployStuck, DeployRefused, DeploySuperseded, DeployFailed:
		return true
	default:
		return false
	}
}

// Again returns the command that tries the release of d once more, whatever is
// wanted by now.
func (d Deploy) Again() string { return again(d.Service, d.Version) }

func again(service, version string) string {
	if version != "" {
		version = " --version " + version
	}
	return "backstay deploy " + service + version + " --again"
}

// Exit returns the status of a command that waited for a deploy and found it in
// state s.
func (s DeployState) Exit() backstay.ExitCode {
	switch s {
	case DeployDone:
		return backstay.ExitOK
	case DeployRolledBack:
		return backstay.ExitRolledBack
	case DeployPaused, DeployStuck:
		return backstay.ExitPerson
	case DeployRefused:
		return backstay.ExitRefused
	case DeploySuperseded: // it had begun, and what runs now is not what was asked for
		return backstay.ExitDegraded
	case DeployFailed:
		return backstay.ExitFailed
	default:
		return backstay.ExitTimeout
	}
}

// Deploy is one move of a service from one release to another.
type Deploy struct {
	ID       string      `json:"id"` // of this deploy: shop-d12
	Service  string      `json:"service"`
	From     string      `json:"from,omitempty"` // shop@13; empty for the first release
	To       string      `json:"to"`
	Version  string      `json:"version,omitempty"` // of To
	Strategy string      `json:"strategy"`          // rolling, recreate
	State    DeployState `json:"state"`
	Since    time.Time   `json:"since"`          // of State
	Step     string      `json:"step,omitempty"` // what it waits for: "shop-1c44d0 to be ready for 5s"
	// Reason is why it is in State: "shop-9e01aa exited 3, 1.5s after it was
	// ready; no instance of shop@14 was ever good".
	Reason   string    `json:"reason,omitempty"`
	LastLog  []string  `json:"last_log,omitempty"` // of the instance in Reason, oldest first
	Started  time.Time `json:"started"`
	Deadline time.Time `json:"deadline,omitzero"` // of the present step
	Ended    time.Time `json:"ended,omitzero"`
	By       string    `json:"by,omitempty"`
	Why      string    `json:"why,omitempty"` // apply, deploy --version v2, rollback, restart
	Replaced int       `json:"replaced"`      // instances of To that are good
	Of       int       `json:"of"`            // instances wanted
	Leaving  int       `json:"leaving"`       // instances of From that are draining or stopping
	// Old and New are what first tries met while the deploy went on, by release: what
	// failed was repeated elsewhere where that is safe. A restart, which goes to the
	// release it came from, has New only.
	Old Counters `json:"old"`
	New Counters `json:"new"`
}

// Met says what first tries met at both releases: "shop@3 8 of 929 failed, shop@2
// 0 of 2000".
func (d Deploy) Met() string {
	text := fmt.Sprintf("%s %d of %d failed", d.To, d.New.Failed, d.New.Requests)
	if d.From != "" && d.From != d.To {
		text += fmt.Sprintf(", %s %d of %d", d.From, d.Old.Failed, d.Old.Requests)
	}
	return text + "; what is safe to repeat was repeated elsewhere"
}

// Progress is one line of a deploy or of down. The last line of a stream has
// Final set.
type Progress struct {
	N     int       `json:"n"` // from 1, in one deploy
	At    time.Time `json:"at"`
	Text  string    `json:"text"` // "shop-3fa9c1 withdrawn (ack 1/1 in 2ms), 9 in flight"
	State string    `json:"state,omitempty"`
	Final bool      `json:"final,omitempty"`
	// Deploy is the deploy at this line, where the line belongs to one; always set
	// in its last line.
	Deploy *Deploy `json:"deploy,omitempty"`
}

// Release is one version of a service's definition, without what only the agent
// may see.
type Release struct {
	ID         string    `json:"id"` // shop@14
	Service    string    `json:"service"`
	Seq        int       `json:"seq"`
	Version    string    `json:"version,omitempty"`
	Digest     string    `json:"digest"`
	At         time.Time `json:"at"`
	By         string    `json:"by,omitempty"`
	Why        string    `json:"why,omitempty"`
	Current    bool      `json:"current"`               // what should run
	Good       bool      `json:"good"`                  // a deploy to it has ended in done
	RolledBack string    `json:"rolled_back,omitempty"` // why it was undone; not tried again by itself
	// NotRestorable is why it could not be started again: its program was
	// overwritten. Empty if it could.
	NotRestorable string `json:"not_restorable,omitempty"`
	Instances     int    `json:"instances"` // that run it now
}
