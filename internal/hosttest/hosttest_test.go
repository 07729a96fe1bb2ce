package hosttest

import (
	"fmt"
	"net"
	"os"
	"testing"
)

func TestPromisedRootIsNeverSkipped(t *testing.T) {
	for _, c := range []struct {
		uid        int
		promised   bool
		skip, fail bool
	}{
		{0, false, false, false}, {0, true, false, false}, {1000, false, true, false}, {1000, true, false, true},
	} {
		if skip, fail := decide(c.uid, c.promised); skip != c.skip || fail != c.fail {
			t.Errorf("%+v: skip %v, fail %v", c, skip, fail)
		}
	}
}

// A port that somebody has is not returned, nor one that was.
func TestPortsAreFreeAndGivenOnce(t *testing.T) {
	next := portOf(os.Getpid(), given.Load()+1)
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", next))
	if err == nil {
		defer func() { _ = l.Close() }()
	} // else somebody else has it, which is as good
	seen := map[int]bool{next: true}
	for range 50 {
		p := FreePort(t)
		if seen[p] || p < firstPort || p >= firstPort+manyPorts {
			t.Fatalf("port %d, after %v", p, seen)
		}
		seen[p] = true
	}
}

func TestProcessesThatRunTogetherBeginApart(t *testing.T) {
	seen := map[int]int{}
	for pid := 4000; pid < 4050; pid++ {
		for n := range uint32(50) {
			p := portOf(pid, n)
			if other, ok := seen[p]; ok {
				t.Fatalf("port %d is that of %d and of %d", p, other, pid)
			}
			seen[p] = pid
		}
	}
}
