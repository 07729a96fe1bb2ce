package keeper_test

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/backstay/backstay/internal/hosttest"
	"github.com/backstay/backstay/internal/keeperwire"
	"github.com/backstay/backstay/internal/restart"
)

func TestFullDiskNeverStopsAService(t *testing.T) {
	t.Parallel()
	hosttest.NeedRoot(t, "to mount a disk of its own")
	n := newNode(t)
	mount(t, n.logs, "size=256k")
	c := n.start()
	c.subscribe(0)
	s := n.role("full", "lines", "1000000", "0") // 16 MB into 256 kB
	c.start(s)
	if e := c.event(kind(keeperwire.EvLogDropped, "full")); e.N == 0 {
		t.Errorf("%+v", e)
	}
	if e := c.event(kind(keeperwire.EvExited, "full")); !well(e.Exit) {
		t.Errorf("%+v", e.Exit)
	}
	dropped := c.until("full", keeperwire.Completed).Dropped
	if dropped < 10_000_000 {
		t.Errorf("dropped %d", dropped)
	}
	if err := os.Truncate(s.LogFile, 0); err != nil {
		t.Fatal(err)
	}
	c.start(n.spec("full", "sleep 2; echo back"))
	c.until("full", keeperwire.Completed)
	if got := n.log("full"); !strings.Contains(got, "back\n") || !strings.Contains(got, "backstay: dropped ") {
		t.Errorf("%q", got)
	}
}

func mount(t *testing.T, dir, options string) {
	t.Helper()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
}

func TestReadOnlyDiskDropsAndRecovers(t *testing.T) {
	t.Parallel()
	hosttest.NeedRoot(t, "to mount a disk of its own")
	n := newNode(t)
	mount(t, n.logs, "size=1m")
	if err := syscall.Mount("", n.logs, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	c := n.start()
	c.subscribe(0)
	before := c.up(n.spec("ro", "while :; do echo tick; sleep 0.01; done"))
	c.event(kind(keeperwire.EvLogDropped, "ro"))
	if err := syscall.Mount("", n.logs, "", syscall.MS_REMOUNT, ""); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is written, and what was not is said", func() bool {
		return strings.HasPrefix(n.log("ro"), "backstay: dropped ") && strings.HasSuffix(n.log("ro"), "tick\n")
	})
	if got := c.list()["ro"]; got.PID != before.PID {
		t.Errorf("%+v", got)
	}
}

// TestHungDiskHoldsNoRestartUp freezes the file system of the logs: who writes
// waits, and nothing else does.
func TestHungDiskHoldsNoRestartUp(t *testing.T) {
	t.Parallel()
	hosttest.NeedRoot(t, "to mount a disk of its own")
	n := newNode(t)
	freeze := freezable(t, n.logs)
	c := n.start()
	c.subscribe(0)
	noisy := n.role("noisy", "trickle")
	c.up(noisy)
	quiet := n.spec("quiet", "exec sleep 1000")
	quiet.LogFile, quiet.Restart = "", restart.Policy{Min: 1, Max: 1, ResetAfter: 1e15}
	before := c.up(quiet)
	eventually(t, "it prints", func() bool { return len(n.log("noisy")) > 0 })
	freeze("-f")
	for range 3 {
		_ = syscall.Kill(int(before.PID), syscall.SIGKILL)
		before = c.when("quiet", func(s keeperwire.Slot) bool { return s.State == keeperwire.Running && s.PID != before.PID })
	}
	c.do(keeperwire.Msg{Kind: keeperwire.Kill, ID: "noisy", Text: "test"})
	c.until("noisy", keeperwire.Stopped)
	freeze("-u")
	c.stop("quiet")
	eventually(t, "the last words are written", func() bool { return strings.HasSuffix(n.log("noisy"), "\n") })
	trickled(t, n.log("noisy"), strconv.Itoa(int(c.list()["noisy"].Last.PID)))
}

// freezable mounts a file system that can be frozen on dir.
func freezable(t *testing.T, dir string) (freeze func(how string)) {
	t.Helper()
	img := dir + ".img"
	if err := os.WriteFile(img, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, argv := range [][]string{{"truncate", "-s", "16M", img}, {"mkfs.ext4", "-q", img}, {"mount", "-o", "loop", img, dir}} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			hosttest.Cannot(t, "loop device with ext4: %v: %s", argv, out)
		}
	}
	freeze = func(how string) {
		if out, err := exec.Command("fsfreeze", how, dir).CombinedOutput(); err != nil && how == "-f" {
			hosttest.Cannot(t, "fsfreeze: %s", out)
		}
	}
	t.Cleanup(func() {
		_ = exec.Command("fsfreeze", "-u", dir).Run()
		n := syscall.MNT_DETACH
		_ = syscall.Unmount(dir, n)
	})
	return freeze
}

// A keeper that was killed must come back though nothing can be made in its
// directory any more: no byte and no name.
func TestKeeperComesBackWithoutRoom(t *testing.T) {
	t.Parallel()
	hosttest.NeedRoot(t, "to mount a disk of its own")
	n := newNode(t)
	if err := os.Mkdir(n.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	mount(t, n.dir, "size=1m,nr_inodes=100")
	c := n.start()
	s := n.spec("kept", "exec sleep 1000")
	s.Restart = restart.Policy{When: restart.Always, ResetAfter: 1}
	before := c.up(s)
	f, err := os.Create(n.dir + "/stuffing")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for _, size := range []int{pageSize, 1} {
		for err == nil {
			_, err = f.Write(make([]byte, size))
		}
		err = nil
	}
	for i := 0; err == nil; i++ {
		err = os.WriteFile(n.dir+"/stuffing."+strconv.Itoa(i), nil, 0o600)
	}
	n.kill()
	c = n.start()
	if got := c.list()["kept"]; got.PID != before.PID {
		t.Errorf("%+v", got)
	}
	_ = syscall.Kill(int(before.PID), syscall.SIGKILL)
	c.when("kept", func(s keeperwire.Slot) bool { return s.State == keeperwire.Running && s.PID != before.PID })
}

const pageSize = 4 << 10

// TestLossIsOverForAQuietServiceToo has one that prints nothing more: that there is
// room again is found out all the same, and told.
func TestLossIsOverForAQuietServiceToo(t *testing.T) {
	t.Parallel()
	hosttest.NeedRoot(t, "to mount a disk of its own")
	n := newNode(t)
	mount(t, n.logs, "size=64k")
	c := n.start()
	c.subscribe(0)
	if err := os.WriteFile(n.logs+"/stuffing", make([]byte, 48<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	s := n.spec("quiet", "head -c 100000 /dev/zero | tr '\\0' '\\n'; exec sleep 1000")
	c.up(s)
	ended := n.spec("ended", "head -c 100000 /dev/zero | tr '\\0' '\\n'")
	c.start(ended)
	dropping := map[string]bool{}
	next := func() {
		e := c.event(func(e keeperwire.Event) bool { return e.Kind == keeperwire.EvLogDropped })
		dropping[e.ID] = len(e.Text) > 0
	}
	for len(dropping) < 2 {
		next()
	}
	if err := os.Remove(n.logs + "/stuffing"); err != nil {
		t.Fatal(err)
	}
	for dropping["quiet"] || dropping["ended"] {
		next()
	}
	for _, id := range []string{"quiet", "ended"} {
		if got := n.log(id); !strings.HasSuffix(got, " bytes\n") || strings.Count(got, "backstay: dropped ") != 1 {
			t.Errorf("the log of %s ends with %q", id, got[max(0, len(got)-100):])
		}
	}
}
