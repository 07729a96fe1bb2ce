package keeperwire

import "strconv"

// MaxFrame bounds a frame, and so a Spec: the largest datagram that a socket
// with the kernel's default buffer takes without a second thought.
const MaxFrame = 64 << 10

// MsgKind says what a frame is.
type MsgKind uint8

// The kinds of frames. A request is answered by OK or Err with its N, or by what
// stands behind the arrow.
const (
	Hello      MsgKind = iota + 1 // Version → Welcome
	WelcomeMsg                    // Welcome
	List                          // → SlotMsg for each slot, End
	SlotMsg                       // Slot
	End                           // after the last SlotMsg
	Put                           // Spec: make or change a slot; it does not start
	Start                         // ID
	Stop                          // ID, Text the reason: signal, grace, kill; no restart
	Signal                        // ID, Signal: to the main process
	Kill                          // ID, Text, Flag: KILL the whole tree; Flag: it is still wanted
	Remove                        // ID: forget a slot that does not run
	SetReady                      // ID, Flag
	SetNote                       // ID, Note
	Subscribe                     // Seq → OK, then EventMsg after Seq, for ever
	EventMsg                      // Event
	Ack                           // Seq: events up to it may be forgotten; N 0 wants no answer
	PutFD                         // Name, and one descriptor beside the frame
	GetFD                         // Name → OK and the descriptor
	ListFDs                       // → OK, Text the names, one a line
	DropFD                        // Name
	ProbeMsg                      // Probe → OK; the result is EvProbed
	PidFD                         // ID → OK and the descriptor
	Beat                          // → OK: a sign of life, as every frame is
	Leave                         // → OK; the keeper ends, its children stay
	OK                            //
	Err                           // Code, Text
)

// Msg is one frame. Which fields count is said at its kind.
type Msg struct {
	Kind    MsgKind
	N       uint32 // number of the request, repeated in its answer
	ID      string
	Name    string
	Code    string
	Text    string
	Seq     uint64
	Signal  int32
	Flag    bool
	Version uint16
	Welcome *Welcome
	Spec    *Spec
	Slot    *Slot
	Event   *Event
	Probe   *Probe
	Note    []byte
}

// Append appends the frame to b.
func (m *Msg) Append(b []byte) []byte {
	b = append(b, byte(m.Kind), byte(m.N), byte(m.N>>8), byte(m.N>>16), byte(m.N>>24))
	b = putBytes(b, 1, m.ID)
	b = putBytes(b, 2, m.Name)
	b = putBytes(b, 3, m.Code)
	b = putBytes(b, 4, m.Text)
	b = putUint(b, 5, m.Seq)
	b = putInt(b, 6, m.Signal)
	b = putBool(b, 7, m.Flag)
	b = putUint(b, 8, uint64(m.Version))
	b = putBytes(b, 9, m.Note)
	if m.Welcome != nil {
		b = putStruct(b, 10, m.Welcome.append)
	}
	if m.Spec != nil {
		b = putStruct(b, 11, m.Spec.Append)
	}
	if m.Slot != nil {
		b = putStruct(b, 12, m.Slot.append)
	}
	if m.Event != nil {
		b = putStruct(b, 13, m.Event.Append)
	}
	if m.Probe != nil {
		b = putStruct(b, 14, m.Probe.append)
	}
	return b
}

// Decode reads one frame. Nothing in the answer shares memory with b.
func Decode(b []byte) (Msg, error) {
	if len(b) < 5 || len(b) > MaxFrame || b[0] == 0 {
		return Msg{}, ErrMalformed
	}
	m := Msg{Kind: MsgKind(b[0]), N: uint32(b[1]) | uint32(b[2])<<8 | uint32(b[3])<<16 | uint32(b[4])<<24}
	err := each(b[5:], m.take)
	return m, err
}

func (m *Msg) take(tag byte, v value) {
	switch tag {
	case 1:
		m.ID = v.str()
	case 2:
		m.Name = v.str()
	case 3:
		m.Code = v.str()
	case 4:
		m.Text = v.str()
	case 5:
		m.Seq = v.uint()
	case 6:
		m.Signal = v.int32()
	case 7:
		m.Flag = v.bool()
	case 8:
		m.Version = uint16(v.upTo(16))
	case 9:
		m.Note = v.bytes()
	case 10:
		m.Welcome = &Welcome{}
		v.in(m.Welcome.take)
	case 11:
		m.Spec = &Spec{}
		v.in(m.Spec.take)
	case 12:
		m.Slot = &Slot{}
		v.in(m.Slot.take)
	case 13:
		m.Event = &Event{}
		v.in(m.Event.take)
	case 14:
		m.Probe = &Probe{}
		v.in(m.Probe.take)
	}
}

// Error is m as an error, where its kind is Err: "no_slot: there is no shop-7f3a9c".
func (m *Msg) Error() string { return m.Code + ": " + m.Text }

// AppendBoot appends s to the content of a boot file: what a keeper starts if it
// has no slot of that name.
func AppendBoot(b []byte, s *Spec) []byte {
	at := len(b)
	m := Msg{Kind: Put, Spec: s}
	b = m.Append(append(b, 0, 0, 0, 0))
	n := len(b) - at - 4
	b[at], b[at+1], b[at+2], b[at+3] = byte(n), byte(n>>8), byte(n>>16), byte(n>>24)
	return b
}

// DecodeBoot reads a boot file. The specs before a mistake are returned with it.
func DecodeBoot(b []byte) (specs []Spec, err error) {
	for len(b) > 0 {
		if len(b) < 4 {
			return specs, bootError(len(specs))
		}
		n := int(b[0]) | int(b[1])<<8 | int(b[2])<<16 | int(b[3])<<24
		if n < 0 || n > len(b)-4 {
			return specs, bootError(len(specs))
		}
		m, err := Decode(b[4 : 4+n])
		if err != nil || m.Kind != Put || m.Spec == nil {
			return specs, bootError(len(specs))
		}
		specs, b = append(specs, *m.Spec), b[4+n:]
	}
	return specs, nil
}

type bootError int

func (e bootError) Error() string {
	return "boot file: entry " + strconv.Itoa(int(e)) + " is malformed; write the file anew"
}
