// Package sock makes listening sockets, and hands them and other files from
// process to process: a socket is bound once in its life, held above the role
// that serves it, and taken over by the next one. It also tells who is at the
// other end of a Unix socket.
package sock
