package logs

import (
	"io"
	"math"
	"sort"
	"time"

	"github.com/backstay/backstay/internal/keeperwire"
)

// marksRead is how much of an index is read at a time, in bytes.
const marksRead = 256 * keeperwire.MarkSize

// marks walks along an index. The zero value is that of a log without one.
type marks struct {
	r     io.ReaderAt // nil: there is none
	off   int64       // of what ahead begins with
	ahead []byte
	now   keeperwire.Mark // in force
	known bool            // there is one in force
	limit int64           // the log is at least so long
}

// at returns the mark in force at pos, for how many bytes it is good, and whether
// it is another one than at the last call. size returns that of the log: a mark
// beyond it is none.
func (m *marks) at(pos int64, size func() int64) (mark keeperwire.Mark, good int64, changed bool) {
	good = math.MaxInt64
	flags := uint8(0)
	for {
		next, ok := m.peek()
		if !ok {
			break
		}
		offset := int64(next.Offset) //nolint:gosec // of 48 bits
		if offset > pos && (offset <= m.limit || offset <= m.grown(size)) {
			good = offset - pos
			break
		}
		m.ahead, m.off = m.ahead[keeperwire.MarkSize:], m.off+keeperwire.MarkSize
		if offset > pos || m.known && next.Offset < m.now.Offset {
			continue // not of this log
		}
		if m.known && next.Offset != m.now.Offset {
			flags = 0
		}
		flags |= next.Flags
		m.now, m.known, changed = next, true, true
	}
	m.now.Flags = flags
	return m.now, good, changed
}

// grown looks how long the log is now.
func (m *marks) grown(size func() int64) int64 {
	m.limit = size()
	return m.limit
}

// peek returns the next mark. What cannot be one is passed over.
func (m *marks) peek() (keeperwire.Mark, bool) {
	for {
		if len(m.ahead) < keeperwire.MarkSize && !m.fill() {
			return keeperwire.Mark{}, false
		}
		next, err := keeperwire.DecodeMark(m.ahead)
		if err == nil {
			return next, true
		}
		m.ahead, m.off = m.ahead[keeperwire.MarkSize:], m.off+keeperwire.MarkSize
	}
}

// fill reads on. At the end there may be more later.
func (m *marks) fill() bool {
	if m.r == nil {
		return false
	}
	b := make([]byte, marksRead)
	n, _ := m.r.ReadAt(b, m.off)
	m.ahead = b[:n/keeperwire.MarkSize*keeperwire.MarkSize] // the last one may be half written
	return len(m.ahead) > 0
}

// seek goes to the last mark at or before pos, so that [marks.at] finds it.
func (m *marks) seek(pos, size int64) {
	if m.r == nil {
		return
	}
	n := int(size / keeperwire.MarkSize)
	after := sort.Search(n, func(i int) bool {
		var b [keeperwire.MarkSize]byte
		if _, err := m.r.ReadAt(b[:], int64(i)*keeperwire.MarkSize); err != nil {
			return true
		}
		mark, err := keeperwire.DecodeMark(b[:])
		return err == nil && int64(mark.Offset) > pos //nolint:gosec // of 48 bits
	})
	*m = marks{r: m.r, off: int64(max(0, after-1)) * keeperwire.MarkSize}
}

// when returns the time of the mark in force.
func (m *marks) when() time.Time {
	if !m.known || m.now.At == 0 {
		return time.Time{}
	}
	return time.Unix(0, m.now.At)
}
