package statefile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

type drawer struct {
	Head

	Spoons int   `json:"spoons"`
	Bad    []any `json:"bad,omitempty"`
}

var third = Format{Kind: "drawer", V: 3}

// Only this version and the one before are read; each other file is refused in
// its own words, and nothing of it is taken.
func TestOnlyTwoVersionsAreRead(t *testing.T) {
	for name, c := range map[string]struct {
		text  string
		newer bool
		want  string
	}{
		"this version":      {`{"backstay":"drawer","v":3,"spoons":7}`, false, ""},
		"the one before":    {`{"backstay":"drawer","v":2,"spoons":7}`, false, ""},
		"a newer one":       {`{"backstay":"drawer","v":4,"spoons":7}`, true, "drawer version 4, this one reads up to 3"},
		"newer, other type": {`{"backstay":"drawer","v":4,"spoons":{}}`, true, "drawer version 4"},
		"too old":           {`{"backstay":"drawer","v":1,"spoons":7}`, false, "drawer version 1, this one reads from 2"},
		"no version":        {`{"backstay":"drawer","spoons":7}`, false, `it says "drawer", version 0`},
		"another kind":      {`{"backstay":"shelf","v":3,"spoons":7}`, false, `it says "shelf", version 3, and should be drawer`},
		"newer of another":  {`{"backstay":"shelf","v":9,"spoons":7}`, false, `it says "shelf", version 9`},
		"nobody's":          {`{"spoons":7}`, false, `it says "", version 0`},
		"cut":               {`{"backstay":"drawer","v":3,"spoo`, false, "unexpected end"},
		"empty":             {``, false, "unexpected end"},
		"null":              {`null`, false, `it says ""`},
		"other type":        {`{"backstay":"drawer","v":3,"spoons":"7"}`, false, "cannot unmarshal"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "drawer.json")
			must(t, os.WriteFile(path, []byte(c.text), 0o600))
			var got drawer
			err := third.Read(path, &got)
			if (err == nil) != (c.want == "") || errors.Is(err, ErrNewer) != c.newer {
				t.Fatalf("err = %v", err)
			}
			if err == nil && got.Spoons != 7 || err != nil && got.Spoons != 0 {
				t.Errorf("read %+v, %v", got, err)
			}
			if err != nil && (!strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path)) {
				t.Errorf("%v does not say %q of %s", err, c.want, path)
			}
			if after, _ := os.ReadFile(path); string(after) != c.text {
				t.Errorf("the file is %q now", after)
			}
		})
	}
}

// Whatever the head of a value says: what is written is of this format.
func TestWhatIsWrittenSaysWhatItIs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "drawer.json")
	must(t, third.Write(path, &drawer{Head: Head{"shelf", 1}, Spoons: 5}, 0o640))
	text, err := os.ReadFile(path)
	must(t, err)
	want := "{\n \"backstay\": \"drawer\",\n \"v\": 3,\n \"spoons\": 5\n}\n"
	if string(text) != want {
		t.Errorf("got %s", text)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	var again drawer
	must(t, third.Read(path, &again))
	if again.Spoons != 5 || again.Head != (Head{"drawer", 3}) {
		t.Errorf("%+v", again)
	}
}

func TestWhatCannotBeWrittenLeavesTheOldFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "drawer.json")
	must(t, third.Write(path, &drawer{Spoons: 5}, 0o600))
	err := third.Write(path, &drawer{Bad: []any{func() {}}}, 0o600)
	if err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("err = %v", err)
	}
	var still drawer
	must(t, third.Read(path, &still))
	if still.Spoons != 5 {
		t.Errorf("%+v", still)
	}
	gone := filepath.Join(filepath.Dir(path), "gone", "drawer.json")
	if err := third.Write(gone, &drawer{}, 0o600); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), gone) {
		t.Errorf("err = %v", err)
	}
}

// Callers ask whether a file was never there.
func TestAFileThatIsNotThereIsToldApart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "drawer.json")
	if err := third.Read(path, &drawer{}); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("err = %v", err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
