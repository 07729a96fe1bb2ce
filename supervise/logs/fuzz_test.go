package logs

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/backstay/backstay/internal/keeperwire"
)

// Whatever a log and its index have become, each byte is shown once.
func FuzzRead(f *testing.F) {
	m := func(off uint64, s keeperwire.Stream, flags uint8) []byte {
		return keeperwire.AppendMark(nil, keeperwire.Mark{Offset: off, At: 1, Stream: s, Flags: flags})
	}
	f.Add([]byte("one\ntwo\n"), m(0, out, 0), 0)
	f.Add([]byte("one\ntwo"), bytes.Join([][]byte{m(0, out, keeperwire.Fresh), m(2, errs, keeperwire.Torn), m(5, out, 0)}, nil), 1)
	f.Add([]byte("a\nb\nc\n"), bytes.Join([][]byte{m(4, errs, 0), m(2, out, 0), m(1<<47, errs, 0)}, nil), 2)
	f.Add([]byte("x\n\n\ny"), m(1, keeper, keeperwire.Lost)[:11], 3)
	f.Add([]byte("\x00\x00\xff"), []byte("not an index at all, longer than one mark"), -1)
	f.Fuzz(func(t *testing.T, log, index []byte, tail int) {
		if len(log) > maxLine {
			return // lines may be cut
		}
		path := filepath.Join(t.TempDir(), "x.log")
		must(t, os.WriteFile(path, log, 0o600))
		must(t, os.WriteFile(keeperwire.Index(path), index, 0o600))
		shown := 0
		var all, ends [][]byte
		collect := func(to *[][]byte) func(Line) error {
			return func(l Line) error {
				*to = append(*to, bytes.Clone(l.Text))
				shown += len(l.Text)
				return nil
			}
		}
		must(t, Read(t.Context(), Options{File: path}, collect(&all)))
		if want := len(log) - bytes.Count(log, []byte{'\n'}); shown != want {
			t.Fatalf("%d of %d bytes are shown: %q", shown, want, all)
		}
		if tail == 0 {
			return
		}
		must(t, Read(t.Context(), Options{File: path, Tail: tail}, collect(&ends)))
		if len(ends) > max(tail, 0) {
			t.Fatalf("%d lines for a tail of %d", len(ends), tail)
		}
	})
}
