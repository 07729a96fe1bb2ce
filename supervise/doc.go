// Package supervise runs instances of services: each waits for what it depends
// on, starts, is probed, gets traffic while it is ready, is killed when it hangs,
// and leaves in order: out of every frontend first, then drained, then told,
// then killed with all it has begun.
//
// Which instances exist is deploy's business, and restarting what has ended is
// the keeper's, agent dead or alive: this package follows what the keeper says
// and adds what a keeper cannot know: readiness, dependencies, traffic, cause.
// All it must remember over its own death lies in the keeper's slots (Meta and
// Note of internal/keeperwire), so the next agent goes on in the middle of
// whatever this one was doing.
//
// The core is pure: a machine per instance and the fleet of them take what
// happened and the time, and return effects. [Supervisor] owns the fleet in one
// goroutine and has the effects carried out beside it.
package supervise
