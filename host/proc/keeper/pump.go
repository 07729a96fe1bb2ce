package keeper

import (
	"bytes"
	"syscall"
	"time"

	"github.com/backstay/backstay/internal/keeperwire"
)

// Bounds of a pump.
const (
	pipeSize  = 1 << 20                // unread bytes before a writer blocks; the kernel's limit without a privilege
	peekSize  = 64 << 10               // how far to look for the end of a line
	batch     = 1 << 20                // moved in one turn: the others come next
	wordsEnd  = 8                      // batches read at an end: what a living grandchild writes on is not waited for
	tornAfter = 100 * time.Millisecond // how long one stream waits for the other's line to end
)

var pipeNames = [2]string{"out", "err"}

func (k *keeper) pipeDir(s *slot) string { return k.dir + "/i/" + s.rec.Slot.ID }

// openPipes makes the FIFOs of s, and opens our ends: read and write, so that
// there is never an end of file, and a child never a SIGPIPE, whoever dies.
func (k *keeper) openPipes(s *slot) error {
	if s.spec.LogFile == "" && s.rec.LogFile == "" {
		return nil
	}
	if err := mkdir(k.pipeDir(s)); err != nil {
		return failure{"make " + k.pipeDir(s), named(err)}
	}
	for i := range s.pipes {
		if err := k.openPipe(s, i); err != nil {
			return failure{"open FIFO " + pipeNames[i], named(err)}
		}
	}
	return nil
}

func (k *keeper) openPipe(s *slot, i int) error {
	path := k.pipeDir(s) + "/" + pipeNames[i]
	var st syscall.Stat_t
	if s.pipes[i] >= 0 {
		if syscall.Lstat(path, &st) == nil && st.Ino == s.inode(i) {
			return k.ownPipe(s, path)
		}
		k.unwatch(&s.pipes[i]) // removed by hand: the next run gets a new one
	}
	if syscall.Lstat(path, &st) == nil && st.Mode&syscall.S_IFMT != syscall.S_IFIFO {
		if err := syscall.Unlink(path); err != nil {
			return err
		}
	}
	if err := syscall.Mkfifo(path, 0o600); err != nil && err != syscall.EEXIST {
		return err
	}
	fd, err := syscall.Open(path, syscall.O_RDWR|syscall.O_NONBLOCK|syscall.O_CLOEXEC|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	for size := pipeSize; size >= peekSize; size /= 2 { // the kernel may give less
		if _, err := fcntl(fd, setPipeSize, size); err == nil {
			break
		}
	}
	_ = syscall.Fstat(fd, &st)
	if i == 0 {
		s.rec.Out = st.Ino
	} else {
		s.rec.Err = st.Ino
	}
	s.pipes[i] = fd
	k.watch(fd, forPipe, s.place*2+i)
	return k.ownPipe(s, path)
}

func (s *slot) inode(i int) uint64 {
	if i == 0 {
		return s.rec.Out
	}
	return s.rec.Err
}

// ownPipe gives a FIFO to the service's user, who may then open /dev/stdout.
func (k *keeper) ownPipe(s *slot, path string) error {
	if !s.spec.SetIDs || syscall.Geteuid() != 0 {
		return nil
	}
	return syscall.Lchown(path, int(s.spec.UID), int(s.spec.GID))
}

func (k *keeper) closePipes(s *slot) {
	for i := range s.pipes {
		k.unwatch(&s.pipes[i])
	}
}

// childEnds are stdin, stdout and stderr for a child of s. Its ends are opened
// by path, as descriptions of their own: ours do not block, and its may.
func (k *keeper) childEnds(s *slot) (stdio [3]int, err error) {
	stdio = [3]int{-1, -1, -1}
	stdio[0], err = syscall.Open("/dev/null", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	for i := range s.pipes {
		path := k.pipeDir(s) + "/" + pipeNames[i]
		if s.spec.LogFile == "" {
			path = "/dev/null"
		}
		if err == nil {
			stdio[i+1], err = syscall.Open(path, syscall.O_RDWR|syscall.O_CLOEXEC, 0)
		}
	}
	if err != nil {
		closeAll(&stdio)
		return stdio, failure{"open stdio", named(err)}
	}
	return stdio, nil
}

func closeAll(fds *[3]int) {
	for i := range fds {
		closeFD(&fds[i])
	}
}

// pump moves what one stream holds into the log. It is called again as long as
// there is more.
func (k *keeper) pump(s *slot, i int) {
	from, l := s.pipes[i], &s.log
	if from < 0 || l.held[i] {
		return
	}
	if !l.open(k.now()) {
		k.drop(s, i)
		return
	}
	if l.lost > 0 && l.confess() {
		k.toldDropped(s)
	}
	flags := uint8(0)
	if l.stream != i && !l.lineEnds() {
		if k.finishLine(s, l.stream); !l.lineEnds() {
			if !k.tired(s, i) {
				return
			}
			flags = keeperwire.Torn
		}
	}
	if l.full(&s.spec) && (l.lineEnds() || k.endLine(s, i, flags)) && !k.rotate(s) {
		return
	}
	k.move(s, i, k.amount(s, i), flags)
}

// rotate begins a new log, after the syncer has got the old one.
func (k *keeper) rotate(s *slot) bool {
	_ = k.syncer.take(&s.log)
	return s.log.rotate(&s.spec, k.now())
}

// tired reports whether stream i has waited long enough for the other one's line
// to end. Until then it is not watched.
func (k *keeper) tired(s *slot, i int) bool {
	l := &s.log
	if l.tornAt == 0 {
		l.tornAt = k.now() + tornAfter
	}
	if k.now() >= l.tornAt {
		l.tornAt = 0
		return true
	}
	l.held[i] = true
	_ = k.control(syscall.EPOLL_CTL_MOD, s.pipes[i], forPipe, s.place*2+i, 0)
	k.at(l.tornAt)
	return false
}

// resume is when a stream has waited: its turn has come, torn line or not.
func (k *keeper) resume(s *slot) {
	for i := range s.log.held {
		if s.log.held[i] && s.pipes[i] >= 0 {
			s.log.held[i] = false
			_ = k.control(syscall.EPOLL_CTL_MOD, s.pipes[i], forPipe, s.place*2+i, syscall.EPOLLIN)
			k.pump(s, i)
		}
	}
}

// amount is how much of stream i may be moved now: to the end of a line if the
// other stream waits, and not far beyond the size of a file.
func (k *keeper) amount(s *slot, i int) int {
	l := &s.log
	if l.held[1-i] {
		if n := k.peek(s.pipes[i], false); n > 0 {
			return n
		}
	}
	if m := s.spec.LogMaxSize; m > l.off {
		return int(min(batch, m-l.off))
	}
	return batch
}

// finishLine moves the rest of the line that stream i has begun, if it is there.
func (k *keeper) finishLine(s *slot, i int) {
	if s.pipes[i] < 0 {
		return
	}
	n := k.peek(s.pipes[i], true)
	if n == 0 {
		n = unread(s.pipes[i]) // no end in sight: all there is
	}
	if n > 0 {
		k.move(s, i, n, 0)
	}
}

// endLine brings a full file to the end of a line, so that it may be rotated. A
// line without end is cut.
func (k *keeper) endLine(s *slot, i int, flags uint8) bool {
	n := k.peek(s.pipes[i], true)
	if n == 0 {
		return s.log.off >= s.spec.LogMaxSize+batch
	}
	k.move(s, i, n, flags)
	return s.log.lineEnds()
}

// peek looks into a FIFO without taking anything out, and returns how many bytes
// there are up to the first line's end in it, or the last's; 0 if there is none.
func (k *keeper) peek(from int, first bool) int {
	n, err := syscall.Tee(from, k.scratch[1], peekSize, spliceNow)
	if err != nil || n <= 0 {
		return 0
	}
	m, err := again(func() (int, error) { return syscall.Read(k.scratch[0], k.peeked[:n]) })
	if err != nil {
		return 0
	}
	if first {
		return bytes.IndexByte(k.peeked[:m], '\n') + 1
	}
	return bytes.LastIndexByte(k.peeked[:m], '\n') + 1
}

// move splices n bytes at most from stream i into the log: they go from kernel to
// kernel, so there is no moment at which a kill could lose them. The mark is
// written first: a byte without one there is never.
func (k *keeper) move(s *slot, i, n int, flags uint8) {
	l := &s.log
	if unread(s.pipes[i]) == 0 {
		return
	}
	began := boottime()
	l.cut()
	l.mark(keeperwire.Stream(i), flags)
	moved, err := syscall.Splice(s.pipes[i], nil, l.fd, &l.off, n, spliceNow)
	switch {
	case err == syscall.EAGAIN || err == syscall.EINTR:
	case err != nil:
		say("write log of", s.rec.Slot.ID+":", named(err), "- what it prints is dropped until that ends")
		l.fail(k.now())
		k.drop(s, i)
	default:
		l.wrote(keeperwire.Stream(i), moved)
		k.syncSoon()
		if s.spec.LogDrop && boottime()-began > slowWrite {
			l.pauseWriting(k.now())
		}
		k.letOther(s, i)
	}
}

// letOther gives the waiting stream its turn when this one's line has ended.
func (k *keeper) letOther(s *slot, i int) {
	if s.log.held[1-i] && s.log.lineEnds() {
		s.log.tornAt = 0
		s.log.held[1-i] = false
		_ = k.control(syscall.EPOLL_CTL_MOD, s.pipes[1-i], forPipe, s.place*2+1-i, syscall.EPOLLIN)
	}
}

// drop reads what cannot be written and counts it: a service never waits for a
// disk that is full or broken.
func (k *keeper) drop(s *slot, i int) {
	n, err := syscall.Splice(s.pipes[i], nil, k.null, nil, batch, spliceNow)
	if err != nil || n <= 0 {
		return
	}
	l := &s.log
	l.lost += uint64(n)
	s.rec.Slot.Dropped += uint64(n)
	if k.now() >= l.sayAt {
		l.sayAt = k.now() + dropTold
		k.toldDropped(s)
	}
}

func (k *keeper) toldDropped(s *slot) {
	k.save(s)
	k.tell(s, keeperwire.Event{Kind: keeperwire.EvLogDropped, N: s.rec.Slot.Dropped})
}

// lastWords moves what a run that has ended left unread.
func (k *keeper) lastWords(s *slot) {
	for i, from := range s.pipes {
		for n := 0; from >= 0 && n < wordsEnd && unread(from) > 0; n++ {
			if s.log.held[i] {
				s.log.tornAt = k.now()
				k.resume(s)
				continue
			}
			k.pump(s, i)
		}
	}
}

// openLog has the log of a run opened, and its beginning marked.
func (k *keeper) openLog(s *slot) {
	l := &s.log
	if s.spec.LogFile == "" {
		return
	}
	if l.path != s.spec.LogFile {
		l.close()
		l.path = s.spec.LogFile
	}
	l.retryAt, l.fresh = 0, true
	l.open(k.now())
}
