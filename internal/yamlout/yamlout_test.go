package yamlout_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/yamlout"
)

type inner struct {
	Name string   `json:"name"`
	List []string `json:"list"`
}

// Values come out in the order of their fields, nested as they are.
func TestEncode(t *testing.T) {
	at := time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC)
	for want, v := range map[string]any{
		"null\n":                           nil,
		"{}\n":                             struct{}{},
		"[]\n":                             []int{},
		"3.50\n":                           jsonNumber("3.50"),
		"- 1\n- - 2\n  - 3\n- []\n- {}\n":  []any{1, []int{2, 3}, []int{}, struct{}{}},
		"name: a\nlist:\n  - b\n  - c d\n": inner{"a", []string{"b", "c d"}},
		"- name: a\n  list: []\n- name: b\n  list: null\n": []inner{{"a", []string{}}, {"b", nil}},
		"a:\n  b:\n    c: true\n":                          map[string]any{"a": map[string]any{"b": map[string]any{"c": true}}},
		"at: \"2026-03-14T15:09:26Z\"\n": struct {
			At time.Time `json:"at"`
		}{at},
		"\"1\": \"1\"\n\"a: b\": \"- x\"\n\"no\": \"no\"\n": map[string]string{"1": "1", "a: b": "- x", "no": "no"},
	} {
		var b bytes.Buffer
		if err := yamlout.Encode(&b, v); err != nil || b.String() != want {
			t.Errorf("got\n%swant\n%s%v", b.String(), want, err)
		}
	}
}

type jsonNumber string

func (n jsonNumber) MarshalJSON() ([]byte, error) { return []byte(n), nil }

// Text that a reader could take for something else, or that has no place in a
// file, is quoted.
func TestText(t *testing.T) {
	for s, want := range map[string]string{
		"shop": "shop", "shop@14": "shop@14", "/srv/app": "/srv/app", "a b": "a b", "v1.2.3": "v1.2.3", "10.0.0.1": `"10.0.0.1"`,
		"": `""`, "true": `"true"`, "No": `"No"`, "null": `"null"`, "~": `"~"`, "1e3": `"1e3"`, "0x1f": `"0x1f"`, ".inf": `".inf"`,
		"a:": `"a:"`, "a: b": `"a: b"`, "a #b": `"a #b"`, "#": `"#"`, "- a": `"- a"`, "[a]": `"[a]"`, "*a": `"*a"`, "&a": `"&a"`, "!a": `"!a"`,
		" a": `" a"`, "a ": `"a "`, "a  b": `"a  b"`, "a\nb": `"a\nb"`, "tab\t": `"tab\t"`, "\x1b[31m": `"\x1b[31m"`, `a"b\c`: `"a\"b\\c"`,
		"ü": `"ü"`, "日本": `"日本"`, "\u2028": `"\u2028"`, "\u0085": `"\x85"`, "\ufeff": `"\ufeff"`, "😀": `"😀"`, "a=b": `"a=b"`, "---": `"---"`, "a -b": `"a -b"`,
	} {
		var b bytes.Buffer
		if err := yamlout.Encode(&b, s); err != nil || b.String() != want+"\n" {
			t.Errorf("%q: %swant %s, %v", s, b.String(), want, err)
		}
	}
}

// A value that JSON cannot write, and a writer that is full, are errors.
func TestEncodeFails(t *testing.T) {
	if err := yamlout.Encode(&bytes.Buffer{}, func() {}); err == nil {
		t.Error("a function was written")
	}
	if err := yamlout.Encode(full{}, 1); !errors.Is(err, errFull) {
		t.Error(err)
	}
}

var errFull = errors.New("full")

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }
