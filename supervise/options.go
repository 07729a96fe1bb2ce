package supervise

import (
	"context"
	"log/slog"
	"math/rand/v2"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/internal/keeperwire"
)

// Options are what a [Supervisor] works with.
type Options struct {
	Keeper   Keeper
	Resolver Resolver
	Ports    Ports
	Registry Registry

	// Release returns the release called id, for instances found running. One
	// that nobody knows any more is shown and can be stopped, and its spec is
	// left as it is.
	Release func(id string) (backstay.Release, bool)

	// LastLines returns up to n of the last whole lines of a log file, oldest
	// first. It is called beside the owner and may block. Nil is none.
	LastLines func(file string, n int) []string

	Events  backstay.Recorder     // nil means backstay.Discard
	Log     *slog.Logger          // nil means slog.Default
	Metrics prometheus.Registerer // nil means none
	Rand    *rand.Rand            // nil means one seeded by the system; used by the owner alone
}

// Keeper is the parent of all processes, as the supervisor asks it. Methods may
// block and are called beside the owner, in order for one instance. One that
// fails is called again, so each does nothing where there is nothing to do. An
// error that holds a [keeperwire.Msg] with the code no_slot says that the keeper
// does not know the instance.
type Keeper interface {
	Put(ctx context.Context, spec keeperwire.Spec) error
	Start(ctx context.Context, id string) error
	Stop(ctx context.Context, id, reason string) error
	// Kill kills the whole tree now; wanted has the keeper start it again.
	Kill(ctx context.Context, id, reason string, wanted bool) error
	Remove(ctx context.Context, id string) error
	SetReady(ctx context.Context, id string, ready bool) error
	SetNote(ctx context.Context, id string, note []byte) error
	Probe(ctx context.Context, p keeperwire.Probe) error
}

// Resolver looks up what a release leaves open: secrets, ports, users, paths.
// It may read files and run getent, so it is called beside the owner.
type Resolver interface {
	// Spec returns how to run instance id of rel: all but Meta, Restart, Signal,
	// GraceMS and the sizes of logs, which are the supervisor's.
	Spec(rel backstay.Release, id string, ports map[string]uint16) (keeperwire.Spec, error)
	// Argv expands the command of an exec probe.
	Argv(rel backstay.Release, id string, ports map[string]uint16, argv []string) ([]string, error)
	// Account returns the ids of the user of an exec probe; set is false where
	// the agent is not root and cannot change them.
	Account(user string) (uid, gid uint32, groups []uint32, set bool, err error)
}

// Ports tells which ports nobody listens on. The owner calls it: it must not
// block for longer than bind(2).
type Ports interface {
	Free(port uint16) bool
}

// Registry is the blackboard from which proxies learn where traffic may go. Set,
// Restore and Remove are called by the owner and return at once; Withdraw and
// Drain are called beside it and return when all live proxies have answered.
type Registry interface {
	Set(e Endpoint) // adds or replaces
	// Withdraw returns how many proxies have said that the instance gets no more.
	Withdraw(ctx context.Context, instance string) (acks int, err error)
	// Drain returns when nothing is in flight; long counts upgraded connections too.
	Drain(ctx context.Context, instance string, long bool) error
	Restore(instance string)
	Remove(instance string)
}

// Endpoint is an instance as balancers see it: registry.Endpoint, field by
// field, so that one converts to the other.
type Endpoint struct {
	Service  string
	Instance string
	Release  string
	Address  string
	Ports    map[string]uint16
	Ready    bool
	Drain    bool
	Starts   int
}
