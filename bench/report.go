package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// report is what has been measured. It is printed as it comes and rendered as
// Markdown, so that nobody types a number.
type report struct {
	out      io.Writer
	short    bool
	host     host
	sections []*section
}

// section is one bench.
type section struct {
	name, what   string
	at           time.Time
	before, load string // load average at its begin and its end
	parts        []part
	figures      []figure
}

// part is a table or, without rows, a line of text.
type part struct {
	text string
	rows [][]string // the first is the head
}

// figure is a number with a goal, or without one.
type figure struct {
	what, value, goal string
	met               bool // meaningless without a goal
}

// verdict is what is printed beside f.
func (f figure) verdict() string {
	switch {
	case f.goal == "":
		return "–"
	case f.met:
		return "yes"
	default:
		return "no"
	}
}

// rounds returns how often something is done: long, or in the short form short.
func (r *report) rounds(long, short int) int {
	if r.short {
		return short
	}
	return long
}

// pick returns the duration for the form that is wanted.
func (r *report) pick(long, short time.Duration) time.Duration {
	if r.short {
		return short
	}
	return long
}

func (r *report) printf(format string, args ...any) { _, _ = fmt.Fprintf(r.out, format, args...) }

func (r *report) intro() {
	for _, line := range r.host.lines() {
		r.printf("%s\n", line)
	}
}

func (r *report) begin(b bench) {
	r.sections = append(r.sections, &section{name: b.name, what: b.what, at: time.Now().UTC(), before: loadAverage()})
	r.printf("\n## %s: %s\n", b.name, b.what)
}

func (r *report) end() {
	s := r.section()
	s.load = loadAverage()
	if len(s.figures) == 0 {
		return
	}
	r.printf("\n")
	printTable(r.out, figureRows(s.figures))
}

func (r *report) section() *section { return r.sections[len(r.sections)-1] }

// note adds a line about how it was measured.
func (r *report) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	r.section().parts = append(r.section().parts, part{text: text})
	r.printf("%s\n", text)
}

// table adds rows under head.
func (r *report) table(head []string, rows [][]string) {
	all := append([][]string{head}, rows...)
	r.section().parts = append(r.section().parts, part{rows: all})
	printTable(r.out, all)
}

// figure adds a number that has no goal.
func (r *report) figure(what, value string) {
	r.section().figures = append(r.section().figures, figure{what: what, value: value})
}

// goal adds a number that has one.
func (r *report) goal(what, value, goal string, met bool) {
	r.section().figures = append(r.section().figures, figure{what, value, goal, met})
}

func figureRows(figures []figure) [][]string {
	rows := [][]string{{"figure", "measured", "goal", "met"}}
	for _, f := range figures {
		rows = append(rows, []string{f.what, f.value, f.goal, f.verdict()})
	}
	return rows
}

// printTable prints rows in columns, the first to the left.
func printTable(out io.Writer, rows [][]string) {
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], len([]rune(cell)))
		}
	}
	for _, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			space := strings.Repeat(" ", width[i]-len([]rune(cell)))
			if i == 0 {
				b.WriteString(cell + space)
			} else {
				b.WriteString("  " + space + cell)
			}
		}
		_, _ = fmt.Fprintln(out, strings.TrimRight(b.String(), " "))
	}
}

// Marks around a section in the file, by which it is found again.
const (
	markBegin = "<!-- bench %s -->\n"
	markEnd   = "<!-- end %s -->\n"
)

const mdIntro = `# Measurements

Written by ` + "`go run ./bench -md docs/measurements.md`" + ` (all) or with the name of a section at its end (that one); do not edit.
Peers are those of Debian, measured in the same run and in turn. Medians unless said; single times of a shared machine mean
little, ratios more. The load average before and after each section says how quiet the machine was.
`

// writeMarkdown writes the sections measured into the file at path, if there is
// one. Those of an older run that were not measured now stay.
func (r *report) writeMarkdown(path string) error {
	if path == "" {
		return nil
	}
	old, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("read measurements: %w", err)
	}
	if err := os.WriteFile(path, []byte(r.markdown(string(old))), 0o644); err != nil {
		return fmt.Errorf("write measurements: %w", err)
	}
	return nil
}

func (r *report) markdown(old string) string {
	var b strings.Builder
	b.WriteString(mdIntro)
	for _, x := range benches {
		i := slices.IndexFunc(r.sections, func(s *section) bool { return s.name == x.name && s.load != "" })
		begin, end := fmt.Sprintf(markBegin, x.name), fmt.Sprintf(markEnd, x.name)
		text := between(old, begin, end)
		switch {
		case i >= 0:
			text = r.sections[i].markdown(r)
		case text == "":
			text = fmt.Sprintf("## %s: %s\n\nNot measured yet.\n", x.name, x.what)
		}
		b.WriteString("\n" + begin + text + end)
	}
	return b.String()
}

// between returns what stands in text from begin to end, nothing if they are not
// both there.
func between(text, begin, end string) string {
	_, after, found := strings.Cut(text, begin)
	inner, _, closed := strings.Cut(after, end)
	if !found || !closed {
		return ""
	}
	return inner
}

func (s *section) markdown(r *report) string {
	var b strings.Builder
	fmt.Fprintf(&b, "## %s: %s\n\n", s.name, s.what)
	form := ""
	if r.short {
		form = " -short"
		b.WriteString("**Short form: this shows that it works, the numbers mean little.**\n\n")
	}
	fmt.Fprintf(&b, "`go run ./bench%s %s`, %s, load %s before and %s after.  \n", form, s.name, s.at.Format("2006-01-02 15:04 UTC"), s.before, s.load)
	b.WriteString(strings.Join(r.host.lines(), ".  \n") + ".\n") // two blanks break the line
	for _, p := range s.parts {
		b.WriteString("\n")
		if p.rows == nil {
			b.WriteString(p.text + "\n")
			continue
		}
		markdownTable(&b, p.rows)
	}
	if len(s.figures) > 0 {
		b.WriteString("\n")
		markdownTable(&b, figureRows(s.figures))
	}
	return b.String()
}

func markdownTable(b *strings.Builder, rows [][]string) {
	for i, row := range rows {
		b.WriteString("| " + strings.Join(row, " | ") + " |\n")
		if i == 0 {
			b.WriteString("|" + strings.Repeat("---|", len(row)) + "\n")
		}
	}
}
