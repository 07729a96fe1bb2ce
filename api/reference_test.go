package api_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/config"
	"github.com/backstay/backstay/internal/golden"
)

// The pages about the wire and the codes are what the tables say.
func TestReferenceIsUpToDate(t *testing.T) {
	golden.Check(t, filepath.Join("..", "docs", "reference", "codes.md"), codesPage())
	golden.Check(t, filepath.Join("..", "docs", "reference", "api.md"), apiPage())
}

func codesPage() string {
	var b strings.Builder
	b.WriteString("# Codes of problems\n\nWritten by `make generate`; do not edit.\n\n" +
		"Whatever is refused is told as a problem: `code`, `what` is wrong, `where`, `why`, and what to `do`. A code never changes\n" +
		"its meaning. HTTP is the status of the API's answer, exit that of the [command](cli.md).\n\n| code | HTTP | exit | met when |\n|---|---|---|---|\n")
	for _, c := range api.Codes {
		fmt.Fprintf(&b, "| `%s` | %d | %d | %s |\n", c.Code, c.HTTP, c.Exit, c.Text)
	}
	b.WriteString("\n## Mistakes in the file\n\nAn `invalid_file` lists every mistake with a code of its own, its line and a value that would do:\n\n")
	line := ""
	for _, c := range config.Codes() {
		if len(line)+len(c) > 110 {
			b.WriteString(line + "\n")
			line = ""
		}
		line += "`" + c + "` "
	}
	b.WriteString(line + "\n")
	return strings.ReplaceAll(b.String(), " \n", "\n")
}

func apiPage() string {
	var b strings.Builder
	b.WriteString("# The API\n\nWritten by `make generate`; do not edit.\n\n" +
		"HTTP/1.1 and JSON on the Unix socket `api.sock` of the run directory:\n\n    curl --unix-socket /run/backstay/api.sock http://backstay/v1/status\n\n" +
		"It only grows. Whoever can open the socket reads and operates; *owner* is for root and the agent's own user. What is a line\n" +
		"each is `application/x-ndjson`; a line `{\"problem\": …}` ends a stream that did not come to its end. Anything refused is a\n" +
		"[problem](codes.md), and nothing has changed then.\n\n| | path | parameters | body | |\n|---|---|---|---|---|\n")
	for _, e := range api.Endpoints() {
		text := e.Text
		if e.Owner {
			text += " (*owner*)"
		}
		fmt.Fprintf(&b, "| %s | `%s` | %s | %s | %s |\n", e.Method, e.Path, strings.Join(e.Params, " "), e.Body, text)
	}
	return b.String()
}
