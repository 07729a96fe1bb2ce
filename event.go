package backstay

import "time"

// Event is one thing that changed, told to people. All of them in order are
// the timeline. The log that keeps events fills in ID, At and Node where they
// are empty; the rest is the teller's.
type Event struct {
	ID      string    `json:"id"` // node/boot/seq
	At      time.Time `json:"at"` // wall clock: for people, never for deadlines
	Node    string    `json:"node"`
	Kind    Kind      `json:"kind"`
	Ref     Ref       `json:"ref,omitempty"` // what changed; empty is the whole
	From    string    `json:"from,omitempty"`
	To      string    `json:"to,omitempty"`
	Because string    `json:"because,omitempty"` // one sentence
	Cause   string    `json:"cause,omitempty"`   // ID of the event this one follows from
	Actor   string    `json:"actor,omitempty"`   // the user or the room that decided
	Gen     uint64    `json:"gen,omitempty"`     // generation of the config in force
}

// Kind says what sort of change an [Event] records.
type Kind string

// The kinds. Each is recorded in exactly one place.
const (
	// ConfigApplied: a new file is in force; From and To are its digests.
	ConfigApplied Kind = "config_applied"
	// ConfigUndone: a part refused the new file and all took the old one back.
	ConfigUndone Kind = "config_undone"
	// ConfigRefused: a file was not taken; what runs goes on.
	ConfigRefused Kind = "config_refused"
	// PartFailed: a part of the daemon ended with an error and starts again.
	PartFailed Kind = "part_failed"
	// PartStuck: a part did not stop in its time and was left behind.
	PartStuck Kind = "part_stuck"
	// StateChanged: Ref went From one state To another.
	StateChanged Kind = "state_changed"
	// ReadyChanged: an instance became ready or not ready.
	ReadyChanged Kind = "ready_changed"
	// Withdrawn: every live proxy has said that an instance takes no more traffic.
	Withdrawn Kind = "withdrawn"
	// Drained: nothing is in flight at an instance any more.
	Drained Kind = "drained"
	// DrainForced: an instance was stopped with requests in flight; its time was up.
	DrainForced Kind = "drain_forced"
	// LogDropped: bytes of a log were lost, and how many.
	LogDropped Kind = "log_dropped"
	// DeployChanged: a deploy went From one state To another.
	DeployChanged Kind = "deploy_changed"
	// DeployStep: a deploy has done something.
	DeployStep Kind = "deploy_step"
	// Ejected: a server was taken out by real requests; Reinstated: it is back.
	Ejected    Kind = "ejected"
	Reinstated Kind = "reinstated"
	// RoleKilled: a role that did not answer was killed.
	RoleKilled Kind = "role_killed"
	// OverrideSet: a run-time change was made; OverrideGone: it ended.
	OverrideSet  Kind = "override_set"
	OverrideGone Kind = "override_gone"
	// EventsLost: events are missing before this one; Because says how many and why.
	EventsLost Kind = "events_lost"
	// StateBroken: a file of our own state cannot be read; Because says what was done.
	StateBroken Kind = "state_broken"
	// Adopted: a new agent or keeper found what runs and took it over.
	Adopted Kind = "adopted"
)

// Recorder takes events. Any goroutine may call Record; it never blocks.
type Recorder interface {
	Record(e Event)
}

// Discard is the [Recorder] for those who want none.
var Discard Recorder = discard{}

type discard struct{}

func (discard) Record(Event) {}
