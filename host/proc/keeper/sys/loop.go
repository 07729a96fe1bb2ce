package sys

import (
	"cmp"
	"errors"
	"os"
	"sync"
	"syscall"
	"time"
)

// Loop is one epoll with a timer and an inbox. The keeper is one, the pumper of
// the logs another: what a loop owns only its own goroutine touches, and who
// wants something of it sends a job.
type Loop struct {
	ep, timer int
	ready     syscall.RawConn // ep's: who waits gives up its thread, and the Go runtime none of its watch
	events    [64]syscall.EpollEvent
	bell      [2]int               // a pipe: a byte in it says that there are jobs
	woken     map[int]func(uint32) // what is done when a descriptor is ready
	due       time.Duration        // when the timer is set for; 0 is never
	Clock     time.Duration        // of this turn

	mu   sync.Mutex // guards jobs
	jobs []func()
}

// NewLoop returns a loop that watches nothing yet.
func NewLoop() (*Loop, error) {
	l := &Loop{woken: map[int]func(uint32){}, Clock: Boottime()}
	var err, perr, terr error
	l.ep, err = syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	l.timer, terr = timerfd()
	perr = syscall.Pipe2(l.bell[:], syscall.O_CLOEXEC|syscall.O_NONBLOCK)
	for _, err := range []error{err, terr, perr} {
		if err != nil {
			return nil, Fail("make a loop", err)
		}
	}
	_ = syscall.SetNonblock(l.ep, true) // or package os would not wait for it
	if l.ready, err = os.NewFile(uintptr(l.ep), "epoll").SyscallConn(); err != nil {
		return nil, Fail("make a loop", err)
	}
	l.Watch(l.timer, func(uint32) { drainBell(l.timer) })
	l.Watch(l.bell[0], func(uint32) {
		drainBell(l.bell[0])
		l.Work() // of whose byte that was: the bell rings no more for it
	})
	return l, nil
}

func drainBell(fd int) {
	var b [64]byte
	_, _ = syscall.Read(fd, b[:])
}

// Watch has f called when fd can be read.
func (l *Loop) Watch(fd int, f func(events uint32)) { l.watch(fd, syscall.EPOLLIN, f) }

// WatchEnd has f called when the other end of fd is closed.
func (l *Loop) WatchEnd(fd int, f func(events uint32)) { l.watch(fd, 0, f) }

func (l *Loop) watch(fd int, events uint32, f func(events uint32)) {
	l.woken[fd] = f
	if err := l.Control(syscall.EPOLL_CTL_ADD, fd, events); err != nil {
		Say("watch a descriptor:", Named(err))
	}
}

// Control changes for what fd is watched.
func (l *Loop) Control(op, fd int, events uint32) error {
	return syscall.EpollCtl(l.ep, op, fd, &syscall.EpollEvent{Events: events, Fd: int32(fd)})
}

// Unwatch closes fd and ends its watch.
func (l *Loop) Unwatch(fd *int) {
	if *fd >= 0 {
		delete(l.woken, *fd)
		_ = l.Control(syscall.EPOLL_CTL_DEL, *fd, 0)
	}
	CloseFD(fd)
}

// At wakes the loop at t or before; 0 is never.
func (l *Loop) At(t time.Duration) {
	if t > 0 && (l.due == 0 || t < l.due) {
		l.due = t
		setTimer(l.timer, t)
	}
}

// Do has the loop do job, after those before it. Anybody may call it.
func (l *Loop) Do(job func()) {
	l.Later(job)
	_, _ = syscall.Write(l.bell[1], []byte{1}) // full: it is awake
}

// Later is Do for what has time until something else wakes the loop, and comes
// before that.
func (l *Loop) Later(job func()) {
	l.mu.Lock()
	l.jobs = append(l.jobs, job)
	l.mu.Unlock()
}

// Work does the jobs that have come.
func (l *Loop) Work() {
	l.mu.Lock()
	jobs := l.jobs
	l.jobs = nil
	l.mu.Unlock()
	for _, job := range jobs {
		job()
	}
}

// Turn is one round: messages and ends first, then what is due, so that a word
// that came in time counts however late we are.
func (l *Loop) Turn(due func(late time.Duration)) error {
	n, err := 0, error(nil)
	werr := l.ready.Read(func(uintptr) bool {
		n, err = syscall.EpollWait(l.ep, l.events[:], 0)
		return n != 0
	})
	if err = cmp.Or(werr, err); err != nil && !errors.Is(err, syscall.EINTR) {
		return Fail("epoll_wait", err)
	}
	l.Clock = Boottime()
	l.Work()
	for _, ev := range l.events[:max(n, 0)] {
		if f := l.woken[int(ev.Fd)]; f != nil {
			f(ev.Events)
		}
	}
	if late := l.Clock - l.due; l.due > 0 && late >= 0 {
		l.due = 0
		due(late)
	}
	return nil
}
