package keeperclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/backstay/backstay/internal/keeperwire"
	"github.com/backstay/backstay/internal/restart"
)

// realKeeper builds the keeper and returns it, and a directory for one, which is
// short enough for a socket and is left clean.
func realKeeper(t *testing.T) (program, dir string) {
	t.Helper()
	top, err := os.MkdirTemp("", "kc-") //nolint:usetesting // its names are too long for a socket
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(top) })
	program, dir = filepath.Join(top, "backstay-keeper"), filepath.Join(top, "k")
	must(t, os.Mkdir(dir, 0o700))
	build := exec.Command("go", "build", "-o", program, "../../../cmd/backstay-keeper")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Cleanup(func() {
		name := fmt.Sprintf("backstay-%016x", keeperwire.Sum([]byte(dir)))
		for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
			_ = exec.Command("find", filepath.Join(root, name), "-depth", "-type", "d", "-exec", "rmdir", "{}", "+").Run()
		}
	})
	return program, dir
}

// next returns the next event of a kind about id.
func next(t *testing.T, events <-chan keeperwire.Event, kind keeperwire.Kind, id string) keeperwire.Event {
	t.Helper()
	hang := time.After(30 * time.Second)
	for {
		select {
		case ev, ok := <-events:
			if !ok {
				t.Fatalf("events ended before kind %d of %s", kind, id)
			}
			if ev.Kind == kind && ev.ID == id {
				return ev
			}
		case <-hang:
			t.Fatalf("never: event of kind %d of %s", kind, id)
		}
	}
}

// The whole wire against the real keeper, which is killed in the middle: what it
// ran is adopted by the next one, and its exit is told.
func TestRealKeeperIsKilledAndTheNextOneAdopts(t *testing.T) {
	program, dir := realKeeper(t)
	o := Options{Socket: filepath.Join(dir, "sock")}
	ctx := t.Context()
	must(t, Launch(ctx, program, dir, os.Environ()))
	c, err := Dial(ctx, o)
	must(t, err)
	t.Cleanup(func() { _ = c.KillKeeper() })
	events, err := c.Events(ctx, 0)
	must(t, err)
	const id = "shop-7f3a9c"
	spec := keeperwire.Spec{
		ID: id, Argv: []string{"/bin/sleep", "1000"}, Dir: "/", Meta: []byte("mine"), LogFile: filepath.Join(dir, "shop.log"),
		Signal: int32(syscall.SIGTERM), GraceMS: 5000, Restart: restart.Policy{When: restart.Never},
	}
	var refusal *keeperwire.Msg
	if err := c.Start(ctx, id); !errors.As(err, &refusal) || refusal.Code != "no_slot" {
		t.Errorf("start of nothing: %v", err)
	}
	must(t, c.Put(ctx, spec))
	must(t, c.Start(ctx, id))
	started := next(t, events, keeperwire.EvStarted, id)
	t.Cleanup(func() { _ = syscall.Kill(int(started.PID), syscall.SIGKILL) })
	if err := c.Remove(ctx, id); err == nil {
		t.Error("removed while it runs")
	}
	pidfd, err := c.PidFD(ctx, id)
	must(t, err)
	must(t, pidfd.Close())
	heldOverTheWire(t, c)
	must(t, c.SetNote(ctx, id, []byte("a note")))
	must(t, c.Ack(ctx, started.Seq))

	gen := c.Welcome().Gen
	must(t, c.KillKeeper())
	<-c.Done()
	must(t, c.Close())
	must(t, Launch(ctx, program, dir, os.Environ()))
	second, err := Dial(ctx, o)
	must(t, err)
	defer func() { must(t, second.Close()) }()
	t.Cleanup(func() { _ = second.KillKeeper() })
	if second.Welcome().Gen <= gen {
		t.Errorf("generation %d after %d", second.Welcome().Gen, gen)
	}
	slots, err := second.List(ctx)
	must(t, err)
	if len(slots) != 1 || slots[0].PID != started.PID || slots[0].State != keeperwire.Running || string(slots[0].Note) != "a note" || string(slots[0].Meta) != "mine" {
		t.Fatalf("adopted %+v", slots)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events, err = second.Events(ctx, started.Seq)
	must(t, err)
	must(t, second.Stop(ctx, id, "the test ends"))
	if ev := next(t, events, keeperwire.EvExited, id); ev.PID != started.PID || !ev.Exit.Asked || ev.Exit.Reason != "the test ends" {
		t.Errorf("exit %+v", ev)
	}
	for { // the exit is told before the slot has settled
		if err = second.Remove(ctx, id); !errors.As(err, &refusal) || refusal.Code != "not_stopped" {
			break
		}
	}
	must(t, err)
	must(t, second.Leave(ctx))
	<-second.Done()
}

// heldOverTheWire gives the keeper a file and takes it back.
func heldOverTheWire(t *testing.T, c *Client) {
	t.Helper()
	r, w, err := os.Pipe()
	must(t, err)
	must(t, c.PutFD(t.Context(), "bind=%3A8080", w))
	must(t, w.Close())
	back, err := c.GetFD(t.Context(), "bind=%3A8080")
	must(t, err)
	names, err := c.ListFDs(t.Context())
	if err != nil || len(names) != 1 {
		t.Errorf("%q, %v", names, err)
	}
	must(t, c.DropFD(t.Context(), "bind=%3A8080"))
	_, err = back.WriteString("there and back")
	must(t, err)
	must(t, back.Close())
	if text, err := io.ReadAll(r); err != nil || string(text) != "there and back" {
		t.Errorf("%q, %v", text, err)
	}
	if _, err := c.GetFD(t.Context(), "bind=%3A8080"); err == nil {
		t.Error("dropped and still there")
	}
}
