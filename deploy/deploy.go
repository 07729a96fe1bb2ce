package deploy

import (
	"slices"
	"time"

	"github.com/backstay/backstay"
)

// State is where a deploy is in its life.
type State string

// The states. Those after RollingBack are final.
const (
	Rolling     State = "rolling"      // instances of the new release come, old ones leave
	Finishing   State = "finishing"    // traffic has moved, old instances leave
	Paused      State = "paused"       // waits for a person
	RollingBack State = "rolling_back" // traffic first, instances second
	Done        State = "done"         // the new release serves, the old instances are gone
	RolledBack  State = "rolled_back"  // the release it came from serves, the new instances are gone
	Stuck       State = "stuck"        // both are ill: what is ready is kept
	Refused     State = "refused"      // not begun: a guard said no
	Superseded  State = "superseded"   // another deploy, a stop or a removal took its place
)

// Ended reports whether s is final.
func (s State) Ended() bool {
	switch s {
	case Rolling, Finishing, Paused, RollingBack:
		return false
	default:
		return true
	}
}

// Kind is what a deploy is for.
type Kind string

// The kinds.
const (
	First    Kind = "first"    // the first release of a service
	Roll     Kind = "deploy"   // from one release to the next
	Restart  Kind = "restart"  // to the same release, with new instances
	Rollback Kind = "rollback" // by hand: no steps, no judging
)

// Deploy is one move of a service from a release to another. It is the whole
// memory of [Plan] and lies on disk as JSON.
type Deploy struct {
	ID       string    `json:"id"` // shop-d12
	Service  string    `json:"service"`
	Kind     Kind      `json:"kind"`
	From     int       `json:"from,omitempty"` // seq of the release in force before; 0 is none
	To       int       `json:"to"`
	Version  string    `json:"version,omitempty"` // of To
	Was      string    `json:"was,omitempty"`     // version of From
	Strategy string    `json:"strategy"`          // rolling, recreate
	Pace     string    `json:"pace,omitempty"`    // max_surge and max_unavailable when it began: +1/-0
	State    State     `json:"state"`
	Since    time.Time `json:"since"` // of State
	Reason   string    `json:"reason,omitempty"`
	LastLog  []string  `json:"last_log,omitempty"` // of the instance in Reason, oldest first
	Ill      string    `json:"ill,omitempty"`      // the instance in Reason, while its log is not read yet
	Started  time.Time `json:"started"`
	Deadline time.Time `json:"deadline,omitzero"` // of the present step; zero while nothing is waited for
	Ended    time.Time `json:"ended,omitzero"`
	By       string    `json:"by,omitempty"`
	Why      string    `json:"why,omitempty"`
	Waits    string    `json:"waits,omitempty"` // for what: "shop-1c44d0 to be ready for 5s"

	Replaced int `json:"replaced"` // instances of the release it moves to that are good
	Of       int `json:"of"`       // wanted
	Leaving  int `json:"leaving"`  // on their way out

	Lines   []Line   `json:"lines,omitempty"`   // told so far, the newest maxLines
	Dropped int      `json:"dropped,omitempty"` // lines that were dropped before them
	Old     Counters `json:"old"`               // what requests met while it went on, at From
	New     Counters `json:"new"`               // and at To
	OldWas  Counters `json:"old_was"`           // at its beginning
	NewWas  Counters `json:"new_was"`

	Members []Member `json:"members,omitempty"` // instances of To, as last seen
	Before  []string `json:"before,omitempty"`  // restart: the instances there were
	Away    []string `json:"away,omitempty"`    // restart, rolling back: those that go
	Goods   int      `json:"goods,omitempty"`   // instances of To that were good at some time
	Proven  bool     `json:"proven,omitempty"`  // To was good in an earlier deploy
	Flakes  int      `json:"flakes,omitempty"`  // replaced since the last one got good
	Served  int      `json:"served,omitempty"`  // rolling back: most that served so far
	Swap    bool     `json:"swap,omitempty"`    // rolling back: From served when it began, so traffic moves at once
	NoWay   string   `json:"no_way,omitempty"`  // why From cannot be gone back to
	Undone  bool     `json:"undone,omitempty"`  // To is not tried again by itself
}

// Member is what a deploy remembers of an instance that it judges.
type Member struct {
	ID    string    `json:"id"`
	Dead  int       `json:"dead,omitempty"` // runs that have ended
	Ready time.Time `json:"ready,omitzero"` // since when, as last seen
	Good  bool      `json:"good,omitempty"` // was ready for min_ready
	Fell  int       `json:"fell,omitempty"` // runs that have ended since it was good
	Gone  bool      `json:"gone,omitempty"` // is to be stopped: it is replaced
}

// Line is one thing a deploy has told.
type Line struct {
	At   time.Time `json:"at"`
	Text string    `json:"text"`
}

// Counters are what requests met at instances of one release.
type Counters struct {
	Sent   uint64 `json:"sent"`
	Failed uint64 `json:"failed"`
}

// since returns c without what was there before. Counters that shrank began
// anew with another proxy.
func (c Counters) since(before Counters) Counters {
	if c.Sent < before.Sent || c.Failed < before.Failed {
		return c
	}
	return Counters{Sent: c.Sent - before.Sent, Failed: c.Failed - before.Failed}
}

// maxLines bounds Deploy.Lines: two for each of 250 instances.
const maxLines = 500

// Live reports whether d is under way.
func (d Deploy) Live() bool { return d.ID != "" && !d.State.Ended() }

// Dest returns the release that d moves to at present.
func (d Deploy) Dest() int {
	if d.State == RollingBack && d.Kind != Rollback {
		return d.From
	}
	return d.To
}

// clone returns d with nothing shared.
func (d Deploy) clone() Deploy {
	d.LastLog, d.Lines, d.Members = slices.Clone(d.LastLog), slices.Clone(d.Lines), slices.Clone(d.Members)
	d.Before, d.Away = slices.Clone(d.Before), slices.Clone(d.Away)
	return d
}

// say adds a line, and forgets the oldest where there are too many.
func (d *Deploy) say(now time.Time, text string) {
	d.Lines = append(d.Lines, Line{At: now, Text: text})
	if over := len(d.Lines) - maxLines; over > 0 {
		d.Lines = slices.Delete(d.Lines, 0, over)
		d.Dropped += over
	}
}

// name returns the release of number seq: shop@14.
func (d Deploy) name(seq int) string { return backstay.ReleaseID(d.Service, seq) }
