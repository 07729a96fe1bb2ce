package cli

import (
	"fmt"
	"strings"
)

func (a *app) columns() int { columns, _ := a.screen(); return columns }
func (a *app) rows() int    { _, rows := a.screen(); return rows }

func (a *app) screen() (columns, rows int) {
	if a.Screen == nil {
		return 0, 0
	}
	return a.Screen()
}

// fit returns text as it fits on a terminal of so many columns and rows, with a
// row left for the cursor: what stands at the top is what must be read. Without
// sizes nothing is cut.
func fit(text string, columns, rows int) string {
	if columns <= 0 || rows <= 0 {
		return text
	}
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if room := max(rows-1, 1); len(lines) > room {
		more := len(lines) - room + 1
		lines = append(lines[:room-1], fmt.Sprintf("… %d more lines: backstay status", more))
	}
	for i, l := range lines {
		lines[i] = narrow(l, columns)
	}
	return strings.Join(lines, "\n")
}

// narrow cuts a line after so many columns. What colours it takes none of them,
// and stays: colours must end.
func narrow(line string, columns int) string {
	var b strings.Builder
	colour := false
	for _, r := range line {
		switch {
		case r == '\x1b':
			colour = true
		case colour:
			colour = r != 'm'
			b.WriteRune(r)
			continue
		case columns == 0:
			continue
		default:
			columns--
		}
		b.WriteRune(r)
	}
	return b.String()
}
