// Package freeport finds ports of the loopback that nobody listens at.
package freeport

import (
	"errors"
	"iter"
	"net"
)

// ErrNone says that somebody listens at each port that was tried.
var ErrNone = errors.New("none of the ports is free")

// Listen listens at the first of ports that nobody listens at, and returns which it
// is. The port is the caller's until the listener is closed.
func Listen(ports iter.Seq[int]) (net.Listener, int, error) {
	for port := range ports {
		l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		if err == nil {
			return l, port, nil
		}
	}
	return nil, 0, ErrNone
}

// Range yields the ports from first to last.
func Range(first, last int) iter.Seq[int] {
	return func(yield func(int) bool) {
		for port := first; port <= last && yield(port); port++ {
		}
	}
}
