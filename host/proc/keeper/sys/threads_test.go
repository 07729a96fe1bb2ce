package sys_test

import (
	"os"
	"runtime"
	"testing"

	"github.com/backstay/backstay/host/proc/keeper/sys"
)

// TestReservedThreadsStay counts the threads of this process: what is reserved is
// there at once, is not given back, and is what is used afterwards.
func TestReservedThreadsStay(t *testing.T) {
	sys.ReserveThreads()
	reserved := threads(t)
	if reserved < 7 {
		t.Fatalf("%d threads after they were reserved", reserved)
	}
	hold, held := make(chan struct{}), make(chan struct{})
	for range 3 {
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			held <- struct{}{}
			<-hold
		}()
	}
	for range 3 {
		<-held
	}
	if now := threads(t); now != reserved {
		t.Errorf("%d threads were reserved, and three that were wanted made it %d", reserved, now)
	}
	close(hold)
}

func threads(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}
