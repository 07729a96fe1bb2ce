package supervise

import (
	"testing"
	"time"

	"github.com/backstay/backstay"
)

// What lies in a slot was written by an agent, but perhaps by a newer one, or by
// a disk that had a bad day.

func FuzzNote(f *testing.F) {
	f.Add(note{state: backstay.Waiting}.encode())
	f.Add(sampleNote().encode())
	f.Add([]byte{noteVersion})
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := decodeNote(b)
		if err != nil {
			return
		}
		again, err := decodeNote(n.encode())
		if err != nil || again != n {
			t.Errorf("%+v\nread again as %+v, %v", n, again, err)
		}
		if len(n.encode()) > maxNote {
			t.Errorf("%d bytes", len(n.encode()))
		}
	})
}

func FuzzMeta(f *testing.F) {
	b, err := meta{Service: "shop", Release: "shop@1", Ports: map[string]uint16{"http": 20001}}.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"v":2}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeMeta(b)
		if err == nil && (m.V != metaVersion || !backstay.ValidName(m.Service)) {
			t.Errorf("taken: %+v", m)
		}
	})
}

func sampleNote() note {
	at := time.UnixMilli(1_700_000_000_123)
	n := note{
		drained: true, leave: draining, state: backstay.Draining, starts: 7, since: at, readySince: at, leaveAt: at, text: "scale to 2",
	}
	for i := range n.probes {
		n.probes[i] = probeNote{there: true, good: i%2 == 0, last: true, streak: uint16(i), since: at}
	}
	return n
}

func TestNoteIsReadAsWritten(t *testing.T) {
	want := sampleNote()
	got, err := decodeNote(want.encode())
	if err != nil || got != want {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
}

func TestNoteFitsWhateverItSays(t *testing.T) {
	n := sampleNote()
	for len(n.text) < 1000 {
		n.text += "größer "
	}
	b := n.encode()
	got, err := decodeNote(b)
	if err != nil || len(b) > maxNote || len(got.text) < maxNote-noteFixed-4 {
		t.Errorf("%d bytes, %q, %v", len(b), got.text, err)
	}
}

func TestForeignRecordsAreRefused(t *testing.T) {
	newer := sampleNote().encode()
	newer[0] = noteVersion + 1
	step := sampleNote().encode()
	step[2] = 200
	for name, b := range map[string][]byte{"empty": nil, "newer": newer, "step": step, "long": make([]byte, maxNote+1), "short": newer[:10]} {
		if n, err := decodeNote(b); err == nil {
			t.Errorf("%s is taken: %+v", name, n)
		}
	}
	for _, text := range []string{"", "{", `{"v":2,"service":"shop"}`, `{"v":1,"service":"../x"}`, `{"v":1}`} {
		if m, err := decodeMeta([]byte(text)); err == nil {
			t.Errorf("%s is taken: %+v", text, m)
		}
	}
}
