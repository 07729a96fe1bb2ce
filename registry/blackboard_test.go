package registry_test

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

	"go.uber.org/goleak"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/registry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// proxy is a balancer that takes a while, may refuse, and notes what it was told.
type proxy struct {
	mu       sync.Mutex // guards what follows
	took     []registry.Snapshot
	slow     time.Duration // of one Apply
	deaf     bool          // Apply only ends with ctx
	err      error
	drains   []string
	inFlight time.Duration // how long Drain takes
}

func (p *proxy) Apply(ctx context.Context, s registry.Snapshot) error {
	p.mu.Lock()
	slow, deaf, err := p.slow, p.deaf, p.err
	p.mu.Unlock()
	if deaf {
		<-ctx.Done()
		return ctx.Err()
	}
	select {
	case <-time.After(slow):
	case <-ctx.Done():
		return ctx.Err()
	}
	if err == nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.took = append(p.took, s)
	}
	return err
}

func (p *proxy) Drain(ctx context.Context, instance string, long bool) error {
	p.mu.Lock()
	wait, err := p.inFlight, p.err
	p.drains = append(p.drains, fmt.Sprintf("%s long=%v", instance, long))
	p.mu.Unlock()
	if err != nil {
		return err
	}
	select {
	case <-time.After(wait):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *proxy) be(f func(*proxy)) { p.mu.Lock(); defer p.mu.Unlock(); f(p) }

// view renders the newest snapshot that p took.
func (p *proxy) view() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.took) == 0 {
		return "nothing"
	}
	var out []string
	for _, e := range p.took[len(p.took)-1].Endpoints {
		state := "out"
		if e.Ready && !e.Drain {
			state = "in"
		}
		out = append(out, e.Instance+" "+state)
	}
	return strings.Join(out, ", ")
}

func shop(n int) registry.Endpoint {
	return registry.Endpoint{
		Service: "shop", Instance: fmt.Sprintf("shop-%06x", n), Release: "shop@1", Address: "127.0.0.1",
		Ports: map[string]uint16{"http": uint16(20000 + n)}, Ready: true, Starts: 1,
	}
}

// room is a registry that runs, and the test it is in.
type room struct {
	*registry.Registry

	t *testing.T
}

// bubble runs f with a registry that is running, in virtual time.
func bubble(t *testing.T, f func(r room)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := registry.New(registry.Options{Log: slog.New(slog.DiscardHandler)})
		ctx, cancel := context.WithCancel(t.Context())
		var done sync.WaitGroup
		done.Go(func() { _ = r.Run(ctx) })
		f(room{r, t})
		cancel()
		done.Wait()
	})
}

func TestManyChangesCostOneApply(t *testing.T) {
	bubble(t, func(r room) {
		t := r.t
		p := &proxy{slow: 10 * time.Millisecond}
		r.Join("proxy-1", p)
		synctest.Wait() // the first Apply is under way
		for n := range 1000 {
			r.Set(shop(n))
		}
		if err := r.Settle(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(p.took) != 2 || len(p.took[1].Endpoints) != 1000 {
			t.Errorf("%d applies, the last of %d endpoints; want 2, the last of all 1000", len(p.took), len(p.took[len(p.took)-1].Endpoints))
		}
	})
}

func TestSettingTheSameAgainTellsNobody(t *testing.T) {
	bubble(t, func(r room) {
		t := r.t
		p := &proxy{}
		r.Join("proxy-1", p)
		r.Set(shop(1))
		_ = r.Settle(t.Context())
		before := len(p.took)
		r.Set(shop(1))
		_ = r.Settle(t.Context())
		if len(p.took) != before {
			t.Error("an equal endpoint was applied again")
		}
	})
}

// A run that gets no requests has ended, and another one gets none either.
func TestRunsThatAreNeverReadyTellNobody(t *testing.T) {
	bubble(t, func(r room) {
		t := r.t
		p := &proxy{}
		r.Join("proxy-1", p)
		e := shop(1)
		e.Ready = false
		r.Set(e)
		_ = r.Settle(t.Context())
		before := len(p.took)
		for e.Starts = range 50 {
			r.Set(e)
			synctest.Wait()
		}
		if n := len(p.took) - before; n > 0 {
			t.Errorf("fifty runs without requests are %d snapshots", n)
		}
		e.Ready = true
		r.Set(e)
		_ = r.Settle(t.Context())
		if last := p.took[len(p.took)-1].Endpoints[0]; !last.Ready || last.Starts != 49 {
			t.Errorf("when it is ready they are told %+v", last)
		}
	})
}

func TestJoinAppliesWhatIsThere(t *testing.T) {
	bubble(t, func(r room) {
		t := r.t
		r.Set(shop(1))
		p := &proxy{}
		r.Join("proxy-1", p)
		synctest.Wait()
		if got := p.view(); got != "shop-000001 in" {
			t.Error(got)
		}
	})
}

func TestWithdrawWaitsForEveryLiveBalancer(t *testing.T) {
	bubble(t, func(r room) {
		t := r.t
		fast, slow := &proxy{}, &proxy{slow: 300 * time.Millisecond}
		r.Join("proxy-1", fast)
		r.Join("proxy-2", slow)
		r.Set(shop(1))
		r.Set(shop(2))
		_ = r.Settle(t.Context())
		acks, err := r.Withdraw(t.Context(), "shop-000001")
		if acks != 2 || err != nil {
			t.Fatalf("acks %d, err %v; want 2", acks, err)
		}
		for _, p := range []*proxy{fast, slow} {
			if got := p.view(); got != "shop-000001 out, shop-000002 in" {
				t.Errorf("acknowledged, and it sees %s", got)
			}
		}
	})
}

func TestWithdrawAllIsOneSwap(t *testing.T) {
	bubble(t, func(r room) {
		t := r.t
		p := &proxy{}
		r.Set(shop(1))
		r.Set(shop(2))
		r.Join("proxy-1", p)
		_ = r.Settle(t.Context())
		before := len(p.took)
		if acks, err := r.WithdrawAll(t.Context(), []string{"shop-000001", "shop-000002", "shop-gone"}); acks != 1 || err != nil {
			t.Fatal(acks, err)
		}
		if len(p.took) != before+1 || p.view() != "shop-000001 out, shop-000002 out" {
			t.Errorf("%d applies: %s", len(p.took)-before, p.view())
		}
	})
}

// Nothing may be signalled while a proxy that lives has not said yes.
func TestWithdrawIsBoundByItsContextAndNamesWhoIsLate(t *testing.T) {
	bubble(t, func(r room) {
		t := r.t
		p := &proxy{deaf: true}
		r.Join("proxy-1", &proxy{})
		r.Join("proxy-2", p)
		r.Set(shop(1))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := r.Withdraw(ctx, "shop-000001")
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "by proxy-2:") {
			t.Errorf("err = %v", err)
		}
		p.be(func(p *proxy) { p.deaf = false })
		if acks, err := r.Withdraw(t.Context(), "shop-000001"); acks != 2 || err != nil {
			t.Errorf("when it hears again: %d acks, %v", acks, err)
		}
	})
}

func TestAFailingBalancerIsTriedAgainAndHoldsWithdrawUp(t *testing.T) {
	bubble(t, func(r room) {
		t := r.t
		p := &proxy{err: errors.New("connection refused")}
		r.Join("proxy-1", p)
		r.Set(shop(1))
		var acks int
		var err error
		done := make(chan struct{})
		go func() { acks, err = r.Withdraw(t.Context(), "shop-000001"); close(done) }()
		time.Sleep(time.Hour)
		select {
		case <-done:
			t.Fatal("withdrawn without an acknowledgement")
		default:
		}
		p.be(func(p *proxy) { p.err = nil })
		if <-done; acks != 1 || err != nil {
			t.Errorf("acks %d, err %v", acks, err)
		}
	})
}

func TestLeaveOfADeadBalancerLetsWaitersGo(t *testing.T) {
	bubble(t, func(r room) {
		t := r.t
		r.Join("proxy-1", &proxy{})
		r.Join("proxy-2", &proxy{deaf: true})
		r.Set(shop(1))
		go func() { time.Sleep(time.Second); r.Leave("proxy-2") }()
		if acks, err := r.Withdraw(t.Context(), "shop-000001"); acks != 1 || err != nil {
			t.Errorf("acks %d, err %v; want the one that lives", acks, err)
		}
	})
}

// A proxy that died and is back under its name owes a new acknowledgement, and
// what the dead one says late counts for nothing.
func TestJoiningAgainStartsFromNothing(t *testing.T) {
	bubble(t, func(r room) {
		t := r.t
		old, next := &proxy{slow: time.Second}, &proxy{slow: 5 * time.Second}
		r.Set(shop(1))
		r.Join("proxy", old)
		synctest.Wait()
		r.Join("proxy", next)
		began := time.Now()
		if acks, err := r.Withdraw(t.Context(), "shop-000001"); acks != 1 || err != nil {
			t.Fatal(acks, err)
		}
		if next.view() != "shop-000001 out" || time.Since(began) < 5*time.Second {
			t.Errorf("withdrawn after %v while the new one sees %s", time.Since(began), next.view())
		}
	})
}

func TestSetDoesNotUndoAWithdrawalRestoreDoes(t *testing.T) {
	bubble(t, func(r room) {
		t := r.t
		p := &proxy{}
		r.Join("proxy-1", p)
		r.Set(shop(1))
		_, _ = r.Withdraw(t.Context(), "shop-000001")
		again := shop(1)
		again.Starts = 2
		r.Set(again)
		_ = r.Settle(t.Context())
		if got := p.view(); got != "shop-000001 out" {
			t.Errorf("after Set: %s", got)
		}
		r.Restore("shop-000001")
		_ = r.Settle(t.Context())
		if got := p.view(); got != "shop-000001 in" {
			t.Errorf("after Restore: %s", got)
		}
		r.Remove("shop-000001")
		_ = r.Settle(t.Context())
		if got := p.view(); got != "" {
			t.Errorf("after Remove: %s", got)
		}
	})
}

func TestWithdrawOfWhatIsGoneWaitsForTheSnapshotThatLacksIt(t *testing.T) {
	bubble(t, func(r room) {
		t := r.t
		p := &proxy{slow: time.Second}
		r.Set(shop(1))
		r.Join("proxy-1", p)
		_ = r.Settle(t.Context())
		r.Remove("shop-000001")
		if _, err := r.Withdraw(t.Context(), "shop-000001"); err != nil || p.view() != "" {
			t.Errorf("err %v, it sees %q", err, p.view())
		}
	})
}

func TestDrainWaitsForAllAndForWhoJoinsMeanwhile(t *testing.T) {
	bubble(t, func(r room) {
		t := r.t
		one, two := &proxy{inFlight: 10 * time.Second}, &proxy{inFlight: 20 * time.Second}
		r.Join("proxy-1", one)
		go func() { time.Sleep(time.Second); r.Join("proxy-2", two) }()
		began := time.Now()
		if err := r.Drain(t.Context(), "shop-000001", true); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != 30*time.Second {
			t.Errorf("drained after %v, want 10s and then 20s", took)
		}
		if want := []string{"shop-000001 long=true"}; !slices.Equal(two.drains, want) {
			t.Errorf("asked %q", two.drains)
		}
	})
}

func TestDrainIsBoundAndDoesNotWaitForTheDead(t *testing.T) {
	bubble(t, func(r room) {
		t := r.t
		r.Join("proxy-1", &proxy{inFlight: time.Hour})
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if err := r.Drain(ctx, "shop-000001", false); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("err = %v", err)
		}
		go func() { time.Sleep(time.Second); r.Leave("proxy-1") }()
		began := time.Now()
		if err := r.Drain(t.Context(), "shop-000001", false); err != nil || time.Since(began) != time.Second {
			t.Errorf("err %v after %v; want none, when it has left", err, time.Since(began))
		}
	})
}

func TestDrainAsksAgainAfterAnError(t *testing.T) {
	bubble(t, func(r room) {
		t := r.t
		p := &proxy{err: errors.New("broken pipe")}
		r.Join("proxy-1", p)
		go func() { time.Sleep(time.Minute); p.be(func(p *proxy) { p.err = nil }) }()
		if err := r.Drain(t.Context(), "shop-000001", false); err != nil {
			t.Error(err)
		}
	})
}

// What is set while nothing runs is told by the next Run, and a delivery that a
// Run could not finish is made again.
func TestChangesBetweenRunsAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := registry.New(registry.Options{Gen: 41})
		p := &proxy{deaf: true}
		r.Join("proxy-1", p)
		r.Set(shop(1))
		for _, deaf := range []bool{true, false} {
			p.be(func(p *proxy) { p.deaf = deaf })
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if err := r.Run(ctx); err != nil {
				t.Error(err)
			}
			cancel()
		}
		if p.view() != "shop-000001 in" || p.took[0].Gen <= 42 {
			t.Errorf("it sees %s, generation %d", p.view(), p.took[0].Gen)
		}
	})
}

type tape struct {
	mu     sync.Mutex // guards events
	events []string
}

func (t *tape) Record(e backstay.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.events = append(t.events, fmt.Sprintf("%s %s: %s", e.Kind, e.Ref, e.Because))
}

func TestWithdrawnIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tape := &tape{}
		r := registry.New(registry.Options{Events: tape})
		ctx, cancel := context.WithCancel(t.Context())
		var done sync.WaitGroup
		done.Go(func() { _ = r.Run(ctx) })
		r.Join("proxy-1", &proxy{})
		r.Set(shop(1))
		_, _ = r.Withdraw(ctx, "shop-000001")
		_, _ = r.Withdraw(ctx, "shop-000001")
		_, _ = r.Withdraw(ctx, "shop-none")
		cancel()
		done.Wait()
		want := []string{"withdrawn service/shop/shop-000001: acknowledged by 1 of 1 balancers"}
		if !slices.Equal(tape.events, want) {
			t.Errorf("got %q", tape.events)
		}
	})
}
