package logs

import (
	"bytes"
	"time"

	"github.com/backstay/backstay/internal/keeperwire"
)

const (
	// maxLine is the longest line that is shown, in bytes; what is longer is cut,
	// and says so.
	maxLine = 64 << 10
	cutMark = " … (cut here: the line is longer than 64KiB)"
)

// Line is one line of a log.
type Line struct {
	At     time.Time // when its first byte was read; zero is unknown
	Stream string    // stdout, stderr, or backstay for a word of the keeper's own
	Text   []byte    // without its newline; whatever the program wrote, NULs too
}

var streams = [...]string{keeperwire.Stdout: "stdout", keeperwire.Stderr: "stderr", keeperwire.Keeper: "backstay"}

// renderer makes lines of bytes. It is told where each piece comes from, and
// keeps the beginnings of lines, one for each stream. A line that it hands out is
// good until the next call.
type renderer struct {
	emit  func(Line) error
	parts [len(streams)]part
}

// part is the beginning of a line.
type part struct {
	open bool // there is one, if only an empty one
	long bool // it was shown and cut: the rest is passed over
	at   time.Time
	text []byte
}

// piece takes bytes that came from stream at a time.
func (r *renderer) piece(stream keeperwire.Stream, at time.Time, b []byte) error {
	p := &r.parts[stream]
	for len(b) > 0 {
		text, rest, ended := bytes.Cut(b, []byte{'\n'})
		b = rest
		if !p.open {
			*p = part{open: true, at: at, text: p.text[:0]}
		}
		if err := r.add(stream, text); err != nil {
			return err
		}
		if ended {
			if err := r.end(stream); err != nil {
				return err
			}
		}
	}
	return nil
}

// add adds to a line that has begun.
func (r *renderer) add(stream keeperwire.Stream, text []byte) error {
	p := &r.parts[stream]
	if p.long {
		return nil
	}
	room := maxLine - len(p.text)
	if len(text) <= room {
		p.text = append(p.text, text...)
		return nil
	}
	p.text = append(append(p.text, text[:room]...), cutMark...)
	p.long = true // at once: its end may be far, or never come
	return r.emit(Line{At: p.at, Stream: streams[stream], Text: p.text})
}

// end ends the line of a stream, if one has begun.
func (r *renderer) end(stream keeperwire.Stream) error {
	p := &r.parts[stream]
	ended := p.open && !p.long
	p.open = false
	if !ended || stream == keeperwire.Keeper && len(p.text) == 0 { // the keeper ends the line of another before its own
		return nil
	}
	return r.emit(Line{At: p.at, Stream: streams[stream], Text: p.text})
}

// flush ends all lines that have begun: nothing that belongs to them will come.
func (r *renderer) flush() error {
	for stream := range r.parts {
		if err := r.end(keeperwire.Stream(stream)); err != nil {
			return err
		}
	}
	return nil
}
