package pump

import (
	"errors"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/backstay/backstay/host/proc/keeper/sys"
	"github.com/backstay/backstay/internal/keeperwire"
)

// Bounds of a log.
const (
	logRetry  = time.Second      // between attempts to open what cannot be written
	markEvery = 64 << 10         // bytes between marks, at most
	markPause = time.Millisecond // within it the bytes of one stream share a mark
	longLine  = 1 << 20          // beyond the size of a file a line without end is cut
	logMode   = 0o640
)

// logfile is one log and its index. Its offset is ours alone: splice does not
// append by itself.
type logfile struct {
	path    string
	limits  Limits
	fd, idx int
	off     int64 // end of the log
	idxOff  int64 // of the index
	ino     uint64

	stream  keeperwire.Stream // whose bytes are at the end
	marked  int64             // where the last mark is, -1 is nowhere
	markAt  int64
	fresh   bool          // the next mark begins a run
	lost    uint64        // bytes dropped since the last that was written
	why     string        // it cannot be written
	retryAt time.Duration // when to try again to open it
	dirty   bool          // to be synced
}

var noLog = logfile{fd: -1, idx: -1, marked: -1}

// Limits is what a spec says of its log.
type Limits struct {
	Size  int64
	Files int
	Drop  bool // what a slow disk cannot take
}

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
		_ = syscall.Mkdir(l.path[:max(strings.LastIndexByte(l.path, '/'), 0)], 0o750)
		fd, err = openFile(l.path)
	}
	if err != nil {
		l.why = sys.Named(err)
		return false
	}
	var st, ist syscall.Stat_t
	if _ = syscall.Fstat(fd, &st); st.Mode&syscall.S_IFMT != syscall.S_IFREG {
		l.why = "it is no plain file"
		sys.CloseFD(&fd)
		return false
	}
	l.fd, l.off, l.ino, l.marked, l.dirty = fd, st.Size, st.Ino, -1, false
	if l.idx, err = openFile(keeperwire.Index(l.path)); err != nil {
		l.idx = -1 // a log without times is better than none
	}
	_ = syscall.Fstat(l.idx, &ist)
	l.idxOff = ist.Size / keeperwire.MarkSize * keeperwire.MarkSize
	return true
}

func openFile(path string) (int, error) {
	return sys.Open(path, syscall.O_RDWR|syscall.O_CREAT|syscall.O_NONBLOCK, logMode)
}

func (l *logfile) close() {
	sys.CloseFD(&l.fd)
	sys.CloseFD(&l.idx)
}

// fail is a log that cannot be written: it is tried again later.
func (l *logfile) fail(now time.Duration, why string) {
	l.close()
	l.why = why
	l.retryAt = now + logRetry
}

// lineEnds reports whether the log ends with a whole line.
func (l *logfile) lineEnds() bool {
	var b [1]byte
	n, err := syscall.Pread(l.fd, b[:], l.off-1)
	return err != nil || n == 0 || b[0] == '\n'
}

// mark writes down when the n bytes that come next were read, and from whom. One
// that cannot be written is left out: the log matters more.
func (l *logfile) mark(stream keeperwire.Stream, n int, flags uint8) {
	now := sys.Wall()
	if l.fresh {
		flags |= keeperwire.Fresh
	}
	since := now - l.markAt // below 0 where the wall clock was set back: then a mark says so
	if l.marked >= 0 && stream == l.stream && flags == 0 &&
		l.off+int64(n)-l.marked <= markEvery && since >= 0 && since < int64(markPause) {
		return
	}
	if l.marked >= 0 && stream != l.stream && !l.lineEnds() {
		flags |= keeperwire.Torn
	}
	b := keeperwire.AppendMark(nil, keeperwire.Mark{Offset: uint64(l.off), At: now, Stream: stream, Flags: flags})
	if l.idx >= 0 && sys.Pwrite(l.idx, b, l.idxOff) == nil {
		l.idxOff += int64(len(b))
	}
	l.fresh, l.stream, l.marked, l.markAt = false, stream, l.off, now
}

// confess says in the log how much of it is missing. Where it cannot, nothing of it
// is left there.
func (l *logfile) confess() error {
	before := *l
	line := "backstay: dropped " + strconv.FormatUint(l.lost, 10) + " bytes\n"
	if !l.lineEnds() {
		line = "\n" + line
	}
	l.mark(keeperwire.Keeper, len(line), keeperwire.Lost)
	if err := sys.Pwrite(l.fd, []byte(line), l.off); err != nil {
		*l = before
		_ = syscall.Ftruncate(l.fd, l.off)
		return err
	}
	l.off += int64(len(line))
	l.lost = 0
	return nil
}

// full reports whether the log has reached its size, at the end of a line.
func (l *logfile) full() bool {
	m := l.limits.Size
	return m > 0 && l.off >= m && (l.lineEnds() || l.off >= m+longLine)
}

// rotate renames the log and begins a new one. The index goes first: that it has
// gone and its log has not tells the next keeper where this one was killed.
func (l *logfile) rotate(now time.Duration) bool {
	l.close()
	l.shift(max(l.limits.Files, 1) - 1)
	l.retryAt = 0
	return l.open(now)
}

// shift moves each older log one further, up to the first name that is free; old
// is how many are kept beside the new one. Those beyond go.
func (l *logfile) shift(old int) {
	free := min(1, old)
	for free < old && exists(keeperwire.Rotated(l.path, free)) {
		free++
	}
	for n := free; n > 0; n-- {
		from, to := keeperwire.Rotated(l.path, n-1), keeperwire.Rotated(l.path, n)
		_ = syscall.Rename(keeperwire.Index(from), keeperwire.Index(to))
		_ = syscall.Rename(from, to)
	}
	beyond := old + 1
	if old == 0 {
		beyond = 0 // the log itself
	}
	for n := beyond; exists(keeperwire.Rotated(l.path, n)); n++ {
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
		if !exists(at) {
			if exists(keeperwire.Index(at)) && exists(before) && !exists(keeperwire.Index(before)) {
				_ = syscall.Rename(before, at)
			}
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
