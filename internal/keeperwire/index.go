package keeperwire

import "strconv"

// MarkSize is the size of one record of a log's index.
const MarkSize = 16

// Stream is where bytes of a log came from.
type Stream uint8

// The streams.
const (
	Stdout Stream = iota
	Stderr
	Keeper // a line of the keeper's own: what was dropped
)

// Flags of a Mark.
const (
	// Torn: the bytes before belong to another stream, and their line is not
	// finished: it goes on where that stream comes next.
	Torn uint8 = 1 << iota
	// Fresh: a new run of the instance begins here.
	Fresh
	// Lost: bytes were dropped here; the keeper's line says how many.
	Lost
)

// Mark says when the bytes of a log from Offset up to the next mark were read,
// and from which stream. A mark is written before its bytes: of two with one
// offset, which a kill leaves, the later counts; one at the end has no bytes yet.
type Mark struct {
	Offset uint64 // in the log, below 2^48
	At     int64  // wall clock, Unix ns
	Stream Stream
	Flags  uint8
}

// AppendMark appends m in MarkSize bytes: offset in 6, stream, flags, time in 8,
// little-endian.
func AppendMark(b []byte, m Mark) []byte {
	b = append(b, byte(m.Offset), byte(m.Offset>>8), byte(m.Offset>>16), byte(m.Offset>>24), byte(m.Offset>>32), byte(m.Offset>>40))
	b = append(b, byte(m.Stream), m.Flags)
	t := uint64(m.At)
	return append(b, byte(t), byte(t>>8), byte(t>>16), byte(t>>24), byte(t>>32), byte(t>>40), byte(t>>48), byte(t>>56))
}

// DecodeMark reads the mark at the front of b.
func DecodeMark(b []byte) (Mark, error) {
	if len(b) < MarkSize {
		return Mark{}, ErrMalformed
	}
	m := Mark{Stream: Stream(b[6]), Flags: b[7]}
	for i, c := range b[:6] {
		m.Offset |= uint64(c) << (8 * i)
	}
	for i, c := range b[8:MarkSize] {
		m.At |= int64(c) << (8 * i)
	}
	if m.Stream > Keeper {
		return Mark{}, ErrMalformed
	}
	return m, nil
}

// Index is the name of the index of a log file, rotated or not.
func Index(log string) string { return log + ".idx" }

// Rotated is the name of the n-th older file of a log: 0 is the log itself, 1
// the one before it.
func Rotated(log string, n int) string {
	if n == 0 {
		return log
	}
	return log + "." + strconv.Itoa(n)
}
