// Package records is all that a keeper writes down so that the next one can go on
// where it was killed: the state of each slot, written in place, and the events
// that nobody has acknowledged yet.
package records

import (
	"errors"
	"hash/crc32"
	"syscall"

	"github.com/backstay/backstay/host/proc/keeper/sys"
	"github.com/backstay/backstay/internal/keeperwire"
)

// The file `state`: a page for the head, then for each slot a page for its record
// and two areas for its spec, of which the record names the valid one. All is
// written in place: one page by one write, which a kill does not cut, and a spec
// into the area that is not in force. What was never written is a hole.
const (
	pageSize = 4 << 10
	areaSize = 64 << 10
	stride   = pageSize + 2*areaSize

	// MaxSlots bounds what a keeper has to look through; a node of a thousand
	// instances is large.
	MaxSlots = 4096
)

// stateMagic is the format's version too: a file with another is not ours.
const stateMagic = "backstay keeper 1"

// castagnoli is made by who opens a file, and not by an initializer: every stage
// would pay for it, a quarter of a millisecond between clone and exec.
var castagnoli *crc32.Table

// State is the file, open. Its holes cost nothing.
type State struct {
	fd  int
	buf []byte // one page, for writing
}

// OpenState returns the file, its generation counted up, and whether it is of
// this boot.
func OpenState(path, boot string) (s *State, gen uint64, sameBoot bool, err error) {
	fd, err := sys.Open(path, syscall.O_RDWR|syscall.O_CREAT|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, 0, false, err
	}
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	s = &State{fd: fd, buf: make([]byte, 0, pageSize)}
	old, _ := s.page(0)
	m, derr := keeperwire.Decode(old)
	if len(old) > 0 && (derr != nil || m.Name != stateMagic) {
		return nil, 0, false, errors.New("state file " + path + " is of another version: remove it when nothing runs")
	}
	head := keeperwire.Msg{Kind: keeperwire.Hello, Name: stateMagic, ID: boot, Seq: m.Seq + 1}
	err = s.put(0, head.Append(s.buf[:0:pageSize-8]))
	if err != nil && m.ID == boot { // a full disk that copies what it writes: the head of this boot does as it was
		sys.Say("write head of the state:", sys.Named(err))
		err = nil
	}
	return s, head.Seq, m.ID == boot, err
}

// page reads the body at off; nil where there is none, or a broken one.
func (s *State) page(off int64) ([]byte, bool) {
	b := make([]byte, pageSize)
	n, err := syscall.Pread(s.fd, b, off)
	if err != nil || n < pageSize {
		return nil, true
	}
	size, sum := int(le32(b)), le32(b[4:])
	if size == 0 {
		return nil, true
	}
	if size > pageSize-8 || crc32.Checksum(b[8:8+size], castagnoli) != sum {
		return nil, false
	}
	return b[8 : 8+size], true
}

func (s *State) put(off int64, body []byte) error {
	if len(body) > pageSize-8 {
		panic("keeper: a record larger than its page")
	}
	var b [pageSize]byte
	putLE32(b[:], uint32(len(body)))
	putLE32(b[4:], crc32.Checksum(body, castagnoli))
	copy(b[8:], body)
	return sys.Pwrite(s.fd, b[:], off)
}

func slotAt(i int) int64 { return pageSize + int64(i)*stride }

// Save writes a record.
func (s *State) Save(i int, r *keeperwire.Record) error {
	return s.put(slotAt(i), r.Append(s.buf[:0]))
}

// Free forgets slot i.
func (s *State) Free(i int) error { return s.put(slotAt(i), nil) }

// SaveSpec writes spec into the area that r does not name, and names it; r counts
// once it is saved.
func (s *State) SaveSpec(i int, r *keeperwire.Record, spec []byte) error {
	area := 1 - r.SpecArea
	if err := sys.Pwrite(s.fd, spec, slotAt(i)+pageSize+int64(area)*areaSize); err != nil {
		return err
	}
	r.SpecArea, r.SpecLen, r.Slot.SpecHash = area, uint32(len(spec)), keeperwire.Sum(spec)
	return nil
}

// Spec reads what r names.
func (s *State) Spec(i int, r *keeperwire.Record) (keeperwire.Spec, error) {
	b := make([]byte, r.SpecLen)
	n, err := syscall.Pread(s.fd, b, slotAt(i)+pageSize+int64(r.SpecArea)*areaSize)
	if err != nil {
		return keeperwire.Spec{}, err
	}
	if n < len(b) || keeperwire.Sum(b) != r.Slot.SpecHash {
		return keeperwire.Spec{}, errors.New("the record of the spec is damaged")
	}
	return keeperwire.DecodeSpec(b)
}

// All reads all there are, by their place. Damaged ones are said.
func (s *State) All() map[int]keeperwire.Record {
	found := map[int]keeperwire.Record{}
	var st syscall.Stat_t
	_ = syscall.Fstat(s.fd, &st)
	for i := 0; i < MaxSlots && slotAt(i) < st.Size; i++ {
		body, whole := s.page(slotAt(i))
		if body == nil && whole {
			continue
		}
		r, err := keeperwire.DecodeRecord(body)
		if !whole || err != nil || !keeperwire.Label(r.Slot.ID) {
			sys.Say("a damaged record was left out; what it ran is swept as unknown")
			continue
		}
		found[i] = r
	}
	return found
}

func le32(b []byte) uint32 {
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}

func putLE32(b []byte, v uint32) {
	b[0], b[1], b[2], b[3] = byte(v), byte(v>>8), byte(v>>16), byte(v>>24)
}
