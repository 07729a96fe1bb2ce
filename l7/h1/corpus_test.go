package h1_test

import (
	"flag"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/backstay/backstay/l7/h1"
	"github.com/backstay/backstay/l7/h1/corpus"
)

var update = flag.Bool("update", false, "write the golden bytes in testdata anew")

func load(tb testing.TB, dir string, atLeast int) []corpus.Case {
	tb.Helper()
	cases, err := corpus.Load(dir)
	if err != nil {
		tb.Fatal(err)
	}
	if len(cases) < atLeast {
		tb.Fatalf("only %d cases", len(cases))
	}
	return cases
}

// check compares cases with what becomes of them; with -update it writes their
// golden bytes anew. Labels are never written: they are the policy.
func check(t *testing.T, cases []corpus.Case, run func(*corpus.Case) outcome) {
	t.Helper()
	files := map[string]bool{}
	for i := range cases {
		c := &cases[i]
		got := run(c)
		if want := label(c); got.label != want {
			t.Errorf("%s: got %q, want %q", c, got.label, want)
		}
		if len(got.rest) > 0 {
			t.Errorf("%s: not all was read: %q", c, got.rest)
		}
		if *update {
			c.Golden, files[c.File] = []byte(got.golden), true
		}
		if got.golden != string(c.Golden) {
			t.Errorf("%s: got\n\t%s\nwant\n\t%s", c, rendered([]byte(got.golden)), rendered(c.Golden))
		}
	}
	for file := range files {
		if err := corpus.Update(file, cases); err != nil {
			t.Fatal(err)
		}
	}
}

func TestEachRequestIsRefusedOrHasItsGoldenBytes(t *testing.T) {
	check(t, load(t, "testdata/requests", 150), func(c *corpus.Case) outcome {
		return request(c.Sent, forwardOf(c))
	})
}

func TestEachAnswerIsRefusedOrHasItsGoldenBytes(t *testing.T) {
	cases := load(t, "testdata/answers", 100)
	bad := 0
	for i := range cases {
		if cases[i].Label != "return" {
			bad++
		}
	}
	if bad < 60 {
		t.Errorf("only %d of %d answers are bad", bad, len(cases))
	}
	check(t, cases, func(c *corpus.Case) outcome { return answer(c.Sent, askedBy(c)) })
}

// What follows a request that is taken is the next one, whatever the body was.
func TestTheNextRequestBeginsWhereTheBodyEnds(t *testing.T) {
	const next = "GET /next HTTP/1.1\r\nHost: next.example\r\n\r\n"
	for _, c := range load(t, "testdata/requests", 150) {
		if c.Label == "forward" {
			if got := request(slices.Concat(c.Sent, []byte(next)), forwardOf(&c)); string(got.rest) != next {
				t.Errorf("%s: the next request begins with %q", &c, got.rest)
			}
		}
	}
}

// The page lists every rule with its status, and nothing else; each rule has
// its cases.
func TestEveryRuleIsOnThePageAndInTheCorpus(t *testing.T) {
	page, err := os.ReadFile("../../docs/reference/http1-policy.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_0-9]+)` \\| (\\d+) \\| (.*) \\|$").FindAllStringSubmatch(string(page), -1) {
		listed[m[1]] = m[2]
	}
	count := map[string]int{}
	for _, c := range append(load(t, "testdata/requests", 150), load(t, "testdata/answers", 100)...) {
		if c.Label != "forward" && c.Label != "return" {
			count[c.Args[len(c.Args)-1]]++
		}
	}
	for _, e := range h1.Rules() {
		if got := listed[e.Code]; got != e.Line() {
			t.Errorf("%s: the page says status %q, the parser %q", e.Code, got, e.Line())
		}
		if count[e.Code] < 2 {
			t.Errorf("%s: %d cases", e.Code, count[e.Code])
		}
		delete(listed, e.Code)
	}
	if len(listed) > 0 {
		t.Errorf("rules that are on the page only: %v", listed)
	}
}

func TestErrorsSayWhatAndWhichRule(t *testing.T) {
	for _, e := range h1.Rules() {
		if !strings.Contains(e.Error(), e.What) || !strings.Contains(e.Error(), e.Code) {
			t.Errorf("%q says too little", e.Error())
		}
		if strings.Contains(e.What, "HTTP/") {
			t.Errorf("%q in a page would look like a second answer", e.What)
		}
		if a := e.OfAnswer(); a.Status != 502 || a.Code != e.Code || a.OfAnswer() != a {
			t.Errorf("%s of an answer is %+v", e.Code, a)
		}
	}
}
