package registry

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/golden"
)

// TestTranscripts plays the conversations in testdata/*.txt. A line at the
// margin is a command, indented ones are what came of it; see talk.do.
func TestTranscripts(t *testing.T) {
	paths, _ := filepath.Glob("testdata/*.txt")
	if len(paths) == 0 {
		t.Fatal("no transcripts")
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			script, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			golden.Check(t, path, play(string(script)))
		})
	}
}

func play(script string) string {
	k := &talk{m: newMachine(0), now: time.Unix(0, 0), flying: map[string]flight{}, waits: map[string]*wait{}}
	for line := range strings.Lines(script) {
		switch {
		case strings.HasPrefix(line, "  "): // what came of it the last time
		case strings.TrimSpace(line) == "", strings.HasPrefix(line, "#"):
			k.out.WriteString(line)
		default:
			k.out.WriteString(line)
			k.do(strings.Fields(line))
			k.look()
		}
	}
	return k.out.String()
}

// talk is a machine and those who speak to it.
type talk struct {
	m      *machine
	now    time.Time
	joins  int
	flying map[string]flight // calls of Apply under way, by balancer
	waits  map[string]*wait
	out    strings.Builder
}

type flight struct {
	delivery

	gen uint64
}

// do carries out a command: join B, leave B, set I, ready I, remove I, withdraw I,
// restore I, await W, ok B, fails B, later DURATION.
func (k *talk) do(words []string) {
	verb, what := words[0], words[1]
	switch verb {
	case "join":
		k.joins++
		k.m.join(what, k.joins)
	case "leave":
		k.m.leave(what)
	case "set", "ready":
		k.m.set(Endpoint{Service: "shop", Instance: what, Ready: verb == "ready"})
	case "remove":
		k.m.remove(what)
	case "withdraw", "restore":
		k.m.drain(verb == "withdraw", words[1:]...)
	case "await":
		k.waits[what] = k.m.await()
	case "ok", "fails":
		f := k.flying[what]
		delete(k.flying, what)
		k.m.delivered(f.delivery, f.gen, k.now, verb == "ok")
	case "later":
		d, err := time.ParseDuration(what)
		if err != nil {
			panic(err)
		}
		k.now = k.now.Add(d)
	default:
		panic("no such command: " + verb)
	}
}

// look says what follows.
func (k *talk) look() {
	calls, next := k.m.deliveries(k.now)
	for _, d := range calls {
		s := k.m.snapshot()
		k.flying[d.name] = flight{d, s.Gen}
		fmt.Fprintf(&k.out, "  %s gets generation %d:", d.name, s.Gen)
		for _, e := range s.Endpoints {
			fmt.Fprintf(&k.out, " %s(%s)", e.Instance, map[bool]string{true: "in", false: "out"}[e.Ready && !e.Drain])
		}
		k.out.WriteString("\n")
	}
	if !next.IsZero() {
		fmt.Fprintf(&k.out, "  looks again after %v\n", next.Sub(k.now))
	}
	for name, w := range k.waits {
		select {
		case acks := <-w.done:
			fmt.Fprintf(&k.out, "  %s goes on, %d acknowledged\n", name, acks)
			delete(k.waits, name)
		default:
		}
	}
}
