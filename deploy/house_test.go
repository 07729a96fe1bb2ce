package deploy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/backstay/backstay"
)

// house is a deployer over a directory and a pool, in a bubble.
type house struct {
	*Deployer

	t     *testing.T
	dir   string
	pool  *pool
	wants map[string]Want
	said  *events
	stop  context.CancelFunc
	done  sync.WaitGroup
}

// inHouse runs f in a bubble with a deployer that runs.
func inHouse(t *testing.T, f func(h *house)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := &house{t: t, dir: t.TempDir(), pool: newPool(), wants: map[string]Want{}, said: &events{ends: map[State]backstay.Event{}}}
		ctx, cancel := context.WithCancel(t.Context())
		var living sync.WaitGroup
		living.Go(func() { h.pool.live(ctx) })
		h.open()
		f(h)
		h.close()
		cancel()
		living.Wait()
	})
}

// open makes a deployer of what is on disk, as a new agent does.
func (h *house) open() {
	h.t.Helper()
	d, err := New(Options{
		Pool: h.pool, Traffic: h.pool, Check: h.pool, Dir: h.dir, Events: h.said, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		h.t.Fatal(err)
	}
	h.Deployer = d
	var ctx context.Context
	ctx, h.stop = context.WithCancel(h.t.Context())
	ready := make(chan struct{})
	h.done.Go(func() { _ = d.Run(ctx, func() { close(ready) }) })
	<-ready
}

func (h *house) close() { h.stop(); h.done.Wait() }

// killed has the agent die, and the next one start with the same file.
func (h *house) killed() {
	h.t.Helper()
	h.close()
	h.open()
	h.apply()
}

// wantRelease wants a release whose instances behave as p.
func (h *house) wantRelease(digest string, seq int, p program, change func(*Want)) {
	h.pool.do(func() { h.pool.w.programs[seq] = p })
	w := Want{Release: backstay.Release{Service: "shop", Digest: digest, Version: digest, By: "ann", Why: "apply"}, Replicas: 3}
	w.Config.SetDefaults()
	w.Config.MinReady = backstay.Duration(2 * time.Second)
	w.Config.ProgressDeadline = backstay.Duration(20 * time.Second)
	if change != nil {
		change(&w)
	}
	h.wants["shop"] = w
}

// rolls begins a deploy to shop@2, whose instances behave as p.
func (h *house) rolls(p program) {
	h.t.Helper()
	h.wantRelease("v2", 2, p, nil)
	h.apply()
}

// rollsUntil is rolls, as far as end.
func (h *house) rollsUntil(p program, end State) {
	h.t.Helper()
	h.rolls(p)
	h.until(end)
}

func (h *house) apply() {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), time.Minute)
	defer cancel()
	if err := h.Apply(ctx, h.wants); err != nil {
		h.t.Fatal(err)
	}
}

// runs has release digest in force as the first one.
func (h *house) runs(digest string, p program) {
	h.t.Helper()
	h.wantRelease(digest, 1, p, nil)
	h.apply()
	h.until(Done)
}

// until waits for a state of the newest deploy.
func (h *house) until(s State) Deploy {
	h.t.Helper()
	return h.untilIt(string(s), func(d Deploy) bool { return d.State == s })
}

func (h *house) untilIt(what string, is func(Deploy) bool) Deploy {
	h.t.Helper()
	for range 20 * 60 * 20 {
		if d, ok := h.Status("shop"); ok && is(d) {
			return d
		}
		beat() // never in the moment in which the pool acts
	}
	d, _ := h.Status("shop")
	h.t.Fatalf("never %s, it is %s: %s\n%s", what, d.State, d.Reason, h.script())
	return d
}

// beat waits for the next moment that lies between two of the pool's.
func beat() {
	every := 50 * time.Millisecond
	time.Sleep(every - time.Duration(time.Now().UnixNano())%every + every/2)
}

// script renders the lines of all deploys.
func (h *house) script() string {
	var out strings.Builder
	for _, d := range slices.Backward(h.History("shop")) {
		for _, l := range d.Lines {
			fmt.Fprintf(&out, "%7.2fs  %s\n", l.At.Sub(d.Started).Seconds(), l.Text)
		}
		if d.State != Done || d.Kind != First {
			fmt.Fprintf(&out, "          = %s %s; old %d/%d, new %d/%d failed\n", d.ID, d.State, d.Old.Failed, d.Old.Sent, d.New.Failed, d.New.Sent)
		}
		for _, l := range d.LastLog {
			fmt.Fprintf(&out, "          | %s\n", l)
		}
	}
	return out.String()
}

func (h *house) code(err error, code string) {
	h.t.Helper()
	p := new(backstay.Problem)
	if !errors.As(err, &p) || p.Code != code || p.Do == "" || p.Where != "service/shop" {
		h.t.Errorf("err = %v, want %s with what to do", err, code)
	}
}

func (h *house) serve(want string) {
	h.t.Helper()
	if got := h.pool.kinds(); got != want {
		h.t.Errorf("%s serve, want %s\n%s", got, want, h.script())
	}
}

// seen renders what there is.
func (h *house) seen() (view string) {
	h.pool.do(func() { view = h.pool.view() })
	return view
}

// did returns what was done to the pool so far.
func (h *house) did() (tape []string) {
	h.pool.do(func() { tape = slices.Clone(h.pool.tape) })
	return tape
}

// cannot says why a release can no longer be started; nil is that it can.
func (h *house) cannot(digest string, why error) {
	h.pool.do(func() { h.pool.bad[digest] = why })
}
