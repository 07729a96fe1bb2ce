package sock

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/backstay/backstay/internal/hosttest"
)

// gives is what every taker gives to who collects.
var gives = map[string]*os.File{"in": os.Stdin, "bind=%3A80": os.Stderr}

// taker takes files at a path of its own and returns them.
func taker(t *testing.T, take func(string, *os.File) error) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "files")
	f, err := ListenPass(path)
	must(t, err)
	l, err := Listener(f)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Receive(ctx, l.(*net.UnixListener), take, func() map[string]*os.File { return gives }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Receive ended with %v", err)
		}
		_ = f.Close()
	})
	return path
}

func TestRefusedFileIsClosedByTheTakerAndSaidWhy(t *testing.T) {
	path := taker(t, func(_ string, f *os.File) error { return errors.Join(f.Close(), errors.New("no frontend binds it")) })
	f, err := os.Open("/dev/null")
	must(t, err)
	defer func() { _ = f.Close() }()
	if err := Pass(t.Context(), path, "bind=:80", f); err == nil || !strings.Contains(err.Error(), "no frontend binds it") {
		t.Errorf("%v", err)
	}
}

func TestNobodyTakes(t *testing.T) {
	f, err := os.Open("/dev/null")
	must(t, err)
	defer func() { _ = f.Close() }()
	path := filepath.Join(t.TempDir(), "files")
	if err := Pass(t.Context(), path, "x", f); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("nobody: %v", err)
	}
	l, err := ListenPass(path)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { // accepted by the backlog, never answered: the caller's context ends it
		<-time.After(50 * time.Millisecond)
		cancel()
	}()
	if err := Pass(ctx, path, "x", f); !errors.Is(err, context.Canceled) {
		t.Errorf("silent: %v", err)
	}
	must(t, l.Close())
	for _, name := range []string{"", strings.Repeat("x", maxName+1)} {
		if err := Pass(t.Context(), path, name, f); err == nil || !strings.Contains(err.Error(), "1 to 4096 bytes") {
			t.Errorf("name of %d bytes: %v", len(name), err)
		}
	}
}

// What is no name with one file is answered so, leaks nothing and keeps the
// taker going.
func TestNonsenseIsRefusedAndLeaksNoFile(t *testing.T) {
	got := make(chan string, 10)
	path := taker(t, func(name string, f *os.File) error {
		got <- name
		return f.Close()
	})
	r, w, err := os.Pipe()
	must(t, err)
	defer func() { _ = r.Close() }()
	fd := int(w.Fd())
	many := make([]int, 40)
	for i := range many {
		many[i] = fd
	}
	for what, m := range map[string]struct {
		name string
		fds  []int
	}{
		"no file": {"x", nil}, "two": {"x", []int{fd, fd}}, "more than fit": {"x", many}, "long name": {strings.Repeat("x", maxName+1), []int{fd}},
	} {
		c, err := net.Dial("unixpacket", path)
		must(t, err)
		var oob []byte
		if m.fds != nil {
			oob = unix.UnixRights(m.fds...)
		}
		_, _, err = c.(*net.UnixConn).WriteMsgUnix([]byte(m.name), oob, nil)
		must(t, err)
		answer := make([]byte, 100)
		n, err := c.Read(answer)
		if err != nil || string(answer[:n]) != "a name and one file are one message" {
			t.Errorf("%s: %q, %v", what, answer[:n], err)
		}
		_ = c.Close()
	}
	null, err := os.Open("/dev/null")
	must(t, err)
	must(t, Pass(t.Context(), path, "good", null))
	must(t, null.Close())
	if name := <-got; name != "good" || len(got) > 0 {
		t.Errorf("took %q and %d more", name, len(got))
	}
	must(t, w.Close())
	if n, err := r.Read(make([]byte, 1)); n != 0 || err == nil { // EOF only if no copy of w is left anywhere
		t.Errorf("read %d, %v", n, err)
	}
}

func TestPassedListenerServes(t *testing.T) {
	taken := make(chan net.Listener, 1)
	path := taker(t, func(_ string, f *os.File) error {
		defer func() { _ = f.Close() }()
		l, err := Listener(f)
		taken <- l
		return err
	})
	f, err := Listen("127.0.0.1:0")
	must(t, err)
	must(t, Pass(t.Context(), path, "bind=127.0.0.1:0", f))
	must(t, f.Close())
	l := <-taken
	greet(t, l, "by the other")
	_ = l.Close()
}

func TestStrangersMayNotPass(t *testing.T) {
	hosttest.NeedRoot(t, "to be another user")
	path := taker(t, func(string, *os.File) error { return nil })
	must(t, os.Chmod(path, 0o666))
	for dir := filepath.Dir(path); strings.HasPrefix(dir, os.TempDir()) && dir != os.TempDir(); dir = filepath.Dir(dir) {
		must(t, os.Chmod(dir, 0o755))
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestHelperPasses$")
	cmd.Env = append(os.Environ(), "SOCK_PASS="+path)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "connection") {
		t.Errorf("a stranger passed a file: %v\n%s", err, out)
	}
}

// TestHelperPasses is run as another user by the test above.
func TestHelperPasses(t *testing.T) {
	path := os.Getenv("SOCK_PASS")
	if path == "" {
		t.Skip("runs inside another test")
	}
	f, err := os.Open("/dev/null")
	must(t, err)
	must(t, Pass(t.Context(), path, "x", f))
}

func TestPeerIsKnownAndGuarded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	f, err := Listen("unix:" + path)
	must(t, err)
	l, err := Listener(f)
	must(t, err)
	defer func() { _, _ = l.Close(), f.Close() }()
	var asked []Cred
	guard := Guarded(l, func(c Cred) bool {
		asked = append(asked, c)
		return len(asked) > 1
	})
	first, err := net.Dial("unix", path)
	must(t, err)
	second, err := net.Dial("unix", path)
	must(t, err)
	c, err := guard.Accept()
	must(t, err)
	defer func() { _ = c.Close() }()
	want := Cred{UID: uint32(os.Getuid()), GID: uint32(os.Getgid()), PID: int32(os.Getpid())}
	if len(asked) != 2 || asked[0] != want || asked[1] != want {
		t.Errorf("asked about %+v", asked)
	}
	if _, err := first.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the refused one reads %v", err)
	}
	_, err = c.Write([]byte("x"))
	must(t, err)
	if n, err := second.Read(make([]byte, 1)); n != 1 || err != nil {
		t.Errorf("the accepted one reads %d, %v", n, err)
	}
	_, _ = first.Close(), second.Close()
}

func TestPeerOfNoUnixSocket(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer func() { _ = l.Close() }()
	c, err := net.Dial("tcp", l.Addr().String())
	must(t, err)
	defer func() { _ = c.Close() }()
	if _, err := PeerCred(c); !errors.Is(err, ErrNotUnix) {
		t.Errorf("%v", err)
	}
	p, _ := net.Pipe()
	if _, err := PeerCred(p); !errors.Is(err, ErrNotUnix) {
		t.Errorf("%v", err)
	}
}

func TestFilesOfTheEnvironment(t *testing.T) {
	me := strconv.Itoa(os.Getpid())
	for what, c := range map[string]struct{ pid, count, names, want string }{
		"none":           {"", "", "", ""},
		"for another":    {"1", "2", "a:b", ""},
		"no pid":         {"", "1", "a", ""},
		"zero":           {me, "0", "", ""},
		"not a number":   {me, "two", "a:b", "not a count"},
		"negative":       {me, "-1", "", "not a count"},
		"absurd":         {me, "4097", "", "not a count"},
		"names missing":  {me, "2", "", "not the names of 2 files"},
		"too many names": {me, "1", "a:b", "not the names of 1 files"},
		"not open":       {me, "900", strings.Repeat("a:", 899) + "a", ""},
	} {
		t.Setenv("LISTEN_PID", c.pid)
		t.Setenv("LISTEN_FDS", c.count)
		t.Setenv("LISTEN_FDNAMES", c.names)
		if what == "not open" {
			if _, err := take(1000, 1, "x"); err == nil || !strings.Contains(err.Error(), "bad file descriptor") {
				t.Errorf("%s: %v", what, err)
			}
			continue
		}
		files, err := FromEnv()
		if len(files) > 0 || (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, %v; want %q", what, files, err, c.want)
		}
		if _, ok := os.LookupEnv("LISTEN_FDS"); ok {
			t.Errorf("%s: LISTEN_FDS would reach children", what)
		}
	}
}

// A process started with sockets finds them by name, and its own children do not.
func TestFilesReachTheRightProcess(t *testing.T) {
	if os.Getenv("SOCK_ENV") != "" {
		files, err := FromEnv()
		must(t, err)
		l, err := Listener(files["bind=web"])
		must(t, err)
		if len(files) != 2 || files["other"] == nil {
			t.Errorf("files %v", files)
		}
		flags, err := unix.FcntlInt(4, unix.F_GETFD, 0)
		if err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("a child would inherit it: %x, %v", flags, err)
		}
		greet(t, l, "hello")
		return
	}
	f, err := Listen("127.0.0.1:0")
	must(t, err)
	null, err := os.Open("/dev/null")
	must(t, err)
	cmd := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ exec "$0" "$@"`, "/proc/self/exe", "-test.run=^TestFilesReachTheRightProcess$")
	self, err := os.Executable()
	must(t, err)
	cmd.Args[3] = self
	cmd.ExtraFiles = []*os.File{f, null}
	cmd.Env = append(os.Environ(), "SOCK_ENV=1", "LISTEN_FDS=2", "LISTEN_FDNAMES=bind=web:other")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	_, _ = f.Close(), null.Close()
}

func TestCollectReturnsCopiesOfAllThatIsHeld(t *testing.T) {
	path := taker(t, func(string, *os.File) error { return nil })
	got, err := Collect(t.Context(), path)
	must(t, err)
	if len(got) != len(gives) {
		t.Fatalf("collected %v", got)
	}
	for name, want := range gives {
		a, err := want.Stat()
		must(t, err)
		b, err := got[name].Stat()
		must(t, err)
		if !os.SameFile(a, b) {
			t.Errorf("%s is another file", name)
		}
		_ = got[name].Close()
	}
}

func TestCollectFromNobodyIsAnError(t *testing.T) {
	if got, err := Collect(t.Context(), filepath.Join(t.TempDir(), "none")); err == nil {
		t.Errorf("collected %v", got)
	}
}

// Whoever serves files hands out copies of all, and of none to a stranger's
// half: what does not end well is nothing.
func TestCollectGivesAllOrNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "files")
	if _, err := Collect(t.Context(), path); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("nobody: %v", err)
	}
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	must(t, err)
	defer func() { _ = l.Close() }()
	r, w, err := os.Pipe()
	must(t, err)
	go func() { // sends one file and dies
		c, err := l.AcceptUnix()
		if err != nil {
			return
		}
		_, _ = c.Read(make([]byte, 100))
		_, _, _ = c.WriteMsgUnix([]byte("one"), unix.UnixRights(int(w.Fd())), nil)
		_, _ = w.Close(), c.Close()
	}()
	files, err := Collect(t.Context(), path)
	if err == nil || !strings.Contains(err.Error(), "ended in the middle") || len(files) > 0 {
		t.Errorf("half: %v, %v", files, err)
	}
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the file stays open: %v", err)
	}
}

func TestCollectedFilesAreCopies(t *testing.T) {
	f, err := ListenPass(filepath.Join(t.TempDir(), "files"))
	must(t, err)
	l, err := Listener(f)
	must(t, err)
	given := map[string]*os.File{}
	r, w, err := os.Pipe()
	must(t, err)
	given["a"], given["b=%3A80"] = w, w
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- Receive(ctx, l.(*net.UnixListener), func(_ string, f *os.File) error { return f.Close() }, func() map[string]*os.File { return given })
	}()
	path := l.Addr().String()
	files, err := Collect(t.Context(), path)
	must(t, err)
	if len(files) != 2 || files["a"] == nil || files["b=%3A80"] == nil {
		t.Fatalf("%v", files)
	}
	must(t, w.Close())
	for name, f := range files {
		_, err := io.WriteString(f, name)
		must(t, err)
		must(t, f.Close())
	}
	text, err := io.ReadAll(r)
	if err != nil || len(text) != len("a")+len("b=%3A80") {
		t.Errorf("%q, %v", text, err)
	}
	cancel()
	<-done
	_ = f.Close()
}

func TestQuietSeesBytesAndTheEnd(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	defer func() { _ = unix.Close(fds[0]) }()
	if !Quiet(uintptr(fds[0])) {
		t.Error("not quiet, and nothing came")
	}
	if allocs := testing.AllocsPerRun(100, func() { Quiet(uintptr(fds[0])) }); allocs > 0 {
		t.Errorf("%v allocations for a look", allocs)
	}
	_, err = unix.Write(fds[1], []byte("x"))
	must(t, err)
	for range 2 {
		if Quiet(uintptr(fds[0])) {
			t.Error("quiet with a byte, or the look took it")
		}
	}
	_, err = unix.Read(fds[0], make([]byte, 1))
	must(t, err)
	must(t, unix.Close(fds[1]))
	if Quiet(uintptr(fds[0])) {
		t.Error("quiet at the end")
	}
	if Quiet(1 << 20) {
		t.Error("quiet, and it is no socket")
	}
}
