package records

import (
	"hash/crc32"
	"syscall"

	"github.com/backstay/backstay/host/proc/keeper/sys"
	"github.com/backstay/backstay/internal/keeperwire"
)

// Bounds of the ring: an agent that is away for days in a crash loop of fifty
// instances fills it; then it lists instead of reading.
const (
	maxEvents    = 64 << 10
	maxRing      = 16 << 20
	ringHead     = 64
	maxEnd       = 256 << 20 // of the file, most of it holes
	maxEventSize = 8 << 10
)

// Ring is the events that are not acked, in a file: a kill of the keeper loses
// none, and memory holds only where each begins. The head says what is acked and
// where the first record is; a record is its length, its sum and the event. What
// lies behind the last one is from before: its numbers do not go on, so it is
// not read. What is acked becomes a hole in the file, which begins anew when the
// agent has caught up.
type Ring struct {
	fd    int
	first uint64   // number of the event at at[0]
	at    []uint32 // where each begins
	end   uint32   // where the next one goes
	buf   []byte
}

// OpenRing opens the ring in the file at path, which it makes if there is none.
func OpenRing(path string) (*Ring, error) {
	fd, err := sys.Open(path, syscall.O_RDWR|syscall.O_CREAT|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	r := &Ring{fd: fd, first: 1, end: ringHead, buf: make([]byte, 8+maxEventSize)}
	r.load()
	return r, nil
}

func (r *Ring) load() {
	var h [ringHead]byte
	if n, _ := syscall.Pread(r.fd, h[:], 0); n == ringHead && crc32.Checksum(h[:12], castagnoli) == le32(h[12:]) {
		r.first = uint64(le32(h[:])) | uint64(le32(h[4:]))<<32
		r.end = le32(h[8:])
	}
	for {
		e, size, ok := r.read(r.end)
		if !ok || e.Seq != r.Last()+1 {
			return
		}
		r.at, r.end = append(r.at, r.end), r.end+size
	}
}

// First is the number of the oldest event that is not acked.
func (r *Ring) First() uint64 { return r.first }

// Last is the number of the newest event ever.
func (r *Ring) Last() uint64 { return r.first + uint64(len(r.at)) - 1 }

func (r *Ring) read(at uint32) (e keeperwire.Event, size uint32, ok bool) {
	have, err := syscall.Pread(r.fd, r.buf, int64(at))
	if err != nil || have < 8 {
		return e, 0, false
	}
	n, sum := le32(r.buf), le32(r.buf[4:])
	if n == 0 || n > uint32(have-8) || crc32.Checksum(r.buf[8:8+n], castagnoli) != sum {
		return e, 0, false
	}
	e, err = keeperwire.DecodeEvent(r.buf[8 : 8+n])
	return e, n + 8, err == nil
}

// Get returns event number seq, if it is still here.
func (r *Ring) Get(seq uint64) (keeperwire.Event, bool) {
	if seq < r.first || seq > r.Last() {
		return keeperwire.Event{}, false
	}
	e, _, ok := r.read(r.at[seq-r.first])
	return e, ok
}

// Add numbers e and keeps it. When there is no room all is forgotten and one
// event says so: list again.
func (r *Ring) Add(e *keeperwire.Event) {
	if n := len(r.at); n >= maxEvents || n > 0 && r.end-r.at[0] > maxRing || r.end > maxEnd {
		sys.Say("the ring of events overflowed: the agent must list again")
		r.forget(r.Last())
		r.write(&keeperwire.Event{At: e.At, Boot: e.Boot, Kind: keeperwire.EvResync})
	}
	r.write(e)
}

func (r *Ring) write(e *keeperwire.Event) {
	e.Seq = r.Last() + 1
	b := e.Append(r.buf[:8])
	putLE32(b, uint32(len(b)-8))
	putLE32(b[4:], crc32.Checksum(b[8:], castagnoli))
	if err := sys.Pwrite(r.fd, b, int64(r.end)); err != nil {
		sys.Say("write events:", sys.Named(err), "- the agent will not hear of", e.ID)
		return
	}
	r.at, r.end = append(r.at, r.end), r.end+uint32(len(b))
}

// Ack forgets events up to seq.
func (r *Ring) Ack(seq uint64) {
	if seq >= r.first && len(r.at) > 0 {
		r.forget(min(seq, r.Last()))
	}
}

func (r *Ring) forget(seq uint64) {
	n := seq + 1 - r.first
	r.first, r.at = seq+1, append(r.at[:0], r.at[n:]...)
	at := uint32(ringHead)
	if len(r.at) > 0 {
		at = r.at[0]
	} else {
		r.end = ringHead
	}
	var h [ringHead]byte
	putLE32(h[:], uint32(r.first))
	putLE32(h[4:], uint32(r.first>>32))
	putLE32(h[8:], at)
	putLE32(h[12:], crc32.Checksum(h[:12], castagnoli))
	_ = sys.Pwrite(r.fd, h[:], 0)
	_ = syscall.Fallocate(r.fd, sys.PunchHole, ringHead, int64(at-ringHead)) // where it cannot: at the next empty ring
}

// Ended finds the end of a run that a keeper told and did not live to record.
func (r *Ring) Ended(id string, pid int32, starts uint32) (keeperwire.Exit, bool) {
	for seq := r.Last(); seq >= r.first; seq-- {
		e, ok := r.Get(seq)
		if ok && e.Kind == keeperwire.EvExited && e.ID == id && e.PID == pid && e.Starts == starts {
			return e.Exit, true
		}
	}
	return keeperwire.Exit{}, false
}
