package corpus

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const sample = `# a comment
=== escapes
! trusted
>a\tb\x00\\\{3*xy}\r\
>end
= forward 200 code
<old
=== none
>x\
= reject 400 some_code
`

func TestEscapesStandForBytes(t *testing.T) {
	cases, err := parse("f", sample)
	if err != nil {
		t.Fatal(err)
	}
	c := cases[0]
	if got := string(c.Sent); got != "a\tb\x00\\xyxyxy\rend\r\n" {
		t.Errorf("sent %q", got)
	}
	if !c.Has("trusted") || c.Label != "forward" || strings.Join(c.Args, " ") != "200 code" || string(c.Golden) != "old\r\n" {
		t.Errorf("case %+v", c)
	}
	if got := string(cases[1].Sent); got != "x" {
		t.Errorf("sent %q", got)
	}
}

func TestUpdateWritesWhatLoadReads(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.txt")
	if err := os.WriteFile(file, []byte(sample), 0o600); err != nil {
		t.Fatal(err)
	}
	cases, err := Load(filepath.Dir(file))
	if err != nil {
		t.Fatal(err)
	}
	want := "a\\b\r\n\x7f" + strings.Repeat("z", 100) + "\n\rtail"
	cases[0].Golden = []byte(want)
	if err := Update(file, cases); err != nil {
		t.Fatal(err)
	}
	again, err := Load(filepath.Dir(file))
	if err != nil {
		t.Fatal(err)
	}
	if got := string(again[0].Golden); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestBadFilesAreRefused(t *testing.T) {
	for _, text := range []string{
		">before any case", "=== a\n>x\n", "=== a\n= reject\n", "=== a\n>\\q\n= reject", "=== a\n>\\xzz\n= reject",
		"=== a\n>\\{a*b}\n= reject", "=== a\n>\\{9\n= reject", "=== a\n>x\n= reject\n= reject", "=== a\n?\n",
	} {
		if _, err := parse("f", text); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}
