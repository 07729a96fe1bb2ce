// Package corpus reads the files of hostile and of plain HTTP/1.1 messages in
// l7/h1/testdata, for the tests of the parser and of the proxy.
//
// A file is a list of cases, each with one label:
//
//	=== two lengths
//	>POST / HTTP/1.1
//	>Host: a.example
//	>Content-Length: 5
//	>Content-Length: 6
//	>
//	>hello\
//	= reject 400 many_lengths
//
// Lines with > are what is sent: each ends in CRLF unless it ends in a
// backslash. Escapes are \r \n \t \\ \xHH and \{N*TEXT} for TEXT N times. The
// label is one line with =; lines with < after it are the golden bytes, in the
// same way of writing. A line with ! says how the case is to be run, one with #
// is a comment.
package corpus

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Case is one message and what becomes of it.
type Case struct {
	File, Name string
	Line       int    // of the name
	How        string // of the ! lines, joined by a space
	Sent       []byte
	Label      string   // reject, forward, return, ...
	Args       []string // that follow the label
	Golden     []byte
}

// String is where the case is and its name.
func (c *Case) String() string {
	return fmt.Sprintf("%s:%d: %s", filepath.Base(c.File), c.Line, c.Name)
}

// Has says whether a word stands on the ! lines.
func (c *Case) Has(word string) bool {
	return slices.Contains(strings.Fields(c.How), word)
}

// Asked is the request that an answer of the corpus is to. The ! lines may say
// toHEAD, to1.0, toUpgrade or toExpect; else it is a plain GET.
func (c *Case) Asked() []byte {
	line, more := "GET / HTTP/1.1", ""
	switch {
	case c.Has("toHEAD"):
		line = "HEAD / HTTP/1.1"
	case c.Has("to1.0"):
		line, more = "GET / HTTP/1.0", "Connection: keep-alive\r\n"
	case c.Has("toUpgrade"):
		more = "Connection: Upgrade\r\nUpgrade: websocket\r\n"
	case c.Has("toExpect"):
		line, more = "POST / HTTP/1.1", "Expect: 100-continue\r\nContent-Length: 5\r\n"
	}
	text := line + "\r\nHost: a.example\r\n" + more + "\r\n"
	if c.Has("toExpect") {
		text += "hello"
	}
	return []byte(text)
}

// Load reads all files of a directory, in order of their names.
func Load(dir string) ([]Case, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil {
		return nil, err
	}
	var cases []Case
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		more, err := parse(file, string(b))
		if err != nil {
			return nil, err
		}
		cases = append(cases, more...)
	}
	return cases, nil
}

func parse(file, text string) ([]Case, error) {
	var cases []Case
	for i, line := range strings.Split(text, "\n") {
		if name, ok := strings.CutPrefix(line, "=== "); ok {
			cases = append(cases, Case{File: file, Name: name, Line: i + 1})
			continue
		}
		if line == "" || line[0] == '#' {
			continue
		}
		if len(cases) == 0 {
			return nil, fmt.Errorf("%s:%d: line before the first case", file, i+1)
		}
		if err := cases[len(cases)-1].read(line); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, i+1, err)
		}
	}
	return cases, complete(cases)
}

func complete(cases []Case) error {
	for i := range cases {
		if c := &cases[i]; c.Label == "" || len(c.Sent) == 0 {
			return fmt.Errorf("%s: no label or nothing to send", c)
		}
	}
	return nil
}

func (c *Case) read(line string) error {
	rest := line[1:]
	switch line[0] {
	case '!':
		c.How = strings.TrimSpace(c.How + " " + strings.TrimSpace(rest))
		return nil
	case '>':
		return appendLine(&c.Sent, rest)
	case '<':
		return appendLine(&c.Golden, rest)
	case '=':
		if words := strings.Fields(rest); len(words) > 0 && c.Label == "" {
			c.Label, c.Args = words[0], words[1:]
			return nil
		}
	}
	return fmt.Errorf("line %q begins with none of === > < = ! #, or is a second label", line)
}

// appendLine appends the bytes that a line stands for.
func appendLine(dst *[]byte, line string) error {
	for len(line) > 0 {
		if line == `\` {
			return nil
		}
		if line[0] != '\\' {
			*dst, line = append(*dst, line[0]), line[1:]
			continue
		}
		n, err := appendEscape(dst, line[1:])
		if err != nil {
			return err
		}
		line = line[1+n:]
	}
	*dst = append(*dst, '\r', '\n')
	return nil
}

var escapes = map[byte]byte{'r': '\r', 'n': '\n', 't': '\t', '\\': '\\'}

func appendEscape(dst *[]byte, s string) (int, error) {
	if c, ok := escapes[s[0]]; ok {
		*dst = append(*dst, c)
		return 1, nil
	}
	switch s[0] {
	case 'x':
		var c byte
		if _, err := fmt.Sscanf(s[:min(3, len(s))], "x%02x", &c); err != nil {
			return 0, fmt.Errorf("escape \\%s: %w", s, err)
		}
		*dst = append(*dst, c)
		return 3, nil
	case '{':
		return appendRepeat(dst, s)
	}
	return 0, fmt.Errorf("escape \\%s is not known", s)
}

func appendRepeat(dst *[]byte, s string) (int, error) {
	end := strings.IndexByte(s, '}')
	count, text, ok := strings.Cut(s[1:max(end, 1)], "*")
	var n int
	if _, err := fmt.Sscan(count, &n); err != nil || !ok || text == "" {
		return 0, fmt.Errorf("escape \\%s is not \\{N*TEXT}", s)
	}
	var unit []byte
	if err := appendLine(&unit, text+`\`); err != nil {
		return 0, err
	}
	*dst = append(*dst, bytes.Repeat(unit, n)...)
	return end + 1, nil
}
