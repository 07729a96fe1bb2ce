package daemon

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/host/sock"
	"github.com/backstay/backstay/l7"
)

// silentProxy is a line to a proxy that answers when it is told to, and has waited
// for a CPU for a part of each second.
type silentProxy struct {
	*proxy

	events recorder
	began  time.Time
	wakes  chan struct{}   // closed: it answers
	killed []time.Duration // when, from its beginning
	why    string
}

// hunger is how much of a second it waits for a CPU.
type hunger func() time.Duration

func (h hunger) Waited(span time.Duration) time.Duration {
	return min(span, time.Duration(float64(span)*h().Seconds()))
}

func (s *silentProxy) RoundTrip(r *http.Request) (*http.Response, error) {
	select {
	case <-s.wakes:
		return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody, Request: r}, nil
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

// watchSilent runs f beside the watch over a proxy that is silent and not young.
func watchSilent(t *testing.T, each func() time.Duration, f func(s *silentProxy)) *silentProxy {
	t.Helper()
	s := &silentProxy{}
	synctest.Test(t, func(t *testing.T) {
		s.began, s.wakes = time.Now(), make(chan struct{})
		s.proxy = newProxy("/x", nil, &board{}, slog.New(slog.DiscardHandler), &s.events)
		s.board.set(orders{frontends: map[string]l7.Frontend{"web": {}}})
		s.client = &http.Client{Transport: s}
		s.pid = func() int { return 7 }
		s.look = func(int) waits { return hunger(each) }
		s.end = func(_ context.Context, reason string) error {
			s.killed, s.why = append(s.killed, time.Since(s.began)), reason
			return nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		over := make(chan struct{})
		go func() {
			defer close(over)
			_ = s.watch(ctx)
		}()
		f(s)
		cancel()
		<-over
	})
	return s
}

func (s *silentProxy) states() (out []string) {
	for _, e := range s.events.all {
		if e.Kind == backstay.StateChanged {
			out = append(out, e.From+" > "+e.To+": "+e.Because)
		}
	}
	return out
}

func share(part time.Duration) func() time.Duration { return func() time.Duration { return part } }

// One that hangs is healed within seconds; so is one whose threads wake now and then.
func TestProxyThatHangsIsKilled(t *testing.T) {
	for _, part := range []time.Duration{0, 200 * time.Millisecond} {
		s := watchSilent(t, share(part), func(*silentProxy) { time.Sleep(4500 * time.Millisecond) })
		if len(s.killed) != 1 || s.states() != nil || !strings.Contains(s.why, "no answer to 3 questions in a row") {
			t.Errorf("waits for a CPU %v of each second: killed %v: %s; %q", part, s.killed, s.why, s.states())
		}
	}
}

// One that gets no CPU is waited for, and told of once.
func TestProxyThatIsStarvedIsNotKilled(t *testing.T) {
	s := watchSilent(t, share(700*time.Millisecond), func(s *silentProxy) {
		time.Sleep(25 * time.Second)
		close(s.wakes)
		time.Sleep(time.Minute)
	})
	want := "running > slow: it has waited for a CPU for 1.4s of the last 2s; slow > running: it answers again"
	if got := strings.Join(s.states(), "; "); len(s.killed) != 0 || got != want {
		t.Errorf("killed %v: %s; told %s, want %s", s.killed, s.why, got, want)
	}
}

// It is not waited for for ever: what looks like hunger may be none.
func TestProxyThatIsStarvedForLongIsKilled(t *testing.T) {
	s := watchSilent(t, share(time.Second), func(*silentProxy) { time.Sleep(time.Minute - time.Second) })
	if len(s.killed) != 1 || s.killed[0] < silenceMax || s.killed[0] > silenceMax+5*time.Second || !strings.Contains(s.why, "before, it has waited for a CPU") {
		t.Errorf("killed %v: %s", s.killed, s.why)
	}
}

// One that hangs after it was starved is killed when that shows.
func TestProxyThatHangsAfterItWasStarvedIsKilled(t *testing.T) {
	var part atomic.Int64
	part.Store(int64(time.Second))
	s := watchSilent(t, func() time.Duration { return time.Duration(part.Load()) }, func(*silentProxy) {
		time.Sleep(9500 * time.Millisecond)
		part.Store(0)
		time.Sleep(3 * time.Second)
	})
	if len(s.killed) != 1 || s.killed[0] < 9*time.Second || s.killed[0] > 12*time.Second {
		t.Errorf("killed %v: %s", s.killed, s.why)
	}
}

// Where the agent that asks was late itself, it may have missed the answer.
func TestSilenceThatALateAgentHearsProvesNothing(t *testing.T) {
	look := func() waits { return hunger(share(0)) }
	for late, want := range map[time.Duration]bool{0: true, 100 * time.Millisecond: true, 900 * time.Millisecond: false} {
		s, now, hangs := unanswered{}, time.Unix(1e9, 0), false
		for range proxyMisses {
			now = now.Add(proxyAskWithin + late)
			hangs = s.missed(now, late, look)
		}
		if hangs != want || !want && !strings.HasPrefix(s.slow, "the agent that asks it has waited") {
			t.Errorf("%v late each time: hangs %v, %s", late, hangs, s.slow)
		}
	}
}

// giver serves what a proxy gives back, but hears nothing of the first so many
// questions. It returns a line to that proxy.
func giver(t *testing.T, deaf int, part time.Duration) *proxy {
	t.Helper()
	dir := t.TempDir()
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: filepath.Join(dir, "files"), Net: "unixpacket"})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range deaf {
			if c, err := l.AcceptUnix(); err == nil {
				defer func() { _ = c.Close() }()
			}
		}
		give := func() map[string]*os.File { return map[string]*os.File{"bind=x": os.Stdout} }
		_ = sock.Receive(ctx, l, func(string, *os.File) error { return nil }, give)
	}()
	t.Cleanup(func() { cancel(); _ = l.Close(); <-done })
	p := newProxy(dir, nil, &board{}, slog.New(slog.DiscardHandler), &recorder{})
	p.look = func(pid int) waits {
		if pid != 7 {
			t.Errorf("it looks at %d", pid)
		}
		return hunger(share(part))
	}
	return p
}

// One that holds the only copies of its sockets, and gets no CPU, is asked on for
// them: its death would lose what it has in flight.
func TestStarvedProxyGivesItsSocketsBackLate(t *testing.T) {
	t.Parallel()
	p := giver(t, 4, 900*time.Millisecond)
	found, err := p.collect(t.Context(), 7)
	must(t, err)
	if len(found) != 1 || found["bind=x"] == nil {
		t.Fatalf("%v", found)
	}
	must(t, found["bind=x"].Close())
}

func TestProxyThatHangsGivesNothingBack(t *testing.T) {
	t.Parallel()
	found, err := giver(t, 4, 0).collect(t.Context(), 7)
	if err == nil || len(found) > 0 || !strings.Contains(err.Error(), "asked 3 times") {
		t.Errorf("%v, %v", found, err)
	}
}
