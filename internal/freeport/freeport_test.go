package freeport_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/backstay/backstay/internal/freeport"
)

// A port that somebody has is left out, and when all are taken that is said.
func TestTakenPortsAreLeftOut(t *testing.T) {
	const first, last = 9700, 9799 // below those that other tests take
	var seen []int
	for {
		l, port, err := freeport.Listen(freeport.Range(first, last))
		if errors.Is(err, freeport.ErrNone) {
			break
		}
		if err != nil || port < first || port > last || slices.Contains(seen, port) || len(seen) > last-first {
			t.Fatalf("port %d after %v: %v", port, seen, err)
		}
		defer func() { _ = l.Close() }()
		seen = append(seen, port)
	}
	if len(seen) == 0 {
		t.Error("no port was free")
	}
}
