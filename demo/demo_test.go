package demo

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// shop answers as f says; it is gone with the test.
func shop(t *testing.T, f http.HandlerFunc) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	s := &http.Server{Handler: f, ReadHeaderTimeout: time.Second}
	ended := make(chan struct{})
	go func() { _ = s.Serve(l); close(ended) }()
	t.Cleanup(func() { _ = s.Close(); <-ended })
	return l.Addr().String()
}

// good is what a shop says.
func good(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, `{"version":"v1","digest":%q}`, digest(r.FormValue("n")))
}

// Every way not to answer rightly is a failure, each is told, and none is tried
// again.
func TestMeterTakesNothingWrongForGood(t *testing.T) {
	for what, f := range map[string]http.HandlerFunc{
		"answered 503": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
		"wrong answer": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"version":"v1","digest":%q}`, digest("another"))
		},
		"read answer": func(w http.ResponseWriter, _ *http.Request) {
			c, _, _ := http.NewResponseController(w).Hijack()
			_ = c.Close()
		},
		"read body": func(w http.ResponseWriter, r *http.Request) {
			c, _, _ := http.NewResponseController(w).Hijack()
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
			_ = c.Close()
		},
	} {
		var asked atomic.Int32
		m := newMeter()
		c := m.dial(t.Context(), shop(t, func(w http.ResponseWriter, r *http.Request) { asked.Add(1); f(w, r) }))
		if m.ask(c, true) {
			t.Errorf("%s: the connection is said to be good", what)
		}
		m.close(c)
		got := m.take()
		if got.Failed != 1 || got.Sent != 1 || len(got.Releases) != 0 || !strings.Contains(got.Failures[0].What, what) || got.Failures[0].Opened == 0 {
			t.Errorf("%s: %+v", what, got)
		}
		if n := asked.Load(); n != 1 {
			t.Errorf("%s: asked %d times", what, n)
		}
		if next := m.take(); next.Failed != 0 || next.Sent != 0 || next.Open != 0 {
			t.Errorf("%s: the next tally begins with %+v", what, next)
		}
	}
}

func TestMeterCountsGoodAnswersByVersion(t *testing.T) {
	m := newMeter()
	c := m.dial(t.Context(), shop(t, good))
	for range 3 {
		if !m.ask(c, true) {
			t.Fatal("a good answer has ended the connection")
		}
	}
	if m.ask(c, false) {
		t.Error("a connection that was to be closed is said to be kept")
	}
	if open := m.take(); open.Open != 1 || open.Sent != 4 || open.Failed != 0 || open.Releases["v1"] != 4 || open.P50 > open.Slowest {
		t.Errorf("tally: %+v", open)
	}
	m.close(c)
}

func TestMeterTellsWhoWasRefused(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, l.Close())
	m := newMeter()
	if c := m.dial(t.Context(), l.Addr().String()); c != nil {
		t.Fatal("somebody listens there")
	}
	if got := m.take(); got.Failed != 1 || got.Refused != 1 || !got.Failures[0].Refused {
		t.Errorf("tally: %+v", got)
	}
}

// The list of failures is bounded, the count is not.
func TestMeterBoundsWhatItTells(t *testing.T) {
	m := newMeter()
	for range maxFailures + 10 {
		m.failed(Failure{What: "x"})
	}
	if got := m.take(); got.Failed != maxFailures+10 || len(got.Failures) != maxFailures {
		t.Errorf("%d failed, %d told", got.Failed, len(got.Failures))
	}
}

// The load answers each line with a tally, and ends with its input.
func TestLoadAnswersUntilItsInputEnds(t *testing.T) {
	if err := Load(t.Context(), nil, strings.NewReader(""), io.Discard); err == nil {
		t.Error("a load on nothing is no error")
	}
	address := shop(t, good)
	in, ask := io.Pipe()
	answers, out := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- Load(t.Context(), []string{address}, in, out) }()
	lines := bufio.NewReader(answers)
	sent := 0
	for range 200 {
		_, err := io.WriteString(ask, "take\n")
		must(t, err)
		line, err := lines.ReadBytes('\n')
		must(t, err)
		var got Tally
		must(t, json.Unmarshal(line, &got))
		if got.Failed > 0 {
			t.Fatalf("tally: %s", line)
		}
		if sent += got.Sent; sent > 200 {
			break
		}
		wait(t.Context(), 10*time.Millisecond)
	}
	if sent <= 200 {
		t.Errorf("%d requests sent", sent)
	}
	must(t, ask.Close())
	must(t, <-ended)
}

// The promise about the proxy: as many failures as connections were open, none
// on one that was opened later, and nobody refused.
func TestJudgementOfTheProxy(t *testing.T) {
	killed := time.Unix(100, 0)
	at := func(sec int64) int64 { return time.Unix(sec, 0).UnixNano() }
	for name, c := range map[string]struct {
		t      Tally
		broken bool
	}{
		"nothing":            {Tally{Sent: 9}, false},
		"what was open":      {Tally{Failed: 2, Failures: []Failure{{Opened: at(99)}, {Opened: at(50)}}}, false},
		"more than was open": {Tally{Failed: 3, Failures: []Failure{{Opened: at(99)}}}, true},
		"one opened later":   {Tally{Failed: 1, Failures: []Failure{{Opened: at(101)}}}, true},
		"one refused":        {Tally{Failed: 1, Refused: 1, Failures: []Failure{{}}}, true},
	} {
		e := &evening{open: 2, killed: killed}
		if broken := nothingRefused(e, c.t); (len(broken) > 0) != c.broken {
			t.Errorf("%s: %q", name, broken)
		}
	}
}

// What fails between two acts is a broken promise of the next one.
func TestNothingIsForgottenBetweenActs(t *testing.T) {
	e := &evening{}
	e.quiet(Tally{Sent: 5})
	if len(e.act.Broken) != 0 || e.act.Sent != 5 {
		t.Errorf("all was well: %+v", e.act)
	}
	e.quiet(Tally{Sent: 5, Failed: 1, Failures: []Failure{{What: "reset"}}})
	if len(e.act.Broken) != 1 || e.act.Failed != 1 || e.act.Sent != 10 {
		t.Errorf("one had failed: %+v", e.act)
	}
	if broken := nothingFailed(e, Tally{}); len(broken) != 1 {
		t.Errorf("nothing was sent: %q", broken)
	}
}

// A log that stops has no gap, and is lost all the same.
func TestLogThatStopsIsNotWhole(t *testing.T) {
	own, gone := fmt.Sprint(os.Getpid()), fmt.Sprint(math.MaxInt32)
	stranger := fmt.Sprint(os.Getppid())
	e := &evening{director: &director{stage: &stage{dir: os.Args[0]}}, printed: map[string]int{own: 5, gone: 5, stranger: 5}}
	for now, want := range map[int]string{5: "pid " + own, 6: ""} {
		if got := e.mute(map[string]int{own: now, gone: 5, stranger: 5}); got != want {
			t.Errorf("line %d after line 5: %q is mute, want %q", now, got, want)
		}
	}
}

// A line that a keeper has not read yet is not lost; one that none ever reads is.
func TestLogsAreWaitedFor(t *testing.T) {
	log := t.TempDir()
	must(t, os.Mkdir(log+"/shop", 0o700))
	f, err := os.Create(log + "/shop/shop-1.log")
	must(t, err)
	defer func() { _ = f.Close() }()
	say := func(line int) { fmt.Fprintf(f, "%d %d a\n", os.Getpid(), line) }
	for i := range 5 {
		say(i + 1)
	}
	e := &evening{director: &director{stage: &stage{dir: os.Args[0]}}, printed: map[string]int{fmt.Sprint(os.Getpid()): 5}}
	e.stage.dirs.Log = log
	late := time.AfterFunc(5*look, func() { say(6) })
	if e.logsGoOn(t.Context()); len(e.act.Broken) > 0 {
		t.Errorf("line 6 came: %q", e.act.Broken)
	}
	late.Stop()
	e.printed[fmt.Sprint(os.Getpid())] = 6
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if e.logsGoOn(over); len(e.act.Broken) != 1 {
		t.Errorf("line 7 never came: %q", e.act.Broken)
	}
}

func TestLinesThatAreMissingAreCounted(t *testing.T) {
	file := t.TempDir() + "/shop-1.log"
	must(t, os.WriteFile(file, []byte("7 1 a\n7 2 b\nlast words\n8 1 a\n7 4 d\n7 5 e\n8 1 a\n"), 0o600))
	last := map[string]int{}
	lost, lines, err := lostIn(file, last)
	must(t, err)
	if lost != 2 || lines != 6 || last["7"] != 5 || last["8"] != 1 {
		t.Errorf("%d of %d lines lost, the last ones %v", lost, lines, last)
	}
}

// Whole is all of it, as other processes than those that were struck.
func TestWholeIsAllOfIt(t *testing.T) {
	whole := func() api.Status {
		s := api.Status{Roles: []api.Role{{Name: "keeper", PID: 1, Running: true}, {Name: "agent", PID: 2, Running: true}, {Name: "proxy", PID: 3, Running: true}}}
		var all []api.Instance
		for i := range replicas {
			all = append(all, api.Instance{Instance: backstay.Instance{ID: fmt.Sprint(i), State: backstay.Running, Ready: true, PID: 10 + i}})
		}
		s.Services = []api.Service{{Name: "shop", Instances: all}}
		return s
	}
	if missing := notWhole(whole(), nil); missing != "" {
		t.Errorf("it is whole: %s", missing)
	}
	for name, spoil := range map[string]func(*api.Status){
		"a role that ended":  func(s *api.Status) { s.Roles[2].Running = false },
		"a role too few":     func(s *api.Status) { s.Roles = s.Roles[:2] },
		"the old process":    func(s *api.Status) { s.Services[0].Instances[1].PID = 99 },
		"the old role":       func(s *api.Status) { s.Roles[0].PID = 99 },
		"one not ready":      func(s *api.Status) { s.Services[0].Instances[0].Ready = false },
		"one drained":        func(s *api.Status) { s.Services[0].Instances[0].Drained = true },
		"an instance gone":   func(s *api.Status) { s.Services[0].Instances = s.Services[0].Instances[1:] },
		"one on its way out": func(s *api.Status) { s.Services[0].Instances[0].State = backstay.Draining },
	} {
		s := whole()
		spoil(&s)
		if notWhole(s, []int{99}) == "" {
			t.Errorf("%s: taken for whole", name)
		}
	}
}

func TestFiguresAreShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		1500 * time.Microsecond: "1.5ms", 15 * time.Millisecond: "15ms", 1234 * time.Millisecond: "1.23s", 12340 * time.Millisecond: "12.3s",
	} {
		if got := ms(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1 000", 1234567: "1 234 567"} {
		if got := thousands(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
	a := Act{Number: 3, Title: "kill -9 the agent", Sent: 12345, Failed: 0, Gap: 15 * time.Millisecond, Slowest: time.Second, Healed: 80 * time.Millisecond}
	if got, want := a.line(), " 3 kill -9 the agent                            sent  12 345  failed 0     gap   15ms  slowest  1.00s  whole in 80ms"; got != want {
		t.Errorf("\n%q, want\n%q", got, want)
	}
}

// The report counts only what was judged, and a broken promise is an error.
func TestBrokenPromiseIsAnError(t *testing.T) {
	d := &director{Options: Options{Out: io.Discard, Report: t.TempDir() + "/report.json"}, acts: []Act{{Title: "control"}, {Number: 1}, {Number: 2, Unjudged: true, Broken: []string{"x"}}}}
	if r := d.report(); r.Promises != 2 || r.Kept != 2 {
		t.Errorf("report: %+v", r)
	}
	must(t, d.epilogue())
	d.acts[1].Broken = []string{"1 request failed"}
	if err := d.epilogue(); !errors.Is(err, ErrBroken) {
		t.Errorf("a broken promise: %v", err)
	}
}

// What is looked at goes on; what is taken begins anew.
func TestLookChangesNothing(t *testing.T) {
	m := newMeter()
	m.failed(Failure{What: "x"})
	if a, b := m.look(), m.look(); a.Failed != 1 || b.Failed != 1 {
		t.Errorf("looks see %d and %d", a.Failed, b.Failed)
	}
	if a, b := m.take(), m.take(); a.Failed != 1 || b.Failed != 0 {
		t.Errorf("takes see %d and %d", a.Failed, b.Failed)
	}
}

// The visitor's blow is named by what is another process now, or is not as it
// should be; one that we had to end ourselves was not killed by them.
func TestVisitorsBlowIsNamed(t *testing.T) {
	at := time.Unix(100, 0)
	killed, hung := &backstay.Exit{At: at, Known: true, Signal: 9}, &backstay.Exit{At: at, Known: true, Signal: 9, Reason: "liveness failed"}
	state := func(agent, one, two int, last *backstay.Exit) api.Status {
		instance := func(id string, pid int) api.Instance {
			return api.Instance{Instance: backstay.Instance{ID: id, PID: pid, State: backstay.Running, Ready: true, Last: last}}
		}
		return api.Status{
			Roles:    []api.Role{{Name: "agent", PID: agent, Running: true, Last: last}},
			Services: []api.Service{{Name: "shop", Instances: []api.Instance{instance("shop-1", one), instance("shop-2", two)}}},
		}
	}
	before := state(1, 2, 3, nil)
	for want, now := range map[string]api.Status{
		"killed shop-2":                       state(1, 2, 30, killed),
		"killed the agent and shop-1":         state(10, 20, 3, killed),
		"killed the agent, shop-1 and shop-2": state(10, 20, 30, killed),
		"struck shop-1":                       state(1, 20, 3, hung),
	} {
		hits := struck(before, now)
		if got := deed(hits); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if hits := struck(before, state(1, 2, 3, killed)); len(hits) != 0 {
		t.Errorf("nothing was struck: %+v", hits)
	}
	noticed := at.Add(time.Second)
	if got := first(struck(before, state(1, 2, 30, killed)), noticed); !got.Equal(at) {
		t.Errorf("struck at %v, noticed at %v, said %v", at, noticed, got)
	}
	if got := first(struck(before, state(1, 2, 30, hung)), noticed); !got.Equal(noticed) {
		t.Errorf("the end of one that hung is not when it was struck: %v", got)
	}
}

// An input that ends is nobody pressing a key.
func TestOnlyAKeyEndsTheTurn(t *testing.T) {
	pressed := func(input string) (over bool) {
		enter(strings.NewReader(input), func() { over = true })
		return over
	}
	if pressed("") || pressed("x") || !pressed("\n") || !pressed("yes\n") {
		t.Error("Enter ends the turn, and nothing else")
	}
}

// The table has a line for each act; what promises nothing says so.
func TestTable(t *testing.T) {
	text := table([]Act{{Title: "control", Failed: 9}, {Number: 1, Title: "kill", Sent: 1000, Healed: time.Second}, {Number: 2, Title: "you killed x", Unjudged: true}})
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if len(lines) != 4 || !strings.Contains(lines[1], " - ") || !strings.Contains(lines[2], "1 000") || !strings.HasSuffix(lines[2], "1.00s") {
		t.Errorf("\n%s", text)
	}
	for _, l := range lines[1:] {
		if len(l) != len(lines[0]) {
			t.Errorf("not in columns:\n%s", text)
		}
	}
	if all := judged([]Act{{}, {Number: 1}, {Number: 2, Unjudged: true}}); len(all) != 1 {
		t.Errorf("judged %+v", all)
	}
}

// The stage is where its sockets fit and where the shop can walk to.
func TestStageIsWithinReach(t *testing.T) {
	closed := t.TempDir()
	must(t, os.Chmod(closed, 0o700))
	for _, c := range []struct {
		dir  string
		uid  int
		want string
	}{
		{closed, 0, "/tmp"}, {"/tmp", 0, "/tmp"}, {"/var/tmp", 0, "/var/tmp"}, {"/var/tmp", 7, "/var/tmp"}, {"/" + strings.Repeat("x", 90), 7, "/tmp"},
	} {
		if got := parent(c.dir, c.uid); got != c.want {
			t.Errorf("%s for %d: %s, want %s", c.dir, c.uid, got, c.want)
		}
	}
}

// Nothing is killed for a report that could not be kept.
func TestReportIsTriedFirst(t *testing.T) {
	err := Run(t.Context(), Options{Out: io.Discard, Report: t.TempDir() + "/none/report.json"})
	if p := new(backstay.Problem); !errors.As(err, &p) || !strings.Contains(p.Do, "--report") {
		t.Errorf("%v", err)
	}
}

// The live line never wraps, and a line that is said takes its place.
func TestLiveLineGivesWay(t *testing.T) {
	if got := cut("abcdef", 5); got != "abcd" {
		t.Errorf("%q", got)
	}
	if got := cut("abcdef", 0); got != "abcdef" {
		t.Errorf("%q", got)
	}
	var out strings.Builder
	d := &director{Options: Options{Out: &out}}
	d.live.shown = true
	d.say("one")
	d.say("two")
	if got := out.String(); got != erase+"one\ntwo\n" {
		t.Errorf("%q", got)
	}
}

// The promise about the proxy counts the connections of the very moment of the
// kill: one that was opened after the load was asked belongs to them.
func TestOpenAtTheKill(t *testing.T) {
	at := time.Unix(100, 0)
	ns := func(d time.Duration) int64 { return at.Add(d).UnixNano() }
	tally := Tally{Opens: []int64{ns(-3), ns(-1), ns(5)}, Closes: []int64{ns(-2), ns(7)}}
	if got := tally.openAt(64, at); got != 65 {
		t.Errorf("%d were open", got)
	}
	m := newMeter()
	c := m.dial(t.Context(), shop(t, good))
	m.close(c)
	if got := m.take(); len(got.Opens) != 1 || len(got.Closes) != 1 || got.Opens[0] > got.Closes[0] {
		t.Errorf("%+v", got)
	}
	if got := m.take(); len(got.Opens)+len(got.Closes) != 0 {
		t.Errorf("not begun anew: %+v", got)
	}
}
