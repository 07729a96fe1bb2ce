package corpus

import (
	"bytes"
	"fmt"
	"os"
	"strings"
)

// Update writes the golden bytes of cases into a file anew; those of other
// files are passed over.
func Update(file string, cases []Case) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	golden := map[string][]byte{}
	for i := range cases {
		if cases[i].File == file {
			golden[cases[i].Name] = cases[i].Golden
		}
	}
	var out []string
	name := ""
	for line := range strings.SplitSeq(string(b), "\n") {
		if n, ok := strings.CutPrefix(line, "=== "); ok {
			name = n
		}
		if strings.HasPrefix(line, "<") {
			continue
		}
		out = append(out, line)
		if strings.HasPrefix(line, "= ") {
			out = append(out, write(golden[name])...)
		}
	}
	return os.WriteFile(file, []byte(strings.Join(out, "\n")), 0o644)
}

// write is the lines that stand for bytes.
func write(b []byte) []string {
	var lines []string
	for len(b) > 0 {
		line, rest, whole := bytes.Cut(b, []byte("\r\n"))
		text := "<" + escape(line)
		if strings.HasSuffix(text, " ") {
			text = text[:len(text)-1] + `\x20` // editors take it off
		}
		if !whole {
			text += `\`
		}
		lines, b = append(lines, text), rest
	}
	return lines
}

// manyTimes is how often a byte comes in a row to be written as a count.
const manyTimes = 64

func escape(b []byte) string {
	var s strings.Builder
	for len(b) > 0 {
		n := 1
		for n < len(b) && b[n] == b[0] {
			n++
		}
		if n < manyTimes {
			n = 1
			s.WriteString(escapeByte(b[0]))
		} else {
			fmt.Fprintf(&s, `\{%d*%s}`, n, escapeByte(b[0]))
		}
		b = b[n:]
	}
	return s.String()
}

func escapeByte(c byte) string {
	for name, value := range escapes {
		if c == value {
			return `\` + string(name)
		}
	}
	if c < ' ' || c >= 0x7f {
		return fmt.Sprintf(`\x%02x`, c)
	}
	return string(c)
}
