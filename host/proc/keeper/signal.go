package keeper

import (
	"os"
	"os/signal"
	"syscall"

	"github.com/backstay/backstay/internal/keeperwire"
)

// signals turns signals into something that the loop can wait for. A signalfd
// would need them blocked in every thread, which the Go runtime does not offer.
type signals struct {
	out, in int
	c       chan os.Signal
}

func hear() (*signals, error) {
	var p [2]int
	if err := syscall.Pipe2(p[:], syscall.O_CLOEXEC|syscall.O_NONBLOCK); err != nil {
		return nil, err
	}
	s := &signals{out: p[0], in: p[1], c: make(chan os.Signal, 16)}
	signal.Notify(s.c, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGCHLD)
	signal.Ignore(syscall.SIGPIPE, syscall.SIGXFSZ) // a client that went, a log too large: both are answers of write
	go func() {
		for sig := range s.c {
			_, _ = syscall.Write(s.in, []byte{byte(sig.(syscall.Signal))}) // full: it is awake
		}
	}()
	return s, nil
}

// signalled acts on what came. An end of a child means: look for all of them.
func (k *keeper) signalled() {
	var b [64]byte
	n, _ := syscall.Read(k.signals.out, b[:])
	for _, sig := range b[:max(n, 0)] {
		switch syscall.Signal(sig) {
		case syscall.SIGHUP:
			if s := k.slots[keeperwire.AgentID]; s != nil {
				_ = pidfdSignal(s.pidfd, syscall.SIGHUP)
			}
		case syscall.SIGTERM, syscall.SIGINT:
			k.told()
		default: // SIGCHLD
		}
	}
	k.reap()
}

// told ends the keeper and leaves the children, whom the next one adopts. PID 1
// of a container takes its children along, so they are stopped first.
func (k *keeper) told() {
	if syscall.Getpid() != 1 {
		say("told to end; the children stay")
		k.left = true
		return
	}
	k.leaving = true
	for _, s := range k.slots {
		k.stop(s, "the container ends")
	}
	k.leaveIfAlone()
}

func (k *keeper) leaveIfAlone() {
	if !k.leaving {
		return
	}
	for _, s := range k.slots {
		if s.busy() {
			return
		}
	}
	k.left = true
}
