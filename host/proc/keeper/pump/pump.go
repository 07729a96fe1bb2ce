// Package pump moves what services print into their logs, with an index of times
// and streams beside each, rotation, and an account of what could not be written.
// It is a loop of its own: a write may wait for a disk, and then only other
// writes may wait for it, and no start, stop or restart.
package pump

import (
	"bytes"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/backstay/backstay/host/proc/keeper/sys"
	"github.com/backstay/backstay/internal/keeperwire"
)

// Bounds of the pumper.
const (
	peekSize  = 64 << 10               // moved in one turn, and so how far to look for the end of a line
	tornAfter = 100 * time.Millisecond // how long a line may take to end before it is written without
	slowWrite = 100 * time.Millisecond // a write that takes longer has met a disk that cannot keep up
	syncEvery = time.Second
	dropTold  = 10 * time.Second // between events about bytes that are dropped

	// settleWithin is how long the keeper waits for the last words of a run before
	// it says that it has ended: a disk that works takes far less.
	settleWithin = 100 * time.Millisecond
)

// Pumper is the loop. What it owns nobody else touches: the keeper sends it jobs.
type Pumper struct {
	*sys.Loop

	lost    Lost
	null    int
	scratch [2]int // a pipe to look into FIFOs with
	peeked  []byte
	taps    map[int]*tap
	dropped atomic.Bool   // bytes of any log, ever
	late    chan struct{} // of the keeper: what took too long and may go on

	unsynced []int // descriptors of logs written since the last sync
	syncAt   time.Duration
	syncing  atomic.Bool
}

// tap is one instance's streams and log.
type tap struct {
	logfile

	place   int
	id      string
	pipes   [2]int           // our ends of stdout's and stderr's FIFO
	tornAt  [2]time.Duration // when a line that has not ended is written without its end
	dropped uint64           // bytes, of all runs
	told    uint64           // of them, what the keeper knows
	saidAt  time.Duration
}

// Lost is told, in the pumper's loop, how many bytes of a log were ever dropped,
// why (empty: it is written again), and whether that is worth an event.
type Lost func(place int, id string, total uint64, why string, loud bool)

// New returns a pumper at work.
func New(lost Lost) (*Pumper, error) {
	p := &Pumper{lost: lost, peeked: make([]byte, peekSize), taps: map[int]*tap{}}
	var err error
	if p.Loop, err = sys.NewLoop(); err != nil {
		return nil, err
	}
	if p.null, err = sys.Open("/dev/null", syscall.O_RDWR, 0); err != nil {
		return nil, sys.Fail("open /dev/null", err)
	}
	if err := syscall.Pipe2(p.scratch[:], syscall.O_CLOEXEC|syscall.O_NONBLOCK); err != nil {
		return nil, sys.Fail("pipe", err)
	}
	go func() {
		for {
			if err := p.Turn(p.timers); err != nil {
				sys.Say(err.Error())
			}
		}
	}()
	return p, nil
}

// Source is what an instance prints into, and where that goes.
type Source struct {
	Place  int // names it among the others, as ID does over all time
	ID     string
	Pipes  [2]int // our ends of stdout's and stderr's FIFO, the pumper's from now on
	Log    string
	Limits Limits
	Lost   uint64 // bytes, of all runs before
	Fresh  bool   // a run begins
}

// Open takes on s, in place of what was there before.
func (p *Pumper) Open(s Source) {
	p.Do(func() {
		t := p.taps[s.Place]
		if t == nil || t.id != s.ID {
			t = &tap{place: s.Place, id: s.ID, pipes: [2]int{-1, -1}, logfile: noLog, dropped: s.Lost, told: s.Lost}
			p.taps[s.Place] = t
		}
		if t.path != s.Log {
			t.close()
			t.path = s.Log
		}
		t.limits, t.retryAt, t.fresh = s.Limits, 0, t.fresh || s.Fresh
		t.open(p.Clock)
		for i, fd := range s.Pipes {
			p.Unwatch(&t.pipes[i])
			t.pipes[i], t.tornAt[i] = fd, 0
			p.Watch(fd, func(uint32) { p.pump(t, i, false) })
		}
	})
}

// Fresh says that a run begins with the streams of the one before.
func (p *Pumper) Fresh(place int) {
	p.Later(p.on(place, func(t *tap) { t.fresh, t.retryAt = true, 0 }))
}

// on is f done with the tap of a slot that has one.
func (p *Pumper) on(place int, f func(t *tap)) func() {
	return func() {
		if t := p.taps[place]; t != nil {
			f(t)
		}
	}
}

// Limit changes the bounds of a log that is there.
func (p *Pumper) Limit(place int, lim Limits) { p.Do(p.on(place, func(t *tap) { t.limits = lim })) }

// Close closes what is open at place. What was dropped is remembered: the next
// run's log says it.
func (p *Pumper) Close(place int) { p.Do(p.on(place, p.close)) }

func (p *Pumper) close(t *tap) {
	p.Unwatch(&t.pipes[0])
	p.Unwatch(&t.pipes[1])
	t.close()
}

// Forget closes what is open at place, for ever.
func (p *Pumper) Forget(place int) {
	p.Do(p.on(place, func(t *tap) {
		p.close(t)
		delete(p.taps, place)
	}))
}

// Unread reports whether there is something to drain from streams that were given
// to Open, or to say about what was dropped.
func (p *Pumper) Unread(pipes [2]int) bool {
	return p.dropped.Load() || sys.Readable(pipes[0], pipes[1])
}

// Drain has what a run left unread written; Settle says when.
func (p *Pumper) Drain(place int) { p.Do(p.on(place, p.lastWords)) }

// lastWords moves what is unread now: what a living grandchild writes on is not
// waited for.
func (p *Pumper) lastWords(t *tap) {
	for i, from := range t.pipes {
		left := 0
		if from >= 0 {
			left = sys.Unread(from)
		}
		for n := 1; left > 0 && n > 0; left -= n {
			n = p.pump(t, i, true)
		}
	}
	if t.dropped != t.told {
		p.tell(t, false)
	}
}

// Settle returns when all that was asked before is done, unless the disk hangs.
func (p *Pumper) Settle() {
	select {
	case <-p.late:
		p.late = nil
	default:
		if p.late != nil {
			return // it hangs still
		}
	}
	done := make(chan struct{})
	p.Do(func() { close(done) })
	timer := time.NewTimer(settleWithin)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		p.late = done
	}
}

// timers writes lines that have not ended in time, says what was lost, and syncs.
func (p *Pumper) timers(time.Duration) {
	for _, t := range p.taps {
		p.again(t)
		for i, at := range t.tornAt {
			if at > 0 && p.Clock >= at {
				p.pump(t, i, false)
			}
			p.At(t.tornAt[i])
		}
	}
	if p.syncAt > 0 && p.Clock >= p.syncAt {
		p.sync()
	}
	p.At(p.syncAt)
}

// again tries a log that has lost something, though nobody prints: that it is
// written again is told, and nobody would ask for it.
func (p *Pumper) again(t *tap) {
	if t.lost == 0 || t.path == "" {
		return
	}
	if t.open(p.Clock) {
		p.confess(t)
	}
	if t.lost == 0 && t.pipes[0] < 0 {
		t.close() // it does not run
	}
	if t.lost > 0 {
		p.At(t.retryAt)
	}
}

// confess says in the log what it lacks, and tells that it is written again.
func (p *Pumper) confess(t *tap) {
	if err := t.confess(); err != nil {
		t.fail(p.Clock, sys.Named(err))
		return
	}
	t.saidAt, t.why = 0, ""
	p.tell(t, true)
}

// pump moves one batch of stream i into the log: whole lines, so that those of
// the two streams do not mix. last says that nothing more will come. It returns
// how many bytes were taken; it is called again as long as there are more.
func (p *Pumper) pump(t *tap, i int, last bool) int {
	n, whole := p.peek(t.pipes[i])
	if n > 0 && !whole && !last && !p.tired(t, i) {
		return 0
	}
	if t.tornAt[i] > 0 {
		t.tornAt[i] = 0
		_ = p.Control(syscall.EPOLL_CTL_MOD, t.pipes[i], syscall.EPOLLIN)
	}
	if n == 0 {
		return 0
	}
	if t.open(p.Clock) && t.lost > 0 {
		p.confess(t)
	}
	if t.fd < 0 {
		return p.drop(t, i)
	}
	if t.full() && !t.rotate(p.Clock) {
		return p.drop(t, i)
	}
	return p.move(t, i, n)
}

// peek looks into a FIFO without taking anything out, and says how much may be
// moved at once: up to the end of its last whole line, or, where none ends, all
// that it saw. A line that is longer than that is as good as whole.
func (p *Pumper) peek(from int) (n int, whole bool) {
	if from < 0 {
		return 0, false
	}
	unread := sys.Unread(from) // before: what comes while we look is no part of the line's length
	seen, err := syscall.Tee(from, p.scratch[1], peekSize, sys.SpliceNow)
	if err != nil || seen <= 0 {
		return 0, false
	}
	m, _ := sys.Again(func() (int, error) { return syscall.Read(p.scratch[0], p.peeked[:seen]) })
	if n := bytes.LastIndexByte(p.peeked[:max(m, 0)], '\n') + 1; n > 0 {
		return n, true
	}
	return int(seen), unread > int(seen)
}

// tired reports whether the line in stream i has had the time to end. Until then
// its bytes wake nobody but by others that follow.
func (p *Pumper) tired(t *tap, i int) bool {
	if t.tornAt[i] == 0 {
		t.tornAt[i] = p.Clock + tornAfter
		p.At(t.tornAt[i])
		_ = p.Control(syscall.EPOLL_CTL_MOD, t.pipes[i], syscall.EPOLLIN|sys.EpollEdge)
	}
	return p.Clock >= t.tornAt[i]
}

// move splices n bytes of stream i into the log: they go from kernel to kernel,
// so there is no moment at which a kill could lose them. The mark is written
// first: a byte without one there is never.
func (p *Pumper) move(t *tap, i, n int) int {
	began := sys.Boottime()
	t.cut()
	t.mark(keeperwire.Stream(i), n, 0)
	moved, err := syscall.Splice(t.pipes[i], nil, t.fd, &t.off, n, sys.SpliceNow)
	switch {
	case err == syscall.EAGAIN || err == syscall.EINTR:
		return 0
	case err != nil:
		sys.Say("write log of", t.id+":", sys.Named(err), "- what it prints is dropped until that ends")
		t.fail(p.Clock, sys.Named(err))
		return p.drop(t, i)
	}
	p.syncSoon(t)
	if t.limits.Drop && sys.Boottime()-began > slowWrite {
		t.fail(p.Clock, "its disk is slow, and on_full says drop") // what comes next is dropped
	}
	return int(moved)
}

// drop reads what cannot be written and counts it: a service never waits for a
// disk that is full or broken.
func (p *Pumper) drop(t *tap, i int) int {
	n, err := syscall.Splice(t.pipes[i], nil, p.null, nil, 16*peekSize, sys.SpliceNow)
	if err != nil || n <= 0 {
		return 0
	}
	p.dropped.Store(true)
	t.lost += uint64(n)
	t.dropped += uint64(n)
	p.At(t.retryAt)
	if p.Clock >= t.saidAt {
		t.saidAt = p.Clock + dropTold
		p.tell(t, true)
	}
	return int(n)
}

func (p *Pumper) tell(t *tap, loud bool) {
	t.told = t.dropped
	p.lost(t.place, t.id, t.dropped, t.why, loud)
}

// syncSoon has what was written on the disk in a second. The descriptor is one
// more: the log may be rotated until then.
func (p *Pumper) syncSoon(t *tap) {
	if t.dirty {
		return
	}
	fd, err := sys.Fcntl(t.fd, syscall.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return
	}
	t.dirty, p.unsynced = true, append(p.unsynced, fd)
	if p.syncAt == 0 {
		p.syncAt = p.Clock + syncEvery
		p.At(p.syncAt)
	}
}

// sync calls fdatasync, which waits for the disk, where the loop does not; and
// looks whether the logs are still the files that their names say.
func (p *Pumper) sync() {
	p.syncAt = 0
	busy := p.syncing.Swap(true) // a slow disk: next time
	for _, t := range p.taps {
		if t.dirty && t.fd >= 0 && t.moved() {
			t.close()
			t.retryAt = 0
		}
		t.dirty = t.dirty && busy
	}
	if busy {
		p.syncAt = p.Clock + syncEvery
		return
	}
	go func(fds []int) {
		for _, fd := range fds {
			_ = syscall.Fdatasync(fd)
			_ = syscall.Close(fd)
		}
		p.syncing.Store(false)
	}(p.unsynced)
	p.unsynced = nil
}
