package keeperclient

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/backstay/backstay/internal/keeperwire"
)

// TestMain plays a keeper when it is started as one. Without a word as which one it
// ends: it would run the tests once more, which start it once more, for ever.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "run" && os.Getenv("FAKE_KEEPER") == "" {
		os.Exit(7)
	}
	if mode := os.Getenv("FAKE_KEEPER"); mode != "" {
		fmt.Fprintln(os.Stderr, "fake keeper:", mode, os.Args[1:])
		os.Exit(fakeKeeper(mode, os.Args[2]))
	}
	goleak.VerifyTestMain(m)
}

// fakeKeeper serves dir/sock until it is told to leave.
func fakeKeeper(mode, dir string) int {
	switch mode {
	case "broken":
		return 3
	case "second":
		return 4 // another has the lock
	}
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: filepath.Join(dir, "sock"), Net: "unixpacket"})
	if err != nil {
		return 6
	}
	l.SetUnlinkOnClose(true)
	defer func() { _ = l.Close() }()
	for mode == "silent" {
		_, _ = l.AcceptUnix()
	}
	w := *welcome.Welcome
	w.PID, w.BootID = int32(os.Getpid()), strings.Join(os.Environ(), "\n")
	for {
		conn, err := l.AcceptUnix()
		if err != nil {
			return 5
		}
		p := peer{conn: conn}
		p.answer(keeperwire.Msg{Kind: keeperwire.WelcomeMsg, Welcome: &w})
		if m, _ := p.read(); m.Kind == keeperwire.Leave {
			p.send(keeperwire.Msg{Kind: keeperwire.OK, N: m.N})
			return 0
		}
		_ = conn.Close()
	}
}

func TestKeeperThatCannotStartIsExplained(t *testing.T) {
	dir := t.TempDir()
	if err := Launch(t.Context(), "/no/such/keeper", dir, nil); err == nil || !strings.Contains(err.Error(), "/no/such/keeper") {
		t.Errorf("missing: %v", err)
	}
	if err := Launch(t.Context(), "/proc/self/exe", filepath.Join(dir, "no"), nil); err == nil || !strings.Contains(err.Error(), "open log") {
		t.Errorf("no directory: %v", err)
	}
	err := Launch(t.Context(), "/proc/self/exe", dir, []string{"FAKE_KEEPER=broken"})
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "fake keeper: broken [run "+dir+"]") {
		t.Errorf("broken: %v", err)
	}
}

func TestLaunchWaitsNoLongerThanItsContext(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	go func() { // it is there, and never answers
		defer cancel()
		for t.Context().Err() == nil {
			if c, err := net.Dial("unixpacket", filepath.Join(dir, "sock")); err == nil {
				_ = c.Close()
				return
			}
			time.Sleep(tryEvery)
		}
	}()
	if err := Launch(ctx, "/proc/self/exe", dir, []string{"FAKE_KEEPER=silent"}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	c, err := net.Dial("unixpacket", filepath.Join(dir, "sock"))
	must(t, err)
	client := &Client{conn: c.(*net.UnixConn)}
	must(t, client.know())
	must(t, client.KillKeeper())
	_, _ = c.Close(), client.keeper.Close()
}

// A keeper that was started and never answers is not left behind.
func TestKeeperThatNeverAnswersIsEnded(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 300*time.Millisecond, errMute) // sooner than launchWithin
	defer cancel()
	if err := Launch(ctx, "/proc/self/exe", dir, []string{"FAKE_KEEPER=silent"}); !errors.Is(err, errMute) {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(tryEvery) {
		c, err := net.Dial("unixpacket", filepath.Join(dir, "sock"))
		if err != nil {
			break
		}
		_ = c.Close()
		if time.Now().After(end) {
			t.Fatal("it is still there")
		}
	}
}

// The keeper is nobody's instance, in a session of its own, and dies by a kill
// of that process and no other.
func TestLaunchedKeeperAnswersAndIsKilled(t *testing.T) {
	dir := t.TempDir()
	env := []string{"FAKE_KEEPER=good", "BACKSTAY_INSTANCE=backstay-agent", "BACKSTAY_KEEPER=" + dir, "LISTEN_FDS=1", "KEPT=yes"}
	must(t, Launch(t.Context(), "/proc/self/exe", dir, env))
	c, err := Dial(t.Context(), Options{Socket: filepath.Join(dir, "sock")})
	must(t, err)
	if got := c.Welcome().BootID; strings.Contains(got, "BACKSTAY_") || strings.Contains(got, "LISTEN_FDS") || !strings.Contains(got, "KEPT=yes") {
		t.Errorf("environment\n%s", got)
	}
	if sid, _, e := syscall.RawSyscall(syscall.SYS_GETSID, uintptr(c.Welcome().PID), 0, 0); e != 0 || int32(sid) != c.Welcome().PID {
		t.Errorf("session %d of process %d: %v", sid, c.Welcome().PID, e)
	}
	must(t, c.KillKeeper())
	<-c.Done()
	must(t, c.Close())
	if err := c.KillKeeper(); err == nil {
		t.Error("killed after the end")
	}
}

// A frozen keeper would hold the lock for ever: who is asked to kills it.
func TestSilentKeeperIsKilledIfAskedTo(t *testing.T) {
	dir := t.TempDir()
	o := Options{Socket: filepath.Join(dir, "sock"), hello: 200 * time.Millisecond}
	ctx, cancel := context.WithCancel(t.Context())
	launched := make(chan error, 1)
	go func() { launched <- Launch(ctx, "/proc/self/exe", dir, []string{"FAKE_KEEPER=silent"}) }()
	var err error
	for !errors.Is(err, ErrSilent) { // first it must be there
		_, err = Dial(t.Context(), o)
	}
	if _, err = Dial(t.Context(), o); !errors.Is(err, ErrSilent) {
		t.Errorf("not asked to kill, and it is gone: %v", err)
	}
	o.KillSilent = true
	if _, err = Dial(t.Context(), o); !errors.Is(err, ErrSilent) {
		t.Errorf("%v", err)
	}
	if err := <-launched; err == nil || !strings.Contains(err.Error(), "signal: killed") {
		t.Errorf("the keeper ended with %v", err)
	}
	cancel()
}

// Of two that are started one ends; both callers have a keeper.
func TestSecondKeeperYieldsToTheFirst(t *testing.T) {
	dir := t.TempDir()
	must(t, Launch(t.Context(), "/proc/self/exe", dir, []string{"FAKE_KEEPER=good"}))
	must(t, Launch(t.Context(), "/proc/self/exe", dir, []string{"FAKE_KEEPER=second"}))
	if err := answers(t.Context(), filepath.Join(dir, "sock"), ended(errors.New("exit status 4"))); err != nil {
		t.Errorf("the second had ended first: %v", err)
	}
	c, err := Dial(t.Context(), Options{Socket: filepath.Join(dir, "sock")})
	must(t, err)
	must(t, c.Leave(t.Context()))
	<-c.Done()
	must(t, c.Close())
}

func ended(err error) <-chan error {
	c := make(chan error, 1)
	c <- err
	return c
}

func TestKeepersLogIsBegunAnewWhenItIsLarge(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keeper.log")
	must(t, os.WriteFile(path, make([]byte, maxLog+1), 0o600))
	f, err := openLog(path)
	must(t, err)
	_, err = f.WriteString("new\n")
	must(t, err)
	must(t, f.Close())
	if text, err := os.ReadFile(path); err != nil || string(text) != "new\n" {
		t.Errorf("%d bytes, %v", len(text), err)
	}
	if info, err := os.Stat(path + ".1"); err != nil || info.Size() != maxLog+1 {
		t.Errorf("the old one: %v", err)
	}
}
