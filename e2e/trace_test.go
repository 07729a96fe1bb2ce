package e2e

import (
	"fmt"
	"runtime"
	"syscall"
)

// holdTraced attaches to a process and waits for nothing of it until release is
// closed. The thread that traces ends with this function, and with it the trace.
func holdTraced(pid int, attached chan<- error, release <-chan struct{}) {
	runtime.LockOSThread() // never unlocked
	if err := syscall.PtraceAttach(pid); err != nil {
		attached <- fmt.Errorf("trace %d: %w", pid, err)
		return
	}
	attached <- nil
	<-release
}
