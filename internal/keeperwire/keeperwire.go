// Package keeperwire is what the agent and the keeper say to each other, and the
// formats of the files that both know: the boot file, the keeper's records and
// the index of a log. It only grows: fields unknown to a reader are skipped, and
// each side speaks with those two minor versions older.
//
// It links neither fmt nor reflect nor encoding/...: the keeper is small because
// nothing in it is large.
package keeperwire

import "github.com/backstay/backstay/internal/restart"

// Version is that of the newest message here: major in the high byte.
const Version = 0x0100

// AgentID is the slot of the agent: SIGHUP is passed to it, and what it inherits is
// no part of it.
const AgentID = "backstay-agent"

// Spec is how to run one instance: everything resolved, nothing left to look up.
type Spec struct {
	ID   string // shop-7f3a9c: a label of at most 63 bytes, the slot's name
	Meta []byte // the agent's own, at most 4 KiB; the keeper only keeps it

	Argv        []string // Argv[0] is an absolute path
	Env         []string // complete: the keeper adds BACKSTAY_INSTANCE and LISTEN_*, nothing else
	Dir         string
	SetIDs      bool // UID, GID and Groups count
	UID, GID    uint32
	Groups      []uint32
	Umask       uint32
	Nice        int32
	OOMScoreAdj int32
	Rlimits     []Rlimit
	FDs         []string // names in the fd store: 3, 4 … with LISTEN_FDS, LISTEN_FDNAMES, LISTEN_PID

	Cgroup      string // below the keeper's tree: shop/shop-7f3a9c; empty is none
	LogFile     string // absolute; its directory exists; .idx is beside it
	LogMaxSize  int64
	LogMaxFiles uint32
	LogDrop     bool // on_full: drop

	Restart restart.Policy
	Signal  int32 // stop signal to the main process, then CONT
	GraceMS int64 // then the whole tree is killed

	// SilentMS > 0 has the keeper kill the instance when it has sent no message
	// on a connection of its own for so long: the agent.
	SilentMS int64
}

// Rlimit is one limit of setrlimit(2).
type Rlimit struct {
	Resource   int32
	Soft, Hard uint64
}

// State is what the keeper knows of an instance.
type State uint8

// The states of a slot.
const (
	Stopped   State = iota // not running, and nobody wants it to
	Starting               // cloned, not yet exec'd
	Running                // exec'd
	Backoff                // starts again at Slot.NextStart
	Stopping               // signalled
	Failed                 // ended too often; Slot.NextStart is the next try, if any
	Completed              // ended, and its policy wants no further start
)

// Slot is one instance as the keeper has it.
type Slot struct {
	ID        string
	Meta      []byte
	SpecHash  uint64 // of the whole Spec: PUT of an equal one changes nothing
	State     State
	PID       int32
	Ticks     uint64 // start time of PID, field 22 of /proc/PID/stat
	Started   int64  // CLOCK_BOOTTIME, ns: exec of this run
	StartedAt int64  // wall clock, Unix ns
	Starts    uint32 // runs so far
	Failures  uint32 // in the present run of failures
	NextStart int64  // CLOCK_BOOTTIME, ns; 0 is none
	Ready     bool   // as the agent said, in this run
	Note      []byte // as the agent said, at most 256 bytes
	Last      Exit   // of the run before; Last.At 0: there was none
	Dropped   uint64 // bytes of log lost so far
	Why       string // what a back-off waits for, where that is not its pause: "descriptor http", "clone: EAGAIN"
}

// Exit is how a run ended.
type Exit struct {
	At     int64 // wall clock, Unix ns
	PID    int32
	Known  bool
	Code   int32
	Signal int32
	Core   bool
	OOM    bool
	Asked  bool   // we had sent a signal on purpose
	Stage  string // step: error, when the stage failed
	Reason string // what STOP was told
	UserMS int64  // CPU
	SysMS  int64
	RSSKiB int64 // high-water mark
}

// Kind is what an Event tells.
type Kind uint8

// The kinds of events.
const (
	EvStarted    Kind = iota + 1 // exec'd: PID
	EvExited                     // Exit
	EvState                      // State changed otherwise: backoff, failed, stopped …; NextStart
	EvLogDropped                 // N bytes so far, Text why; empty: it is written again
	EvProbed                     // answer to PROBE: ID, N the request, Exit, Text its output
	EvResync                     // the ring overflowed: list again
)

// Event is what happened to an instance, kept by the keeper until it is acked.
type Event struct {
	Seq       uint64
	At        int64 // wall clock, Unix ns
	Boot      int64 // CLOCK_BOOTTIME, ns
	Kind      Kind
	ID        string
	PID       int32
	State     State
	NextStart int64
	Starts    uint32
	Failures  uint32
	N         uint64
	Exit      Exit
	Text      []byte
}

// Probe is a one-shot child in a sub-cgroup of an instance, killed as a tree at
// its timeout. At most one of an instance and name is in flight.
type Probe struct {
	ID        string // instance
	Name      string // liveness …
	N         uint64 // echoed in the event
	Argv, Env []string
	Dir       string
	SetIDs    bool
	UID, GID  uint32
	Groups    []uint32
	TimeoutMS int64
}

// Welcome answers HELLO.
type Welcome struct {
	Version uint16
	Gen     uint64 // grows with each keeper of a state directory
	PID     int32
	BootID  string
	Cgroups bool   // instances are tracked by cgroup, else by /proc
	Why     string // why not, if not
}
