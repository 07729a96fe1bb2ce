package keeper

import (
	"bytes"
	"syscall"
	"time"

	"github.com/backstay/backstay/internal/keeperwire"
)

// Bounds of a pump.
const (
	peekSize  = 64 << 10               // how far to look for the end of a line
	batch     = 1 << 20                // moved in one turn: the others come next
	wordsEnd  = 8                      // batches read at an end: what a living grandchild writes on is not waited for
	tornAfter = 100 * time.Millisecond // how long one stream waits for the other's line to end
)

// pump moves what one stream holds into the log. It is called again as long as
// there is more.
func (p *pumper) pump(t *tap, i int) {
	from, l := t.pipes[i], &t.log
	if from < 0 || l.held[i] {
		return
	}
	if !l.open(p.clock) {
		p.drop(t, i)
		return
	}
	if l.lost > 0 && l.confess() {
		p.tell(t)
	}
	flags := uint8(0)
	if l.stream != i && !l.lineEnds() {
		if p.finishLine(t, l.stream); !l.lineEnds() {
			if !p.tired(t, i) {
				return
			}
			flags = keeperwire.Torn
		}
	}
	if l.full(t.limits) && (l.lineEnds() || p.endLine(t, i, flags)) && !p.rotate(t) {
		return
	}
	p.move(t, i, p.amount(t, i), flags)
}

// rotate begins a new log, after the syncer has got the old one.
func (p *pumper) rotate(t *tap) bool {
	_ = p.syncer.take(&t.log)
	return t.log.rotate(t.limits, p.clock)
}

// tired reports whether stream i has waited long enough for the other one's line
// to end. Until then it is not watched.
func (p *pumper) tired(t *tap, i int) bool {
	l := &t.log
	if l.tornAt == 0 {
		l.tornAt = p.clock + tornAfter
	}
	if p.clock >= l.tornAt {
		l.tornAt = 0
		return true
	}
	l.held[i] = true
	_ = p.control(syscall.EPOLL_CTL_MOD, t.pipes[i], t.place*2+i, 0)
	p.at(l.tornAt)
	return false
}

// resume is when a stream has waited: its turn has come, torn line or not.
func (p *pumper) resume(t *tap) {
	l := &t.log
	for i := range l.held {
		if l.held[i] && t.pipes[i] >= 0 {
			l.held[i] = false
			_ = p.control(syscall.EPOLL_CTL_MOD, t.pipes[i], t.place*2+i, syscall.EPOLLIN)
			p.pump(t, i)
		}
	}
	if l.held == [2]bool{} {
		l.tornAt = 0
	}
}

// amount is how much of stream i may be moved now: to the end of a line if the
// other stream waits, and not far beyond the size of a file.
func (p *pumper) amount(t *tap, i int) int {
	l := &t.log
	if l.held[1-i] {
		if n := p.peek(t.pipes[i], false); n > 0 {
			return n
		}
	}
	if m := t.limits.size; m > l.off {
		return int(min(batch, m-l.off))
	}
	return batch
}

// finishLine moves the rest of the line that stream i has begun, if it is there.
func (p *pumper) finishLine(t *tap, i int) {
	if t.pipes[i] < 0 {
		return
	}
	n := p.peek(t.pipes[i], true)
	if n == 0 {
		n = unread(t.pipes[i]) // no end in sight: all there is
	}
	if n > 0 {
		p.move(t, i, n, 0)
	}
}

// endLine brings a full file to the end of a line, so that it may be rotated. A
// line without end is cut.
func (p *pumper) endLine(t *tap, i int, flags uint8) bool {
	n := p.peek(t.pipes[i], true)
	if n == 0 {
		return t.log.off >= t.limits.size+batch
	}
	p.move(t, i, n, flags)
	return t.log.lineEnds()
}

// peek looks into a FIFO without taking anything out, and returns how many bytes
// there are up to the first line's end in it, or the last's; 0 if there is none.
func (p *pumper) peek(from int, first bool) int {
	n, err := syscall.Tee(from, p.scratch[1], peekSize, spliceNow)
	if err != nil || n <= 0 {
		return 0
	}
	m, err := again(func() (int, error) { return syscall.Read(p.scratch[0], p.peeked[:n]) })
	if err != nil {
		return 0
	}
	if first {
		return bytes.IndexByte(p.peeked[:m], '\n') + 1
	}
	return bytes.LastIndexByte(p.peeked[:m], '\n') + 1
}

// move splices n bytes at most from stream i into the log: they go from kernel to
// kernel, so there is no moment at which a kill could lose them. The mark is
// written first: a byte without one there is never.
func (p *pumper) move(t *tap, i, n int, flags uint8) {
	l := &t.log
	if unread(t.pipes[i]) == 0 {
		return
	}
	began := boottime()
	l.cut()
	l.mark(keeperwire.Stream(i), flags)
	moved, err := syscall.Splice(t.pipes[i], nil, l.fd, &l.off, n, spliceNow)
	switch {
	case err == syscall.EAGAIN || err == syscall.EINTR:
	case err != nil:
		say("write log of", t.id+":", named(err), "- what it prints is dropped until that ends")
		l.fail(p.clock)
		p.drop(t, i)
	default:
		l.wrote(keeperwire.Stream(i), moved)
		p.syncSoon()
		if t.limits.drop && boottime()-began > slowWrite {
			l.pauseWriting(p.clock)
		}
		p.letOther(t, i)
	}
}

// letOther gives the waiting stream its turn when this one's line has ended.
func (p *pumper) letOther(t *tap, i int) {
	if t.log.held[1-i] && t.log.lineEnds() {
		t.log.tornAt = 0
		t.log.held[1-i] = false
		_ = p.control(syscall.EPOLL_CTL_MOD, t.pipes[1-i], t.place*2+1-i, syscall.EPOLLIN)
	}
}

// drop reads what cannot be written and counts it: a service never waits for a
// disk that is full or broken.
func (p *pumper) drop(t *tap, i int) {
	n, err := syscall.Splice(t.pipes[i], nil, p.null, nil, batch, spliceNow)
	if err != nil || n <= 0 {
		return
	}
	l := &t.log
	l.lost += uint64(n)
	t.dropped += uint64(n)
	if p.clock >= l.sayAt {
		l.sayAt = p.clock + dropTold
		p.tell(t)
	}
}

// lastWords moves what a run that has ended left unread.
func (p *pumper) lastWords(t *tap) {
	for i, from := range t.pipes {
		for n := 0; from >= 0 && n < wordsEnd && unread(from) > 0; n++ {
			if t.log.held[i] {
				t.log.tornAt = p.clock
				p.resume(t)
				continue
			}
			p.pump(t, i)
		}
	}
}
