package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/config"
	"github.com/backstay/backstay/internal/yamlout"
)

// print writes v to stdout as asked for: table is how people see it.
func (a *app) print(v any, table func(w io.Writer) error) error {
	switch a.output {
	case "json":
		return encodeJSON(a.Out, v)
	case "yaml":
		return yamlout.Encode(a.Out, v)
	default:
		return table(a.Out)
	}
}

func encodeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// item writes one value of a stream to stdout: a line of JSON, a document of
// YAML, or text.
func (a *app) item(v any, text string) error {
	switch a.output {
	case "json":
		e := json.NewEncoder(a.Out)
		e.SetEscapeHTML(false)
		return e.Encode(v)
	case "yaml":
		if _, err := io.WriteString(a.Out, "---\n"); err != nil {
			return err
		}
		return yamlout.Encode(a.Out, v)
	default:
		_, err := fmt.Fprintln(a.Out, text)
		return err
	}
}

// say talks to whoever is watching.
func (a *app) say(format string, args ...any) {
	_, _ = fmt.Fprintf(a.Err, "backstay: "+format+"\n", args...) // nobody is left to tell
}

// columns writes rows in columns; cells are separated by tabs. The last cell of a
// row is as long as it is.
func columns(w io.Writer, rows ...string) error {
	var widths []int
	for _, r := range rows {
		cells := strings.Split(r, "\t")
		for i, c := range cells[:len(cells)-1] {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(c))
		}
	}
	var b strings.Builder
	for _, r := range rows {
		cells := strings.Split(r, "\t")
		var line strings.Builder
		for i, c := range cells[:len(cells)-1] {
			line.WriteString(c + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c)+2))
		}
		b.WriteString(strings.TrimRight(line.String()+cells[len(cells)-1], " ") + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// row joins cells.
func row(cells ...any) string {
	texts := make([]string, len(cells))
	for i, c := range cells {
		texts[i] = fmt.Sprint(c)
	}
	return strings.TrimRight(strings.Join(texts, "\t"), "\t")
}

// tell writes why a command failed to stderr and returns its status.
func (a *app) tell(err error) backstay.ExitCode {
	if mistakes, ok := errors.AsType[*config.Error](err); ok {
		err = refusalOf(mistakes)
	}
	r := asRefusal(err)
	if a.output != "table" && a.output != "" {
		_ = encodeJSON(a.Err, r) // nobody is left to tell
		return api.Exit(&r.Problem)
	}
	if r.Text != "" {
		_, _ = fmt.Fprintln(a.Err, r.Text)
	} else {
		for _, m := range r.Mistakes {
			writeProblem(a.Err, &m)
		}
	}
	writeProblem(a.Err, &r.Problem)
	return api.Exit(&r.Problem)
}

func asRefusal(err error) *api.Refusal {
	var r *api.Refusal
	var p *backstay.Problem
	switch {
	case errors.As(err, &r):
		return r
	case errors.As(err, &p):
		return &api.Refusal{Problem: *p}
	default:
		return &api.Refusal{Problem: backstay.Problem{Code: "failed", What: err.Error(), Do: "backstay status shows what is"}}
	}
}

// refusalOf returns the mistakes of a file as the agent would.
func refusalOf(e *config.Error) *api.Refusal {
	all, do := e.Problems(), "change the lines shown; nothing was changed"
	if len(all) == 1 && e.Found[0].Line == 0 { // it is about the file as a whole
		do = all[0].Do
	}
	return &api.Refusal{
		Problem: backstay.Problem{
			Code: "invalid_file", What: count(len(all), "mistake") + " in " + e.File, Where: e.File,
			Do: do,
		},
		Mistakes: all, Text: e.Error(),
	}
}

// writeProblem writes p for people.
func writeProblem(w io.Writer, p *backstay.Problem) {
	var b strings.Builder
	fmt.Fprintf(&b, "backstay: %s\n", p.What)
	for _, l := range []struct{ head, text string }{{"where", p.Where}, {"why", p.Why}, {"do", p.Do}} {
		if l.text != "" {
			fmt.Fprintf(&b, "  %-6s %s\n", l.head, strings.ReplaceAll(l.text, "\n", "\n         "))
		}
	}
	_, _ = io.WriteString(w, b.String()) // nobody is left to tell
}

// count returns n things in words.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
