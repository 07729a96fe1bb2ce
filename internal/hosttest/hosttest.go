// Package hosttest is what tests ask of the host that they run on.
package hosttest

import (
	"fmt"
	"os"
	"sync/atomic"
	"testing"

	"github.com/backstay/backstay/internal/freeport"
)

// promised reports whether nothing that needs root, or something of the kernel, may
// be skipped here, as in CI: a skip is a promise kept elsewhere.
func promised() bool { return os.Getenv("BACKSTAY_NEED_ROOT") == "1" }

// Cannot skips tb for want of something that this host has not; the words say what.
// Where BACKSTAY_NEED_ROOT=1 it fails tb instead.
func Cannot(tb testing.TB, format string, args ...any) {
	tb.Helper()
	lacks := "there is no " + fmt.Sprintf(format, args...)
	if promised() {
		tb.Fatal("BACKSTAY_NEED_ROOT=1, but " + lacks)
	}
	tb.Skip(lacks)
}

// NeedRoot skips tb without root; why says what for. Where BACKSTAY_NEED_ROOT=1 it
// fails tb instead.
func NeedRoot(tb testing.TB, why string) {
	tb.Helper()
	skip, fail := decide(os.Geteuid(), promised())
	switch {
	case fail:
		tb.Fatal("BACKSTAY_NEED_ROOT=1, but this is not root, which it needs " + why)
	case skip:
		tb.Skip("needs root " + why)
	}
}

func decide(uid int, promised bool) (skip, fail bool) {
	return uid != 0 && !promised, uid != 0 && promised
}

// Ports for tests lie below those that the kernel gives to connections and to
// listeners that do not care, so that between FreePort and its use none of them
// takes one; and below those that Backstay gives to instances, 20000 to 29999.
const (
	firstPort = 10000
	manyPorts = 10000
)

// given counts the ports of this process. Processes that run at the same time
// have ids close to each other: each begins somewhere else.
var given atomic.Uint32

// FreePort returns a TCP port of the loopback that nobody listens at and that
// this process has not returned before.
func FreePort(tb testing.TB) int {
	tb.Helper()
	l, port, err := freeport.Listen(func(yield func(int) bool) {
		for n := 0; n < manyPorts && yield(portOf(os.Getpid(), given.Add(1))); n++ {
		}
	})
	if err != nil {
		tb.Fatalf("ports %d to %d: %v", firstPort, firstPort+manyPorts-1, err)
	}
	_ = l.Close()
	return port
}

// portOf returns the nth port of process pid.
func portOf(pid int, n uint32) int {
	const apart = 97 // more than a package's tests take
	return firstPort + (pid*apart+int(n))%manyPorts
}
