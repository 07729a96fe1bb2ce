package statefile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/backstay/backstay/internal/statefile"
)

type note struct {
	statefile.Head

	Text string `json:"text"`
}

// What is broken is put aside whole; what is newer, or not there, is let alone.
func TestWhatIsBrokenIsPutAside(t *testing.T) {
	f := statefile.Format{Kind: "note", V: 1}
	for text, want := range map[string]error{
		"": statefile.ErrBroken, "{": statefile.ErrBroken, `{"backstay":"other","v":1}`: statefile.ErrBroken,
		`{"backstay":"note","v":2}`: statefile.ErrNewer,
	} {
		path := filepath.Join(t.TempDir(), "note.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := f.Load(path, &note{}); !errors.Is(err, want) {
			t.Errorf("%q: %v", text, err)
		}
		entries, err := os.ReadDir(filepath.Dir(path))
		if err != nil || len(entries) != 1 {
			t.Fatalf("%q: %v, %v", text, entries, err)
		}
		of, aside := statefile.IsAside(entries[0].Name())
		if aside != errors.Is(want, statefile.ErrBroken) || aside && of != "note.json" {
			t.Errorf("%q is left as %s", text, entries[0].Name())
		}
		if got, _ := os.ReadFile(filepath.Join(filepath.Dir(path), entries[0].Name())); string(got) != text {
			t.Errorf("%q became %q", text, got)
		}
	}
	if err := f.Load(filepath.Join(t.TempDir(), "none"), &note{}); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
