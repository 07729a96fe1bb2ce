// Package registry is the one blackboard: which instances there are, which of
// them take requests, and who has been told.
//
// supervise writes [Endpoint]s with Set, and withdraws them before it signals
// anything; balancers, one per live proxy process, are given whole [Snapshot]s
// and acknowledge each. [Registry.Withdraw] returns when every live balancer has
// acknowledged that an instance takes no new requests: an acknowledgement,
// never a sleep.
//
// # What holds
//
//   - Generations only grow. A balancer is handed them one at a time and always
//     the newest: while it takes one, any number of changes cost one more.
//   - Withdraw, Settle and Drain wait for every balancer that is live; one that
//     leaves, because its process is dead, holds nobody up any longer.
//   - A balancer whose calls fail stays live and is tried again until Leave. So
//     Join a proxy as soon as its process is known to exist, reachable or not,
//     and Leave when it is known to be gone: in between a withdrawal is not
//     complete, however long that takes.
//   - Drain is sticky: Set never puts an instance back, Restore does. Whoever
//     says only what its probes found cannot undo what somebody else withdrew.
//
// The core is machine, a value without clock or goroutine. It lives behind a
// lock whose holders never wait for anything, so that Set returns at once,
// before Run and between two Runs as well; the goroutine of Run owns all
// deliveries. The event withdrawn is recorded here and nowhere else.
package registry
