package bus

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/backstay/backstay"
)

// Whatever a file has become, reading it ends, numbers grow, and a log that goes
// on from it works.
func FuzzSegment(f *testing.F) {
	head := `{"backstay":"events","v":1,"reserved":100}` + "\n"
	e := func(n int) string { return fmt.Sprintf(`{"id":"n/b/%d","kind":"x"}`, n) + "\n" }
	for _, seed := range []string{
		"", "\n", head, head + e(1) + e(2), head + e(1) + e(2)[:9], e(2) + e(1), head + "\x00\x00\x00\n" + e(3), head + e(1) + head + e(2),
		head + `{"id":"n/b/18446744073709551615"}` + "\n" + e(5), head + `{"backstay":"x","v":9}` + "\n" + e(1),
		`{"backstay":"events","v":2}` + "\n", head + strings.Repeat("x", maxLine+10) + "\n" + e(1), `{"backstay":"events","v":1,"reserved":18446744073709551615}` + "\n",
		"[]\nnull\n1\n\"x\"\n", `{"id":"n/b/1","at":"never"}` + "\n", head + e(1) + "}{" + e(2),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		last, n := uint64(0), 0
		found, err := scan(bytes.NewReader(text), func(seq uint64, e backstay.Event) bool {
			if seq <= last {
				t.Fatalf("%d after %d", seq, last)
			}
			last = seq
			n++
			return true
		})
		if n+found.damaged > bytes.Count(text, []byte{'\n'})+1 || found.tail > len(text) || found.last != last {
			t.Fatalf("%d events, %+v", n, found)
		}
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf(segmentName, 1)), text, 0o600))
		b, newErr := New(Options{Dir: dir, Node: "n"})
		if (newErr == nil) != (err == nil) {
			t.Fatalf("scan %v, New %v", err, newErr)
		}
		if newErr != nil {
			return
		}
		b.Record(backstay.Event{Because: "after"})
		must(t, b.Close())
		if last > 1<<62 || found.reserved > 1<<62 {
			return // numbers wrap: no log of ours gets there
		}
		b, err = New(Options{Dir: dir, Node: "n"})
		must(t, err)
		all, err := b.Since("")
		must(t, err)
		must(t, b.Close())
		if len(all) == 0 || all[len(all)-1].Because != "after" {
			t.Fatalf("of %d events the last is not what was recorded", len(all))
		}
	})
}
