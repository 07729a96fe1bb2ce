// Package api is how people and programs speak to the agent: HTTP/1.1 and JSON
// under /v1 on a Unix socket. The types of the wire are here, the handler that
// serves them from a [Backend], the table of every code a [backstay.Problem] may
// have, and [Why]: the shortest proof of any state, as a pure function.
//
// What it guarantees:
//
//   - Whatever a client sends, it gets an answer, and a refusal is always a
//     [backstay.Problem]: what, where, why, what to do. Nothing has changed then.
//   - Unknown paths, parameters and fields, repeated keys and bodies that are too
//     large are refused, never ignored.
//   - The wire only grows: a field or a path is added, none changes its meaning.
//   - A stream is one JSON value a line (application/x-ndjson). One that broke
//     goes on where it was: events by the id of the last, a deploy by the number
//     of its last line, logs by time.
//
// Who may do what is decided by the socket: whoever can open it reads and
// operates; the file is changed by root and by the user that the agent runs as
// alone, since a file can run anything as anybody.
package api

//go:generate go test -run TestReferenceIsUpToDate -update .
