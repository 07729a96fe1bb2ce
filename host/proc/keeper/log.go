package keeper

import (
	"errors"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/backstay/backstay/internal/keeperwire"
)

// Bounds of a log.
const (
	logRetry  = time.Second            // between attempts to open what cannot be written
	dropTold  = 10 * time.Second       // between events about bytes that are dropped
	slowWrite = 100 * time.Millisecond // a write that takes longer has met a disk that cannot keep up
	markEvery = 64 << 10               // bytes between marks, at most
	markPause = time.Millisecond       // within it the bytes of one stream share a mark
	syncEvery = time.Second
	logMode   = 0o640
)

// logfile is one log and its index, open. Its offset is ours alone: splice does
// not append by itself.
type logfile struct {
	path    string
	fd, idx int
	off     int64 // end of the log
	idxOff  int64 // of the index
	ino     uint64

	stream  int // whose bytes are at the end
	marked  int64
	markAt  int64
	fresh   bool
	held    [2]bool       // streams that wait for the other's line to end
	tornAt  time.Duration // when they have waited long enough
	lost    uint64        // bytes dropped since the last that was written
	retryAt time.Duration // when to try again to open it
	sayAt   time.Duration
	dirty   bool
	syncing *atomic.Bool
}

func newLogfile() logfile { return logfile{fd: -1, idx: -1, marked: -1, syncing: new(atomic.Bool)} }

// open opens the log where it is not, and says whether it is now.
func (l *logfile) open(now time.Duration) bool {
	if l.fd >= 0 {
		return true
	}
	if l.path == "" || now < l.retryAt {
		return false
	}
	l.retryAt = now + logRetry
	l.mend()
	fd, err := openFile(l.path)
	if errors.Is(err, syscall.ENOENT) { // the directory went: one level is ours to make
		if dir, ok := above(l.path); ok && syscall.Mkdir(dir, 0o750) == nil {
			fd, err = openFile(l.path)
		}
	}
	if err != nil {
		return false
	}
	idx, err := openFile(keeperwire.Index(l.path))
	if err != nil {
		idx = -1 // a log without times is better than none
	}
	var st, ist syscall.Stat_t
	_ = syscall.Fstat(fd, &st)
	if st.Mode&syscall.S_IFMT != syscall.S_IFREG {
		closeFD(&fd)
		closeFD(&idx)
		return false
	}
	_ = syscall.Fstat(idx, &ist)
	l.fd, l.idx, l.off, l.ino = fd, idx, st.Size, st.Ino
	l.idxOff = ist.Size / keeperwire.MarkSize * keeperwire.MarkSize
	l.marked = -1
	l.lastStream()
	return true
}

// lastStream finds out whose bytes are at the end of a log that is gone on with.
func (l *logfile) lastStream() {
	var b [keeperwire.MarkSize]byte
	l.stream = 0
	if l.idxOff == 0 {
		return
	}
	if n, err := syscall.Pread(l.idx, b[:], l.idxOff-keeperwire.MarkSize); err == nil && n == len(b) {
		if m, err := keeperwire.DecodeMark(b[:]); err == nil && m.Stream == keeperwire.Stderr {
			l.stream = 1
		}
	}
}

func openFile(path string) (int, error) {
	return again(func() (int, error) {
		return syscall.Open(path, syscall.O_RDWR|syscall.O_CREAT|syscall.O_CLOEXEC|syscall.O_NONBLOCK, logMode)
	})
}

// close closes the files. A stream that waits for the other's line waits on: its
// time comes, and then it is watched again.
func (l *logfile) close() {
	closeFD(&l.fd)
	closeFD(&l.idx)
}

// fail is a log that cannot be written: it is tried again later.
func (l *logfile) fail(now time.Duration) {
	l.close()
	l.retryAt = now + logRetry
}

// pauseWriting drops for a while what comes, where the file says so.
func (l *logfile) pauseWriting(now time.Duration) { l.fail(now) }

// lineEnds reports whether the log ends with a whole line.
func (l *logfile) lineEnds() bool {
	var b [1]byte
	if l.off == 0 {
		return true
	}
	n, err := syscall.Pread(l.fd, b[:], l.off-1)
	return err != nil || n == 0 || b[0] == '\n'
}

// mark writes down when what comes next was read, and from whom. One that cannot
// be written is left out: the log matters more.
func (l *logfile) mark(stream keeperwire.Stream, flags uint8) {
	now := wall()
	if l.fresh {
		flags |= keeperwire.Fresh
	}
	same := int(stream) == l.stream && flags == 0 && l.marked >= 0
	since := now - l.markAt // below 0 where the wall clock was set back: then a mark says so
	if same && l.off-l.marked < markEvery && since >= 0 && since < int64(markPause) {
		return
	}
	l.fresh = false
	var b [keeperwire.MarkSize]byte
	l.putMarks(keeperwire.AppendMark(b[:0], keeperwire.Mark{Offset: uint64(l.off), At: now, Stream: stream, Flags: flags}))
	l.marked, l.markAt = l.off, now
}

func (l *logfile) putMarks(b []byte) {
	if l.idx >= 0 && pwriteAll(l.idx, b, l.idxOff) == nil {
		l.idxOff += int64(len(b))
	}
}

// wrote accounts for n bytes, and marks what is long.
func (l *logfile) wrote(stream keeperwire.Stream, n int64) {
	if n == 0 {
		return
	}
	l.dirty = true
	if stream != keeperwire.Keeper {
		l.stream = int(stream)
	}
	if l.off-l.marked <= markEvery || l.marked < 0 {
		return
	}
	b := make([]byte, 0, (n/markEvery+1)*keeperwire.MarkSize)
	for at := l.marked + markEvery; at < l.off; at += markEvery {
		b = keeperwire.AppendMark(b, keeperwire.Mark{Offset: uint64(at), At: l.markAt, Stream: stream})
		l.marked = at
	}
	l.putMarks(b)
}

// confess says in the log how much of it is missing, and whether it could.
func (l *logfile) confess() bool {
	line := droppedLine(l.lost)
	if !l.lineEnds() {
		line = "\n" + line
	}
	l.marked = -1
	l.mark(keeperwire.Keeper, keeperwire.Lost)
	if pwriteAll(l.fd, []byte(line), l.off) != nil {
		return false
	}
	l.off += int64(len(line))
	l.wrote(keeperwire.Keeper, int64(len(line)))
	l.lost, l.sayAt, l.marked = 0, 0, -1
	return true
}

func droppedLine(n uint64) string {
	return "backstay: dropped " + strconv.FormatUint(n, 10) + " bytes\n"
}

// full reports whether the log has reached its size.
func (l *logfile) full(m limits) bool { return m.size > 0 && l.off >= m.size }

// rotate renames the log and begins a new one. The index goes first: that it has
// gone and its log has not tells the next keeper where this one was killed.
func (l *logfile) rotate(m limits, now time.Duration) bool {
	l.close()
	l.shift(max(m.files, 1) - 1)
	l.retryAt = 0
	return l.open(now)
}

// shift moves each older log one further, up to the first name that is free; old
// is how many are kept beside the new one.
func (l *logfile) shift(old int) {
	if old == 0 {
		_ = syscall.Unlink(keeperwire.Index(l.path))
		_ = syscall.Unlink(l.path)
		return
	}
	free := 1
	for free < old && exists(keeperwire.Rotated(l.path, free)) {
		free++
	}
	for n := free; n > 0; n-- {
		from, to := keeperwire.Rotated(l.path, n-1), keeperwire.Rotated(l.path, n)
		_ = syscall.Rename(keeperwire.Index(from), keeperwire.Index(to))
		_ = syscall.Rename(from, to)
	}
	for n := old + 1; exists(keeperwire.Rotated(l.path, n)); n++ { // fewer are kept than before
		_ = syscall.Unlink(keeperwire.Index(keeperwire.Rotated(l.path, n)))
		_ = syscall.Unlink(keeperwire.Rotated(l.path, n))
	}
}

func exists(path string) bool {
	var st syscall.Stat_t
	return syscall.Lstat(path, &st) == nil
}

// mend finishes a rotation that was cut short: an older name with an index and
// no log gets the log that belongs to it, the one before.
func (l *logfile) mend() {
	for n := 1; n < 1000; n++ {
		at, before := keeperwire.Rotated(l.path, n), keeperwire.Rotated(l.path, n-1)
		if !exists(at) && !exists(keeperwire.Index(at)) {
			return
		}
		if !exists(at) && exists(before) && !exists(keeperwire.Index(before)) {
			_ = syscall.Rename(before, at)
			return
		}
	}
}

// moved reports whether the file that we write is no longer where its name is:
// removed, or renamed by somebody.
func (l *logfile) moved() bool {
	var at syscall.Stat_t
	return syscall.Stat(l.path, &at) != nil || at.Ino != l.ino
}

// cut goes on from the new end of a log that somebody has made shorter. We do
// not append, so it must be seen before each write: else a hole would be there.
func (l *logfile) cut() {
	var st syscall.Stat_t
	if syscall.Fstat(l.fd, &st) != nil || st.Size >= l.off {
		return
	}
	l.off, l.marked, l.idxOff = st.Size, -1, 0
	_ = syscall.Ftruncate(l.idx, 0)
}

// syncSoon has what was written on the disk in a second.
func (p *pumper) syncSoon() {
	if p.syncAt == 0 {
		p.syncAt = p.clock + syncEvery
		p.at(p.syncAt)
	}
}

// syncLogs hands the logs written since to the syncer, and looks whether they
// are still the files that their names say.
func (p *pumper) syncLogs() {
	p.syncAt = 0
	for _, t := range p.taps {
		l := &t.log
		if !l.dirty || l.fd < 0 {
			continue
		}
		if l.moved() {
			l.close()
			l.retryAt, l.dirty = 0, false
			continue
		}
		if l.syncing.Load() || !p.syncer.take(l) {
			p.syncSoon() // the disk is slow: next time
			continue
		}
		l.dirty = false
	}
}

// syncer calls fdatasync, which waits for the disk, where the loop does not.
type syncer struct {
	jobs chan syncJob
}

type syncJob struct {
	fd   int
	busy *atomic.Bool
}

// syncQueue is how many logs may wait for a disk.
const syncQueue = 256

func newSyncer() *syncer {
	s := &syncer{jobs: make(chan syncJob, syncQueue)}
	go func() {
		for j := range s.jobs {
			_ = syscall.Fdatasync(j.fd)
			_ = syscall.Close(j.fd)
			j.busy.Store(false)
		}
	}()
	return s
}

// take has l synced, on a descriptor of the syncer's own, unless too many wait.
func (s *syncer) take(l *logfile) bool {
	fd, err := fcntl(l.fd, syscall.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return false
	}
	l.syncing.Store(true)
	select {
	case s.jobs <- syncJob{fd, l.syncing}:
		return true
	default:
		l.syncing.Store(false)
		closeFD(&fd)
		return false
	}
}
