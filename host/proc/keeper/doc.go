// Package keeper is the parent of everything that Backstay runs. It starts what
// it is told to start, moves what that prints into a file, sees it end, starts
// it again by the machine of internal/restart, kills whole trees, and holds
// sockets for all of them. Killed -9, it costs no child and no log line: all it
// knows lies in records that the next keeper reads, and adopts what runs.
//
// One epoll loop owns everything but the logs; nothing it does may wait for a
// disk, a child or a client. Logs have a loop of their own, the pumper, for a
// write may wait, and two helpers: one calls fdatasync, one hears signals. The
// package links neither net, fmt, encoding/json nor runtime/debug, which is most
// of why a thousand children cost it so little.
package keeper
