package keeperwire_test

import (
	"bytes"
	"testing"

	"github.com/backstay/backstay/internal/keeperwire"
)

// FuzzDecode promises that no frame panics or costs more memory than a small
// multiple of itself, and that what is understood says the same when written
// and read again.
func FuzzDecode(f *testing.F) {
	m := message()
	f.Add(m.Append(nil))
	f.Add([]byte{1, 0, 0, 0, 0})
	f.Add([]byte{1, 0, 0, 0, 0, 11, 8, 0, 0, 3, 0, 0, 0, 3, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := keeperwire.Decode(b)
		if err != nil {
			return
		}
		once := m.Append(nil)
		if len(once) > keeperwire.MaxFrame {
			return
		}
		again, err := keeperwire.Decode(once)
		if err != nil || !bytes.Equal(again.Append(nil), once) {
			t.Fatalf("%v: %+v", err, m)
		}
		if m.Spec != nil {
			_ = m.Spec.Check()
		}
	})
}

// FuzzFiles is the same for what lies on disk.
func FuzzFiles(f *testing.F) {
	r, s := record(), full()
	f.Add(r.Append(nil))
	f.Add(keeperwire.AppendBoot(nil, &s))
	f.Add(keeperwire.AppendMark(nil, keeperwire.Mark{Offset: 1, At: 2}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := keeperwire.DecodeRecord(b); err == nil {
			again, err := keeperwire.DecodeRecord(r.Append(nil))
			if err != nil || !bytes.Equal(again.Append(nil), r.Append(nil)) {
				t.Fatal(err, r)
			}
		}
		specs, _ := keeperwire.DecodeBoot(b)
		if len(specs) > len(b) {
			t.Fatal("more specs than bytes")
		}
		_, _ = keeperwire.DecodeMark(b)
		_, _ = keeperwire.DecodeEvent(b)
		_, _ = keeperwire.DecodeSpec(b)
	})
}
