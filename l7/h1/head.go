package h1

import (
	"bytes"
	"iter"
)

// Limits bound a head. Zero values stand for the defaults.
type Limits struct {
	Head   int // bytes of a head, with the empty lines around it
	Fields int // field lines
}

// Defaults of [Limits]: what the big servers take, so that what works behind
// them works here.
const (
	MaxHead   = 64 << 10
	MaxFields = 200
)

func (l Limits) orDefault() Limits {
	if l.Head <= 0 {
		l.Head = MaxHead
	}
	if l.Fields <= 0 {
		l.Fields = MaxFields
	}
	return l
}

// span is a part of the buffer. A buffer may be moved while a head arrives, so
// nothing points into it before the head is complete.
type span struct{ from, to int32 }

type field struct {
	name, value span
	kind        kind
	drop        bool // nominated by Connection
}

// head is what requests and answers share: lines of fields, read one by one as
// they arrive, each judged as soon as it is complete. So what is wrong is
// refused at once, and a head that comes byte by byte is read only once.
type head struct {
	buf    []byte
	fields []field

	next    int  // start of the first line that is not read yet
	seen    int  // before it the buffer has been searched for line ends and control bytes
	started bool // the request line or status line has been read
	done    bool // complete or refused: the next Parse begins anew
	answer  bool // of a server: whitespace before a colon is taken off

	minor       uint8 // of the version
	close       bool  // Connection: close
	wantUpgrade bool  // Connection: upgrade
	hosts       int
	host        span
	lengths     int
	length      int64
	chunked     bool
	upgrades    int // fields
	upgrade     span
	expects     int
	expect      span
}

func (h *head) reset() {
	*h = head{fields: h.fields[:0]}
}

func (h *head) view(s span) []byte { return h.buf[s.from:s.to:s.to] }

// line is the next line without its CRLF. The verdict on a line is that on its
// first bad byte, whether the rest of the line is there or not; so it does not
// depend on how the bytes were cut into segments.
func (h *head) line(b []byte) (from, to int, err error) {
	lf := bytes.IndexByte(b[h.seen:], '\n')
	if lf < 0 {
		return 0, 0, h.part(b)
	}
	end := h.seen + lf
	to = end
	if to > h.next && b[to-1] == '\r' {
		to--
	}
	if err := badByte(b[h.seen:to]); err != nil {
		return 0, 0, err
	}
	if to == end {
		return 0, 0, errBareLF
	}
	from, h.next, h.seen = h.next, end+1, end+1
	return from, to, nil
}

// part judges the beginning of a line. A CR at its very end is left for next
// time.
func (h *head) part(b []byte) error {
	to := len(b)
	if to > h.seen && b[to-1] == '\r' {
		to--
	}
	if err := badByte(b[h.seen:to]); err != nil {
		return err
	}
	h.seen = to
	return ErrIncomplete
}

func badByte(b []byte) error {
	i := control(b)
	switch {
	case i < 0:
		return nil
	case b[i] == '\r':
		return errBareCR
	}
	return errControl
}

// readFields reads field lines up to the empty line and returns the length of
// the head.
func (h *head) readFields(b []byte, limit int) (int, error) {
	for {
		from, to, err := h.line(b)
		if err != nil {
			return 0, err
		}
		if from == to {
			return h.next, nil
		}
		if err := h.readField(from, to, limit); err != nil {
			return 0, err
		}
	}
}

func (h *head) readField(from, to, limit int) error {
	line := h.buf[from:to]
	if blank(line[0]) {
		return errObsFold
	}
	if len(h.fields) == limit {
		return errTooMany
	}
	colon := bytes.IndexByte(line, ':')
	if colon < 0 {
		return errNoColon
	}
	name := line[:colon]
	if h.answer {
		name = trimRight(name) // RFC 9112 5.1: a proxy removes it from answers
	}
	if err := checkName(name); err != nil {
		return err
	}
	value := trim(line[colon+1:])
	start := from + colon + 1 + leading(line[colon+1:])
	h.fields = append(h.fields, field{
		name:  span{int32(from), int32(from + len(name))},
		value: span{int32(start), int32(start + len(value))},
		kind:  kindOf(name),
	})
	return nil
}

func leading(b []byte) int {
	n := 0
	for n < len(b) && blank(b[n]) {
		n++
	}
	return n
}

func checkName(name []byte) error {
	switch {
	case len(name) == 0:
		return errEmptyName
	case all(name, isToken):
		return nil
	case isTokenText(trimRight(name)):
		return errSpaceColon
	}
	return errName
}

// Fields are the fields as they came, in order: names and values without the
// whitespace around them.
func (h *head) Fields() iter.Seq2[[]byte, []byte] {
	return func(yield func(name, value []byte) bool) {
		for i := range h.fields {
			if !yield(h.view(h.fields[i].name), h.view(h.fields[i].value)) {
				return
			}
		}
	}
}

// Get is the value of the first field of a name (given in lower case), and
// whether there is one.
func (h *head) Get(lower string) ([]byte, bool) {
	for i := range h.fields {
		if Same(h.view(h.fields[i].name), lower) {
			return h.view(h.fields[i].value), true
		}
	}
	return nil, false
}

// HasField says whether there is a field of a name (given in lower case), and,
// with a value other than "", whether one of them has it.
func (h *head) HasField(lower, value string) bool {
	for i := range h.fields {
		f := &h.fields[i]
		if Same(h.view(f.name), lower) && (value == "" || string(h.view(f.value)) == value) {
			return true
		}
	}
	return false
}
