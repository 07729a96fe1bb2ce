package daemon

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/host/proc"
	"github.com/backstay/backstay/host/sock"
)

// Bounds of a proxy's unanswered.
const (
	proxyAskEvery = time.Second
	proxyMisses   = 3 // unanswered in a row: it hangs, and is killed
	// proxyYoung is how long a proxy may take to answer after its start.
	proxyYoung = 5 * time.Second
	// silenceMax is how long a proxy that is starved is waited for: a host that
	// gives it nothing for so long serves nobody, and another process cannot be
	// worse. It bounds what is lost where the signs of hunger deceive, too.
	silenceMax = 30 * time.Second
	// hungry is the part of the time for which one must have waited for a CPU to be
	// taken for starved: a quarter. One that hangs waits for none; what wakes now
	// and then on a busy host, as a thread of its runtime does, waits for far less.
	hungry = 4
	// proxyGivesWithin is how long it may take to give its sockets back: one that
	// hangs is killed after the third time.
	proxyGivesWithin = 2 * time.Second
)

// waits tells for how much of span, the time since it was made, a process has
// waited for a CPU.
type waits interface {
	Waited(span time.Duration) time.Duration
}

// watched is what is asked about the process of the proxy, and done to it.
type watched struct {
	pid  func() int // 0: there is none
	look func(pid int) waits
	end  func(ctx context.Context, reason string) error
}

func watchedBy(l *link) watched {
	return watched{
		pid:  func() int { return 0 },
		look: func(pid int) waits { return proc.WatchCPU(pid) },
		end:  func(ctx context.Context, reason string) error { return l.Kill(ctx, proxyID, reason, true) },
	}
}

// unanswered is a time in which the proxy answers nothing. It tells one that hangs
// from one that is starved: the death of the first is the cure, that of the
// second loses what it has in flight and heals nothing.
type unanswered struct {
	misses int
	began  time.Time // the first question was given up

	looked time.Time // all below is about the time since then
	until  int       // how many misses are to be when it is judged
	waits  waits
	late   time.Duration // how much later than it should have been we gave up: we were starved ourselves

	slow string // what it is, if it is starved
}

// missed takes that one more question was given up at the time now, so much later
// than it should have been. It reports whether the proxy hangs.
func (s *unanswered) missed(now time.Time, late time.Duration, look func() waits) (hangs bool) {
	s.misses++
	s.late += max(0, late)
	switch {
	case s.misses == 1: // nothing is looked at while all is well
		s.began = now
	case s.misses < s.until:
		return false
	case !s.starved(now) || now.Sub(s.began) >= silenceMax:
		return true
	}
	s.looked, s.waits, s.late, s.until = now, look(), 0, s.misses+proxyMisses-1
	return false
}

// starved reports whether the proxy has got too little of the CPUs to answer, or
// we too little to hear it.
func (s *unanswered) starved(now time.Time) bool {
	span, who := now.Sub(s.looked), "it has"
	waited := s.waits.Waited(span)
	if s.late > waited {
		who, waited = "the agent that asks it has", min(s.late, span)
	}
	if waited <= span/hungry {
		return false
	}
	const step = time.Second / 10
	s.slow = fmt.Sprintf("%s waited for a CPU for %s of the last %s", who, waited.Round(step), span.Round(step))
	return true
}

// before says what the proxy was before it was taken to hang.
func (s *unanswered) before() string {
	if s.slow == "" {
		return ""
	}
	return "; before, " + s.slow
}

// watch kills a proxy that does not answer: roles that hang are healed like
// those that die. One that only gets no CPU is asked on for a while.
func (p *proxy) watch(ctx context.Context) error {
	tick := time.NewTicker(proxyAskEvery)
	defer tick.Stop()
	for quiet := (unanswered{}); ; {
		select {
		case <-ctx.Done():
			return ctx.Err() //nolint:wrapcheck // being told to end is no story
		case <-tick.C:
		}
		asked := time.Now()
		err := p.alive(ctx)
		switch {
		case ctx.Err() != nil: // and the question was broken off
		case err == nil:
			p.answered(ctx, &quiet)
		case p.young(), p.pid() == 0: // one that is dead is the keeper's business
			quiet = unanswered{}
		case p.hangs(ctx, p.pid(), &quiet, time.Since(asked)-proxyAskWithin):
			p.kill(ctx, quiet, err)
			quiet = unanswered{}
		}
	}
}

// collect asks the proxy, process pid, for copies of its sockets: it is asked on as
// long as it is only starved.
func (p *proxy) collect(ctx context.Context, pid int) (map[string]*os.File, error) {
	tick := time.NewTicker(proxyAskEvery)
	defer tick.Stop()
	for quiet := (unanswered{}); ; {
		asked := time.Now()
		asking, cancel := context.WithTimeout(ctx, proxyGivesWithin)
		found, err := sock.Collect(asking, filepath.Join(p.dir, "files"))
		cancel()
		if err == nil {
			p.answered(ctx, &quiet)
			return found, nil
		}
		if ctx.Err() != nil || p.hangs(ctx, pid, &quiet, time.Since(asked)-proxyGivesWithin) {
			return nil, fmt.Errorf("%w, asked %d times%s", err, quiet.misses, quiet.before())
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// answered takes that the proxy has answered.
func (p *proxy) answered(ctx context.Context, s *unanswered) {
	if s.slow != "" {
		p.say(ctx, "slow", "running", "it answers again")
	}
	*s = unanswered{}
}

// hangs takes that a question to process pid was given up, so much later than it
// should have been. It says once that the proxy is starved.
func (p *proxy) hangs(ctx context.Context, pid int, s *unanswered, late time.Duration) bool {
	was := s.slow
	hangs := s.missed(time.Now(), late, func() waits { return p.look(pid) })
	if was == "" && s.slow != "" {
		p.say(ctx, "running", "slow", s.slow)
	}
	return hangs
}

// say records that the proxy is starved, or is so no more.
func (p *proxy) say(ctx context.Context, from, to, because string) {
	p.log.WarnContext(ctx, "proxy changed", "from", from, "to", to, "why", because)
	p.events.Record(backstay.Event{Kind: backstay.StateChanged, Ref: backstay.NewRef("role", "proxy"), From: from, To: to, Because: because})
}

func (p *proxy) alive(ctx context.Context) error {
	if len(p.board.get().frontends) == 0 {
		return nil // there is none
	}
	ctx, cancel := context.WithTimeout(ctx, proxyAskWithin)
	defer cancel()
	return p.call(ctx, http.MethodGet, "/v1/alive", nil, nil)
}

func (p *proxy) young() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Since(p.started) < proxyYoung
}

func (p *proxy) kill(ctx context.Context, s unanswered, why error) {
	reason := fmt.Sprintf("no answer to %d questions in a row: %v%s", s.misses, why, s.before())
	p.log.ErrorContext(ctx, "proxy hangs, killing it", "why", reason)
	p.events.Record(backstay.Event{Kind: backstay.RoleKilled, Ref: backstay.NewRef("role", "proxy"), Because: reason})
	if err := p.end(ctx, reason); err != nil && !errors.Is(err, context.Canceled) {
		p.log.ErrorContext(ctx, "proxy not killed", "why", err.Error())
	}
}
