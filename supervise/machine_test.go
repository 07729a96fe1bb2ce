package supervise

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/health"
	"github.com/backstay/backstay/internal/golden"
	"github.com/backstay/backstay/internal/keeperwire"
)

// TestTalks plays conversations with a fleet: each line of testdata/talk that
// begins with > is what happens, the lines below it what the core wants done.
func TestTalks(t *testing.T) {
	files, _ := filepath.Glob("testdata/talk/*.txt")
	if len(files) < 15 {
		t.Fatalf("only %d conversations", len(files))
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			script, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			golden.Check(t, file, newTalk(t).play(string(script)))
		})
	}
}

// talk is a fleet and the clock that its conversation goes by.
type talk struct {
	t        testing.TB
	fleet    *fleet
	began    time.Time
	now      time.Time
	asked    map[string]question
	services map[string]Service
	given    []string // who has a port, in turn
	out      strings.Builder
}

// ports returns those of an instance: its own.
func (k *talk) ports(id string) map[string]uint16 {
	if !slices.Contains(k.given, id) {
		k.given = append(k.given, id)
	}
	return map[string]uint16{"http": 20001 + uint16(slices.Index(k.given, id))}
}

func newTalk(tb testing.TB) *talk {
	tb.Helper()
	began := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return &talk{t: tb, fleet: newFleet(), began: began, now: began, asked: map[string]question{}, services: map[string]Service{}}
}

func (k *talk) play(text string) string {
	in := bufio.NewScanner(strings.NewReader(text))
	for in.Scan() {
		line := in.Text()
		switch {
		case strings.HasPrefix(line, "> "):
			fmt.Fprintln(&k.out, line)
			k.do(strings.Fields(line[2:]))
		case strings.HasPrefix(line, "#") || line == "":
			fmt.Fprintln(&k.out, line)
		}
	}
	return k.out.String()
}

// do carries out one line: what, of whom, and more.
func (k *talk) do(words []string) {
	verb, words := words[0], words[1:]
	switch verb {
	case "file":
		k.file(words)
	case "wait":
		k.wait(words[0])
	case "show":
		k.show()
	case "adopt":
		m := adopt(k.now, k.slot(words))
		m.tell()
		m.resume()
		k.fleet.add(k.now, m, 0)
	case "new":
		service := serviceOf(words[0])
		ready := ""
		if len(words) > 1 {
			ready = words[1]
		}
		m := newMachine(words[0], meta{
			Service: service, Release: service + "@1", Ports: k.ports(words[0]), Ready: ready,
			policy: policyFrom(k.services[service]),
		}, k.now)
		k.fleet.add(k.now, m, 0)
	default:
		m := k.fleet.machines[words[0]]
		if m == nil {
			k.t.Fatalf("no instance %q", words[0])
		}
		k.tell(m, verb, words[1:])
		k.fleet.touch(m)
	}
	k.carry()
}

// tell hands m what a line says has happened.
func (k *talk) tell(m *machine, verb string, words []string) {
	now, rest := k.now, strings.Join(words, " ")
	r := run{starts: m.starts, failures: m.failures, pid: 100 + int(m.base+m.starts) + 1, at: now}
	switch verb {
	case "started":
		r.starts++
		m.begun(now, r)
	case "exited", "killed": // its main process: that its tree is empty is a line of its own
		r.remains = true
		m.ended(now, r, k.exit(verb, rest))
	case "unstartable":
		r.starts++
		r.remains = true
		m.ended(now, r, backstay.Exit{At: now, Known: true, Code: 125, Stage: rest})
	case "backoff":
		r.failures = number(k.t, words[0])
		m.moved(now, backstay.Backoff, r, now.Add(time.Second))
	case "failed":
		r.failures = number(k.t, words[0])
		m.moved(now, backstay.Failed, r, now.Add(5*time.Minute))
	case "completed":
		m.moved(now, backstay.Completed, r, time.Time{})
	case "halted":
		m.moved(now, backstay.Stopped, r, time.Time{})
	case "good", "bad", "unknown":
		k.answer(m, words[0], health.Result{Good: verb == "good", Unknown: verb == "unknown", Output: strings.Join(words[1:], " ")})
	case "lines":
		m.logged(m.starts, strings.Split(rest, "|"))
	case "stop":
		m.depart(now, rest)
	case "restart":
		m.restart(now, rest)
	case "again":
		m.again(rest)
	case "drain":
		m.setDrained(true, "drained by "+rest)
	case "undrain":
		m.setDrained(false, "drained no more")
	case "withdrawn":
		m.withdrawn(now, m.chain, number(k.t, words[0]), strings.Join(words[1:], " "))
	case "emptied":
		m.emptied(now, m.chain, words[0] == "long", strings.Join(words[1:], " "))
	case "late": // an answer about a way out that it is no longer on
		m.withdrawn(now, m.chain-1, 1, "")
		m.emptied(now, m.chain-1, false, "")
		m.emptied(now, m.chain-1, true, "")
	case "told":
		m.stopTold(now)
	case "removed":
		m.removed(now)
	case "lost":
		m.lost(now)
	case "listed":
		m.reconcile(now, k.slot(append([]string{m.id}, words...)))
	default:
		k.t.Fatalf("nobody says %q", verb)
	}
}

func (k *talk) exit(verb, text string) backstay.Exit {
	e := backstay.Exit{At: k.now, Known: true}
	if verb == "killed" {
		signal, reason, _ := strings.Cut(text, " ")
		e.Signal, _ = backstay.SignalNumber(signal)
		e.Reason = reason
		return e
	}
	code, reason, _ := strings.Cut(text, " ")
	e.Code, e.Reason = number(k.t, code), reason
	return e
}

func (k *talk) answer(m *machine, name string, r health.Result) {
	q, ok := k.asked[m.id+" "+name]
	if !ok {
		k.t.Fatalf("%s of %s was not asked", name, m.id)
	}
	delete(k.asked, m.id+" "+name)
	m.answer(k.now, q, r)
}

// file applies services: name, its probes as startup readiness liveness, what it
// depends on as db=ready, replicas as x3; stop=drain/long; unavailable=50%.
func (k *talk) file(words []string) {
	k.services = map[string]Service{}
	var s Service
	name := ""
	for _, w := range words {
		key, value, _ := strings.Cut(w, "=")
		switch {
		case strings.HasSuffix(w, ":"):
			name = strings.TrimSuffix(w, ":")
			s = Service{}
			s.SetDefaults()
		case key == "drain":
			_ = s.Stop.Drain.UnmarshalText([]byte(value))
		case key == "long":
			_ = s.Stop.DrainLong.UnmarshalText([]byte(value))
		case key == "grace":
			_ = s.Stop.Grace.UnmarshalText([]byte(value))
		case key == "unavailable":
			_ = s.MaxUnavailable.UnmarshalText([]byte(value))
		case w == "startup":
			s.Probes.Startup = probeOf("/startup", 30)
		case w == "readiness":
			s.Probes.Readiness = probeOf("/ready", 3)
		case w == "liveness":
			s.Probes.Liveness = probeOf("/live", 3)
		case key == "readiness":
			s.Probes.Readiness = probeOf(value, 3)
		default:
			if s.DependsOn == nil {
				s.DependsOn = map[string]Condition{}
			}
			s.DependsOn[key] = Condition(value)
		}
		k.services[name] = s
	}
	k.fleet.apply(k.now, k.services, func() float64 { return 0 })
}

func probeOf(path string, failures int) *backstay.Probe {
	p := &backstay.Probe{}
	p.SetDefaults()
	p.HTTP, p.FailureThreshold = path, failures
	return p
}

// slot is one that a keeper lists: id state starts [ready] [note: as the machine
// of that id would have left it]. In the state remains it has a tree and no main
// process.
func (k *talk) slot(words []string) keeperwire.Slot {
	states := map[string]keeperwire.State{
		"stopped": keeperwire.Stopped, "running": keeperwire.Running, "backoff": keeperwire.Backoff,
		"stopping": keeperwire.Stopping, "remains": keeperwire.Stopping, "failed": keeperwire.Failed, "completed": keeperwire.Completed,
	}
	s := keeperwire.Slot{ID: words[0], State: states[words[1]], Starts: uint32(number(k.t, words[2])), StartedAt: k.began.UnixNano()}
	service := serviceOf(s.ID)
	var err error
	if s.Meta, err = (meta{Service: service, Release: service + "@1", Ports: k.ports(s.ID), policy: policyFrom(k.services[service])}).encode(); err != nil {
		k.t.Fatal(err)
	}
	if slices.Contains([]string{"running", "stopping"}, words[1]) {
		s.PID = int32(100 + s.Starts)
	}
	for _, w := range words[3:] {
		key, value, _ := strings.Cut(w, "=")
		switch key {
		case "ready":
			s.Ready = true
		case "exit":
			s.Last = keeperwire.Exit{At: k.now.UnixNano(), Known: value != "unknown"}
			if s.Last.Known {
				s.Last.Code = int32(number(k.t, value))
			}
		case "nometa":
			s.Meta = []byte("{")
		case "note":
			s.Note = k.fleet.machines[s.ID].noted.encode()
		}
	}
	if m := k.fleet.machines[s.ID]; m != nil && len(words) > 3 && words[3] == "forget" {
		s.Note = m.noted.encode()
		delete(k.fleet.machines, s.ID)
	}
	return s
}

// wait lets time pass, from one thing that is due to the next.
func (k *talk) wait(d string) {
	span, err := time.ParseDuration(d)
	if err != nil {
		k.t.Fatal(err)
	}
	end := k.now.Add(span)
	for {
		at := k.fleet.due()
		if at.IsZero() || at.After(end) {
			break
		}
		if at.After(k.now) {
			k.now = at
		}
		k.fleet.tick(k.now)
		k.carry()
	}
	k.now = end
}

// carry writes down what is to be done. Probes are asked, and wait for a line.
func (k *talk) carry() {
	for _, o := range k.fleet.take(k.now) {
		if o.do == doProbe {
			k.asked[o.m.id+" "+probeNames[o.probe]] = o.m.question(k.now, o.probe)
		}
		fmt.Fprintf(&k.out, "  %-6s %s: %s\n", k.now.Sub(k.began), o.m.id, o.effect)
	}
}

func (k *talk) show() {
	for _, m := range k.fleet.sorted() {
		v := m.view()
		fmt.Fprintf(&k.out, "  %s %s since %s: %s", v.ID, v.State, v.Since.Sub(k.began), v.Because)
		fmt.Fprintf(&k.out, " [pid=%d starts=%d ready=%v drained=%v failures=%d", v.PID, v.Starts, v.Ready, v.Drained, v.Failures)
		if !v.ReadySince.IsZero() {
			fmt.Fprintf(&k.out, " ready since %s", v.ReadySince.Sub(k.began))
		}
		if !v.NextStart.IsZero() {
			fmt.Fprintf(&k.out, " next start %s", v.NextStart.Sub(k.began))
		}
		if len(v.WaitsFor) > 0 {
			fmt.Fprintf(&k.out, " waits for %v", v.WaitsFor)
		}
		fmt.Fprintln(&k.out, "]")
		for _, p := range v.Probes {
			fmt.Fprintf(&k.out, "    %s %s good=%v streak=%d %s\n", p.Name, p.Target, p.Good, p.Streak, p.Output)
		}
	}
}

func number(tb testing.TB, s string) int {
	tb.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		tb.Fatal(err)
	}
	return n
}
