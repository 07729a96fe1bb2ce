package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func testReport(t *testing.T) *report {
	t.Helper()
	r := &report{out: new(strings.Builder), host: host{machine: "2 CPUs", commit: "backstay 1", peers: []string{"nginx 1", "haproxy 2"}}}
	r.sections = []*section{{name: "restart", what: "death to exec", at: time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC), before: "0.1 0.2", load: "0.3 0.4"}}
	r.note("20 children")
	r.table([]string{"", "median"}, [][]string{{"backstay", "1.60 ms"}, {"runit", "4.10 ms"}})
	r.goal("beside runit", "0.39", "≤ 1.20", true)
	r.goal("memory", "9 MB", "≤ 8 MB", false)
	r.figure("p99", "7 ms")
	return r
}

func TestMarkdownHasEveryNumber(t *testing.T) {
	got := testReport(t).markdown("")
	want, err := os.ReadFile(filepath.Join("testdata", "report.md"))
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(filepath.Join("testdata", "report.md"), []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("Markdown has changed; UPDATE=1 takes it (-want +got):\n%s", diff)
	}
}

func TestSectionsThatWereNotMeasuredStay(t *testing.T) {
	r := testReport(t)
	first := r.markdown("")
	cpu := &section{name: "cpu", what: "CPU", load: "1 1"}
	second := (&report{host: r.host, sections: []*section{cpu}}).markdown(first)
	for _, line := range []string{"| backstay | 1.60 ms |", "## cpu: CPU", "## keeper: "} {
		if strings.Count(second, line) != 1 {
			t.Errorf("%q is there %d times in\n%s", line, strings.Count(second, line), second)
		}
	}
	if third := (&report{host: r.host}).markdown(second); third != second {
		t.Errorf("nothing was measured, and the file has changed:\n%s", cmp.Diff(second, third))
	}
}

// A bench that broke off has no load at its end: its old section is better.
func TestSectionThatBrokeOffIsNotWritten(t *testing.T) {
	r := testReport(t)
	old := r.markdown("")
	broken := &report{host: r.host, sections: []*section{{name: "restart", what: "half of it"}}}
	if got := broken.markdown(old); got != old {
		t.Errorf("a half section was written:\n%s", cmp.Diff(old, got))
	}
}

func TestWordsThatAreNoBenchAreRefused(t *testing.T) {
	if _, err := parse([]string{"-short", "restart", "cpus"}); err == nil || !strings.Contains(err.Error(), `"cpus"`) {
		t.Errorf("cpus was taken, or not named: %v", err)
	}
	o, err := parse([]string{"-short", "-md", "x.md", "cpu"})
	if err != nil || !o.short || o.md != "x.md" || len(o.names) != 1 {
		t.Errorf("%+v, %v", o, err)
	}
}
