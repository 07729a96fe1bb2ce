package sys

import (
	"runtime"
	"sync"
)

// spareThreads is how many threads the runtime may come to need at once beside
// those that wait: two that turn loops, one that syncs logs, two that collect
// garbage, and one to hand over to.
const spareThreads = 6

// ReserveThreads has the Go runtime make its threads now, and keep them: it ends
// the program when it wants one and the host is out of processes, which is when a
// keeper is needed most.
func ReserveThreads() {
	var at, done sync.WaitGroup
	at.Add(spareThreads)
	for range spareThreads {
		done.Go(func() {
			runtime.LockOSThread() // each has one of its own while all are here
			defer runtime.UnlockOSThread()
			at.Done()
			at.Wait()
		})
	}
	done.Wait()
}
