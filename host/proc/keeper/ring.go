package keeper

import (
	"hash/crc32"
	"syscall"

	"github.com/backstay/backstay/internal/keeperwire"
)

// Bounds of the ring: an agent that is away for days in a crash loop of fifty
// instances fills it; then it lists instead of reading.
const (
	maxEvents    = 64 << 10
	maxRing      = 16 << 20
	ringHead     = 64
	tidyRing     = 1 << 20 // acked bytes before what follows is moved to the front
	maxEventSize = 8 << 10
)

// ring is the events that are not acked, in a file: a kill of the keeper loses
// none, and memory holds only where each begins. The head says what is acked and
// where the first record is; a record is its length, its sum and the event. What
// lies behind the last one is from before: its numbers do not go on, so it is
// not read.
type ring struct {
	path  string
	fd    int
	first uint64   // number of the event at at[0]
	at    []uint32 // where each begins
	end   uint32   // where the next one goes
	buf   []byte
}

func openRing(path string) (*ring, error) {
	fd, err := syscall.Open(path, syscall.O_RDWR|syscall.O_CREAT|syscall.O_CLOEXEC|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	r := &ring{path: path, fd: fd, first: 1, end: ringHead, buf: make([]byte, 0, maxEventSize)}
	r.load()
	return r, nil
}

func (r *ring) load() {
	var h [ringHead]byte
	if n, _ := syscall.Pread(r.fd, h[:], 0); n == ringHead && crc32.Checksum(h[:12], castagnoli) == le32(h[12:]) {
		r.first = uint64(le32(h[:])) | uint64(le32(h[4:]))<<32
		r.end = le32(h[8:])
	}
	for {
		e, size, ok := r.read(r.end)
		if !ok || e.Seq != r.last()+1 {
			return
		}
		r.at, r.end = append(r.at, r.end), r.end+size
	}
}

// last is the number of the newest event ever.
func (r *ring) last() uint64 { return r.first + uint64(len(r.at)) - 1 }

func (r *ring) read(at uint32) (e keeperwire.Event, size uint32, ok bool) {
	var h [8]byte
	if n, err := syscall.Pread(r.fd, h[:], int64(at)); err != nil || n < len(h) {
		return e, 0, false
	}
	n := le32(h[:])
	if n == 0 || n > maxEventSize {
		return e, 0, false
	}
	b := r.buf[:n]
	if m, err := syscall.Pread(r.fd, b, int64(at)+8); err != nil || m < len(b) || crc32.Checksum(b, castagnoli) != le32(h[4:]) {
		return e, 0, false
	}
	e, err := keeperwire.DecodeEvent(b)
	return e, n + 8, err == nil
}

// get returns event number seq, if it is still here.
func (r *ring) get(seq uint64) (keeperwire.Event, bool) {
	if seq < r.first || seq > r.last() {
		return keeperwire.Event{}, false
	}
	e, _, ok := r.read(r.at[seq-r.first])
	return e, ok
}

// add numbers e and keeps it. When there is no room all is forgotten and one
// event says so: list again.
func (r *ring) add(e *keeperwire.Event) {
	if len(r.at) >= maxEvents || r.end > maxRing {
		say("the ring of events overflowed: the agent must list again")
		r.forget(r.last())
		r.write(&keeperwire.Event{At: e.At, Boot: e.Boot, Kind: keeperwire.EvResync})
	}
	r.write(e)
}

func (r *ring) write(e *keeperwire.Event) {
	e.Seq = r.last() + 1
	b := e.Append(r.buf[:8])
	putLE32(b, uint32(len(b)-8))
	putLE32(b[4:], crc32.Checksum(b[8:], castagnoli))
	if err := pwriteAll(r.fd, b, int64(r.end)); err != nil {
		say("write events:", named(err), "- the agent will not hear of", e.ID)
		return
	}
	r.at, r.end = append(r.at, r.end), r.end+uint32(len(b))
}

// ack forgets events up to seq.
func (r *ring) ack(seq uint64) {
	if seq >= r.first && len(r.at) > 0 {
		r.forget(min(seq, r.last()))
	}
}

func (r *ring) forget(seq uint64) {
	n := seq + 1 - r.first
	r.first, r.at = seq+1, append(r.at[:0], r.at[n:]...)
	at := uint32(ringHead)
	if len(r.at) > 0 {
		at = r.at[0]
	} else {
		r.end = ringHead
	}
	r.head(r.fd, at)
	if at > tidyRing && at > r.end/2 {
		r.tidy()
	}
}

func (r *ring) head(fd int, at uint32) {
	var h [ringHead]byte
	putLE32(h[:], uint32(r.first))
	putLE32(h[4:], uint32(r.first>>32))
	putLE32(h[8:], at)
	putLE32(h[12:], crc32.Checksum(h[:12], castagnoli))
	_ = pwriteAll(fd, h[:], 0)
}

// tidy moves what is left to the front of a new file, which then takes the place
// of the old one.
func (r *ring) tidy() {
	live := make([]byte, r.end-r.at[0])
	if n, err := syscall.Pread(r.fd, live, int64(r.at[0])); err != nil || n < len(live) {
		return
	}
	fd, err := syscall.Open(r.path+".new", syscall.O_RDWR|syscall.O_CREAT|syscall.O_TRUNC|syscall.O_CLOEXEC|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return
	}
	r.head(fd, ringHead)
	if pwriteAll(fd, live, ringHead) != nil || syscall.Rename(r.path+".new", r.path) != nil {
		closeFD(&fd)
		return
	}
	closeFD(&r.fd)
	back := r.at[0] - ringHead
	for i := range r.at {
		r.at[i] -= back
	}
	r.fd, r.end = fd, r.end-back
}

// ended finds the end of a run that a keeper told and did not live to record.
func (r *ring) ended(id string, pid int32, starts uint32) (keeperwire.Exit, bool) {
	for seq := r.last(); seq >= r.first; seq-- {
		e, ok := r.get(seq)
		if ok && e.Kind == keeperwire.EvExited && e.ID == id && e.PID == pid && e.Starts == starts {
			return e.Exit, true
		}
	}
	return keeperwire.Exit{}, false
}
