package keeperwire

import (
	"time"

	"github.com/backstay/backstay/internal/restart"
)

// Record is all that a keeper must know of a slot to go on where another one was
// killed. Spec stands elsewhere: Slot.SpecHash says which.
type Record struct {
	Slot    Slot
	Machine restart.Machine

	SpecArea uint8  // which of the slot's two areas holds the spec
	SpecLen  uint32 //

	// Of the present run: a changed spec counts only from the next one on.
	Cgroup  string
	LogFile string
	KillAt  int64 // CLOCK_BOOTTIME, ns: when the tree is killed; 0 is never
	Ended   bool  // the main process has; the rest of the tree may not
	Asked   bool  // we have signalled it
	Crashed bool  // how Ended counts
	Reason  string
}

// Append appends the fields of r.
func (r *Record) Append(b []byte) []byte {
	b = putStruct(b, 1, r.Slot.append)
	b = putStruct(b, 2, func(b []byte) []byte { return appendMachine(b, &r.Machine) })
	b = putUint(b, 3, uint64(r.SpecArea))
	b = putUint(b, 4, uint64(r.SpecLen))
	b = putBytes(b, 5, r.Cgroup)
	b = putBytes(b, 6, r.LogFile)
	b = putInt(b, 9, r.KillAt) // 7 and 8 were inodes of FIFOs
	b = putBool(b, 10, r.Ended)
	b = putBool(b, 11, r.Asked)
	b = putBool(b, 12, r.Crashed)
	return putBytes(b, 13, r.Reason)
}

// DecodeRecord reads what Append wrote.
func DecodeRecord(b []byte) (Record, error) {
	var r Record
	err := each(b, r.take)
	return r, err
}

func (r *Record) take(tag byte, v value) {
	switch tag {
	case 1:
		v.in(r.Slot.take)
	case 2:
		takeMachine(&r.Machine, v)
	case 3:
		r.SpecArea = uint8(v.upTo(1))
	case 4:
		r.SpecLen = uint32(v.upTo(16))
	case 5:
		r.Cgroup = v.str()
	case 6:
		r.LogFile = v.str()
	case 9:
		r.KillAt = v.int()
	case 10:
		r.Ended = v.bool()
	case 11:
		r.Asked = v.bool()
	case 12:
		r.Crashed = v.bool()
	case 13:
		r.Reason = v.str()
	}
}

func appendMachine(b []byte, m *restart.Machine) []byte {
	b = putBool(b, 1, m.Wanted)
	b = putBool(b, 2, m.Running)
	b = putBool(b, 3, m.Failed)
	b = putBool(b, 4, m.Told)
	b = putUint(b, 5, uint64(m.Failures))
	b = putInt(b, 6, int64(m.Pause))
	b = putInt(b, 7, int64(m.Up))
	b = putInt(b, 8, int64(m.ReadyAt))
	b = putInt(b, 9, int64(m.Due))
	b = putInt(b, 10, m.Part)
	for _, n := range m.Counts {
		b = putNumber(b, 11, uint64(n))
	}
	return b
}

func takeMachine(m *restart.Machine, v value) {
	at := 0
	v.in(func(tag byte, v value) {
		switch tag {
		case 1:
			m.Wanted = v.bool()
		case 2:
			m.Running = v.bool()
		case 3:
			m.Failed = v.bool()
		case 4:
			m.Told = v.bool()
		case 5:
			m.Failures = uint32(v.upTo(32))
		case 6:
			m.Pause = time.Duration(v.int())
		case 7:
			m.Up = time.Duration(v.int())
		case 8:
			m.ReadyAt = time.Duration(v.int())
		case 9:
			m.Due = time.Duration(v.int())
		case 10:
			m.Part = v.int()
		case 11:
			if at == len(m.Counts) {
				v.fail()
				return
			}
			m.Counts[at] = uint32(v.upTo(32))
			at++
		}
	})
}
