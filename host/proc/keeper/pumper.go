package keeper

import (
	"sync"
	"syscall"
	"time"

	"github.com/backstay/backstay/internal/keeperwire"
)

// drainWithin is how long the loop waits for the last words of a run: a disk that
// works takes far less, and one that hangs must not hold the restart up.
const drainWithin = 100 * time.Millisecond

// pumper moves what services print into their logs. It is a loop of its own: a
// write may wait for a disk, and then only other writes may wait for it, and no
// start, stop or restart.
//
// The loop hands it jobs; it hands back how much it had to drop. What it owns
// nobody else touches.
type pumper struct {
	ep, wake int // wake is the end of a pipe that the loop writes to
	null     int
	scratch  [2]int // a pipe to look into FIFOs with
	peeked   []byte
	clock    time.Duration
	due      time.Duration
	syncAt   time.Duration
	syncer   *syncer
	taps     map[int]*tap

	late chan struct{} // of the loop: a drain that took too long and may go on

	mu   sync.Mutex // guards jobs and news
	jobs []func()
	news []dropped
	ring int // where the loop waits for news
	bell int // and where jobs are announced
}

type dropped struct {
	place int
	id    string
	total uint64
}

// tap is one instance's streams and log.
type tap struct {
	place   int
	id      string
	pipes   [2]int // our ends of stdout's and stderr's FIFO
	log     logfile
	limits  limits
	dropped uint64
}

// limits is what a spec says of its log.
type limits struct {
	size  int64
	files int
	drop  bool
}

func limitsOf(s *keeperwire.Spec) limits {
	return limits{size: s.LogMaxSize, files: int(s.LogMaxFiles), drop: s.LogDrop}
}

// newPumper returns a pumper at work, and the descriptor at which the loop hears
// of news.
func newPumper() (p *pumper, news int, err error) {
	p = &pumper{peeked: make([]byte, peekSize), taps: map[int]*tap{}, syncer: newSyncer()}
	var jobs, ring [2]int
	if p.ep, err = syscall.EpollCreate1(syscall.EPOLL_CLOEXEC); err != nil {
		return nil, -1, failure{"epoll", named(err)}
	}
	if p.null, err = syscall.Open("/dev/null", syscall.O_RDWR|syscall.O_CLOEXEC, 0); err != nil {
		return nil, -1, failure{"open /dev/null", named(err)}
	}
	for _, pipe := range []*[2]int{&p.scratch, &jobs, &ring} {
		if err := syscall.Pipe2(pipe[:], syscall.O_CLOEXEC|syscall.O_NONBLOCK); err != nil {
			return nil, -1, failure{"pipe", named(err)}
		}
	}
	p.wake, p.bell, p.ring = jobs[0], jobs[1], ring[1]
	if err := p.control(syscall.EPOLL_CTL_ADD, p.wake, -1, syscall.EPOLLIN); err != nil {
		return nil, -1, failure{"epoll", named(err)}
	}
	go p.run()
	return p, ring[0], nil
}

// control watches fd for place*2+stream, or -1 for jobs.
func (p *pumper) control(op, fd, who int, events uint32) error {
	ev := syscall.EpollEvent{Events: events, Fd: int32(who)}
	return syscall.EpollCtl(p.ep, op, fd, &ev)
}

func (p *pumper) run() {
	var events [64]syscall.EpollEvent
	for {
		n, _ := syscall.EpollWait(p.ep, events[:], p.timeout())
		p.clock = boottime()
		for _, ev := range events[:max(n, 0)] {
			if ev.Fd < 0 {
				p.work()
			} else if t := p.taps[int(ev.Fd)/2]; t != nil {
				p.pump(t, int(ev.Fd)%2)
			}
		}
		if p.due > 0 && p.clock >= p.due {
			p.timers()
		}
	}
}

// timeout is for epoll_wait: milliseconds, rounded up, and -1 for ever.
func (p *pumper) timeout() int {
	if p.due == 0 {
		return -1
	}
	return max(int((p.due-boottime()+time.Millisecond-1)/time.Millisecond), 0)
}

func (p *pumper) at(t time.Duration) {
	if t > 0 && (p.due == 0 || t < p.due) {
		p.due = t
	}
}

func (p *pumper) timers() {
	p.due = 0
	for _, t := range p.taps {
		if at := t.log.tornAt; at > 0 && p.clock >= at {
			p.resume(t)
		}
		p.at(t.log.tornAt)
	}
	if p.syncAt > 0 && p.clock >= p.syncAt {
		p.syncLogs()
	}
	p.at(p.syncAt)
}

// do has the pumper do job, after those before it.
func (p *pumper) do(job func()) {
	p.mu.Lock()
	p.jobs = append(p.jobs, job)
	p.mu.Unlock()
	_, _ = syscall.Write(p.bell, []byte{1}) // full: it is awake
}

func (p *pumper) work() {
	var b [64]byte
	_, _ = syscall.Read(p.wake, b[:])
	p.mu.Lock()
	jobs := p.jobs
	p.jobs = nil
	p.mu.Unlock()
	for _, job := range jobs {
		job()
	}
}

// open gives the pumper new ends of FIFOs, where they are not -1, and the name of
// the log.
func (p *pumper) open(s *slot, fds [2]int, path string, fresh bool) {
	place, id, lim, total := s.place, s.rec.Slot.ID, limitsOf(&s.spec), s.rec.Slot.Dropped
	p.do(func() {
		t := p.taps[place]
		if t == nil || t.id != id {
			t = &tap{place: place, id: id, pipes: [2]int{-1, -1}, log: newLogfile(), dropped: total}
			p.taps[place] = t
		}
		t.limits = lim
		if t.log.path != path {
			t.log.close()
			t.log.path = path
		}
		t.log.retryAt, t.log.fresh = 0, t.log.fresh || fresh
		t.log.open(p.clock)
		for i, fd := range fds {
			if fd >= 0 {
				closeFD(&t.pipes[i])
				t.pipes[i], t.log.held[i] = fd, false
				_ = p.control(syscall.EPOLL_CTL_ADD, fd, place*2+i, syscall.EPOLLIN)
			}
		}
	})
}

// limit changes the bounds of a log that is there.
func (p *pumper) limit(s *slot) {
	place, lim := s.place, limitsOf(&s.spec)
	p.do(func() {
		if t := p.taps[place]; t != nil {
			t.limits = lim
		}
	})
}

// close closes what is open for a slot, which ends its watch. What was dropped is
// remembered: the next run's log says it.
func (p *pumper) close(place int) {
	p.do(func() {
		if t := p.taps[place]; t != nil {
			closeFD(&t.pipes[0])
			closeFD(&t.pipes[1])
			t.log.close()
			t.log.held, t.log.tornAt = [2]bool{}, 0
		}
	})
}

func (p *pumper) forget(place int) { p.do(func() { delete(p.taps, place) }) }

// drain has what a run of s left unread written before anybody hears that it has
// ended, unless the disk hangs.
func (p *pumper) drain(s *slot) {
	select {
	case <-p.late:
		p.late = nil
	default:
		if p.late != nil {
			return // it hangs still
		}
	}
	done, place, total := make(chan struct{}), s.place, s.rec.Slot.Dropped
	p.do(func() {
		if t := p.taps[place]; t != nil {
			p.lastWords(t)
			total = t.dropped
		}
		close(done)
	})
	timer := time.NewTimer(drainWithin)
	defer timer.Stop()
	select {
	case <-done:
		s.rec.Slot.Dropped = total
	case <-timer.C:
		p.late = done
	}
}

// tell has the loop hear how much of a log was lost.
func (p *pumper) tell(t *tap) {
	p.mu.Lock()
	p.news = append(p.news, dropped{t.place, t.id, t.dropped})
	p.mu.Unlock()
	_, _ = syscall.Write(p.ring, []byte{1})
}

// heard is the loop's: what there is to tell.
func (p *pumper) heard(from int) []dropped {
	var b [64]byte
	_, _ = syscall.Read(from, b[:])
	p.mu.Lock()
	defer p.mu.Unlock()
	news := p.news
	p.news = nil
	return news
}
