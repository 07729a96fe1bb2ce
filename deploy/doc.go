// Package deploy decides which instances of which release of a service exist.
// First start, scaling, a rolling deploy, recreate, restart, rollback and
// removal are one planner: it compares what is wanted with what runs and names
// the next steps.
//
// [Plan] is a value in, a value and steps out: total, idempotent, and without
// memory beyond the [Deploy] it is given. [Deployer] is its shell: it writes the
// record to disk before it carries out the steps, so an agent killed at any
// moment goes on in the middle.
//
//	           ┌──────────────────────────────► superseded
//	rolling ───┼──► finishing ────────────────► done
//	   │  ▲    │        │
//	   ▼  │    ▼        ▼
//	 paused ──► rolling_back ─────────────────► rolled_back
//	                 └────────────────────────► stuck
//
// A deploy that a guard does not let begin is refused; it has changed nothing.
//
// # What holds
//
//   - While the old release was well, instances that serve are never fewer than
//     replicas - max_unavailable. Only moving traffic away from a bad release at
//     once goes before that.
//   - Instances that are not on their way out are at most replicas + max_surge.
//   - With surge, nothing of the old release stops before its successor has been
//     ready for min_ready without a break.
//   - At most two releases take traffic. A deploy that supersedes another one
//     first brings back what that one had begun.
//   - An instance that dies or turns not ready inside min_ready: if none of its
//     release was ever good, all goes back now; else it is replaced, once per
//     step (retries), and the next one sends all back.
//   - The automatic rollback goes to the release the deploy came from, which was
//     checked to be startable before the deploy began; by hand, to the last one
//     before this whose deploy ended in done, checked before anything is
//     touched. Neither ever starts another: when both are ill the deploy is
//     stuck, keeps whatever is ready and acts no more.
//   - What was rolled back is not tried again by itself: not by Apply, SIGHUP, a
//     restart of the agent or a reboot; Ask.Again is the way.
//   - The first release of a service has nothing to go back to: it is not judged
//     by its first deaths, and is done once all of it is good, however late.
//
// # Errors
//
// All are [backstay.Problem]s: deploy_running, no_deploy, not_paused,
// nothing_to_deploy, nothing_to_roll_back, release_not_startable,
// rollback_not_startable (exit 10: the release to fall back on could not be
// started), release_rolled_back, release_unknown, not_found, stopped, disk,
// state_newer (exit 1: a file of the state directory was written by a newer
// version).
package deploy
