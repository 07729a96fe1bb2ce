// Package l7 is the HTTP proxy: it accepts connections, reads requests
// strictly, finds a route, picks a server, forwards, and retries where nothing
// can go wrong by it.
//
// # What is kept
//
//   - Everything that decides comes from one [Snapshot], compiled into a table
//     behind an atomic pointer. Apply returns when every request that arrives
//     from then on sees it. Connections are never closed by a change of the file
//     that leaves their frontend alone.
//   - A server that is draining or not ready takes no request once Apply has
//     returned, whatever table a request began with: whoever picks a server
//     enters it through a gate that Apply has closed before.
//   - [Proxy.Drain] answers when no request is in flight at an instance and no idle
//     connection to it is left. An answer, never a sleep.
//   - A request is sent again only if its method is idempotent or no byte of it
//     was written to that connection, and never after a byte of an answer.
//   - A client that was promised an answer and cannot have the rest of it sees a
//     cut connection, never a second answer.
//   - A client that leaves is noticed while its server is silent, and the server
//     is hung up on.
//   - Whatever a client or a server can stretch has a bound: see the table in
//     docs/rooms/l7.md.
//
// # Inside
//
// route, pick, outlier, retry and budget are values: no clock, no socket, no
// goroutine; time and randomness are arguments. The engine below them moves
// bytes with a goroutine for each client connection; it stands behind the
// interface engine, so that an event loop can take its place.
package l7
