package supervise

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/backstay/backstay"
)

// What lies in the keeper's slot is read by the next agent, which may be of
// another version: Meta is JSON, Note is bytes whose first says which version.

// meta is what never changes about an instance, and the policy last put.
type meta struct {
	V       int               `json:"v"`
	Service string            `json:"service"`
	Release string            `json:"release"`
	Ports   map[string]uint16 `json:"ports,omitempty"`
	Ready   string            `json:"ready,omitempty"`    // probe, started
	LogFile string            `json:"log_file,omitempty"` // of the spec
	policy
}

// policy is what the file said last of what the keeper is told.
type policy struct {
	Policy    uint64            `json:"policy,omitempty"` // its fingerprint
	Drain     backstay.Duration `json:"drain,omitempty"`  // these two are for an agent that does not find the service in its file
	DrainLong backstay.Duration `json:"drain_long,omitempty"`
}

// metaVersion is that of the newest meta here.
const metaVersion = 1

// maxMeta is what a slot has room for.
const maxMeta = 4 << 10

func (m meta) encode() ([]byte, error) {
	m.V = metaVersion
	b, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("write record of instance: %w", err)
	}
	if len(b) > maxMeta {
		return nil, fmt.Errorf("write record of instance: %d bytes, and there is room for %d: it has too many ports", len(b), maxMeta)
	}
	return b, nil
}

func decodeMeta(b []byte) (m meta, err error) {
	if len(b) > maxMeta {
		return meta{}, errors.New("record of instance: longer than any we write")
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return meta{}, fmt.Errorf("record of instance: %w", err)
	}
	if m.V != metaVersion {
		return meta{}, fmt.Errorf("record of instance: written by version %d, we read %d", m.V, metaVersion)
	}
	if !backstay.ValidName(m.Service) {
		return meta{}, fmt.Errorf("record of instance: %q is no service", m.Service)
	}
	return m, nil
}

// note is what changes about an instance and must outlive the agent.
type note struct {
	drained    bool // by a person
	leave      step
	state      backstay.InstanceState
	starts     uint32 // the run that ready and probes are about
	since      time.Time
	readySince time.Time // zero: not ready
	leaveAt    time.Time // when the step of leaving began
	probes     [3]probeNote
	text       string // why it leaves, else the last bad answer
}

type probeNote struct {
	there  bool
	good   bool
	last   bool
	streak uint16
	since  time.Time
}

// String returns n as transcripts show it: what decides, not what only shows.
func (n note) String() string {
	s := fmt.Sprintf("%s starts=%d ready=%v", n.state, n.starts, !n.readySince.IsZero())
	if n.drained {
		s += " drained"
	}
	if n.leave != stay {
		s += " " + n.leave.String()
	}
	return s + n.found()
}

func (n note) found() string {
	var b strings.Builder
	for i, p := range n.probes {
		if p.there {
			fmt.Fprintf(&b, " %s=%v/%d", probeNames[i], p.good, p.streak)
		}
	}
	return b.String()
}

// The note's layout: version, flags, step, state, starts, three times, three
// probes, text. Times are Unix milliseconds, 0 is none.
const (
	noteVersion = 1
	noteFixed   = 1 + 1 + 1 + 1 + 4 + 3*8 + 3*(1+2+8)
	maxNote     = 256 // what a slot has room for
)

var noteStates = []backstay.InstanceState{
	backstay.Waiting, backstay.Starting, backstay.Running, backstay.Draining, backstay.Stopping,
	backstay.Crashed, backstay.Backoff, backstay.Failed, backstay.Completed, backstay.Stopped,
}

func (n note) encode() []byte {
	b := make([]byte, 0, maxNote)
	b = append(b, noteVersion, bits(n.drained), byte(n.leave), stateByte(n.state))
	b = binary.LittleEndian.AppendUint32(b, n.starts)
	for _, t := range []time.Time{n.since, n.readySince, n.leaveAt} {
		b = appendTime(b, t)
	}
	for _, p := range n.probes {
		b = append(b, bits(p.there, p.good, p.last))
		b = binary.LittleEndian.AppendUint16(b, p.streak)
		b = appendTime(b, p.since)
	}
	return append(b, cut(n.text, maxNote-noteFixed)...)
}

func decodeNote(b []byte) (n note, err error) {
	if len(b) < noteFixed || len(b) > maxNote {
		return note{}, fmt.Errorf("note of instance: %d bytes", len(b))
	}
	if b[0] != noteVersion {
		return note{}, fmt.Errorf("note of instance: version %d, we read %d", b[0], noteVersion)
	}
	if step(b[2]) > removing || int(b[3]) >= len(noteStates) {
		return note{}, errors.New("note of instance: a step or state that there is not")
	}
	n = note{drained: b[1]&1 != 0, leave: step(b[2]), state: noteStates[b[3]], starts: binary.LittleEndian.Uint32(b[4:])}
	n.since, n.readySince, n.leaveAt = readTime(b[8:]), readTime(b[16:]), readTime(b[24:])
	for i := range n.probes {
		p := b[32+11*i:]
		n.probes[i] = probeNote{
			there: p[0]&1 != 0, good: p[0]&2 != 0, last: p[0]&4 != 0,
			streak: binary.LittleEndian.Uint16(p[1:]), since: readTime(p[3:]),
		}
	}
	n.text = cut(string(b[noteFixed:]), maxNote)
	return n, nil
}

func bits(flags ...bool) (b byte) {
	for i, f := range flags {
		if f {
			b |= 1 << i
		}
	}
	return b
}

func stateByte(s backstay.InstanceState) byte {
	for i, known := range noteStates {
		if s == known {
			return byte(i)
		}
	}
	panic("supervise: no such state: " + string(s))
}

func appendTime(b []byte, t time.Time) []byte {
	ms := int64(0)
	if !t.IsZero() {
		ms = t.UnixMilli()
	}
	return binary.LittleEndian.AppendUint64(b, uint64(ms))
}

func readTime(b []byte) time.Time {
	ms := int64(binary.LittleEndian.Uint64(b))
	if ms <= 0 || ms > maxMilli {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// maxMilli is the last moment a note may speak of: the year 9999.
const maxMilli = 253402300799999

// cut returns at most n bytes of s, and no half of a letter.
func cut(s string, n int) string {
	s = validUTF8(s)
	for len(s) > n {
		s = s[:lastRune(s)]
	}
	return s
}
