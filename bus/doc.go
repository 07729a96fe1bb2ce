// Package bus is the event log of a process: typed, ordered, bounded, and there
// again after a crash.
//
// Who records never waits: an event gets its number in memory, is heard by all
// who watch, and goes to disk behind. Who watches reads the past from disk and
// goes on with what happens, without a gap and without a double. When the disk
// refuses, recording and watching go on; what could not be kept is counted and
// told by an event of its own, [backstay.EventsLost].
//
// On disk the log is lines of JSON in segments, the oldest of which goes when
// there are too many. An id is node/boot/seq. seq grows over restarts and over
// kill -9, also over events that were heard and never reached the disk: numbers
// are reserved on disk before they are used. Events survive the death of the
// process at once, and that of the host after a second.
package bus
