package sock

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/backstay/backstay/internal/hosttest"
)

func TestAddressesThatAreRefusedSayWhy(t *testing.T) {
	for addr, want := range map[string]string{
		"":                                  "neither :PORT nor IP:PORT nor unix:PATH",
		"localhost:0":                       "neither", // a name server is never asked
		"example.com:80":                    "neither",
		"127.0.0.1":                         "neither",
		":http":                             `"http" is not a port`,
		":65536":                            "not a port",
		":-1":                               "not a port",
		"unix:":                             "not an absolute path",
		"unix:relative":                     "not an absolute path",
		"unix:@abstract":                    "not an absolute path",
		"unix:/no/such/dir/sock":            "no such file or directory",
		"unix:/" + strings.Repeat("x", 120): "the kernel takes 107",
		"192.0.2.1:0":                       "cannot assign requested address",
	} {
		f, err := Listen(addr)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "listen at "+addr+": ") {
			t.Errorf("%q: %v, want %q", addr, err, want)
		}
		if f != nil {
			t.Errorf("%q: a file and an error", addr)
		}
	}
}

func TestTakenPortIsRefusedAndNotFree(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "", "127.0.0.2"} {
		l, err := Listen(host + ":0")
		must(t, err)
		port := portOf(t, l)
		if Free(port) {
			t.Errorf("%q:%d is taken and counts as free", host, port)
		}
		if _, err := Listen(host + ":" + strconv.Itoa(int(port))); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("%q: second listener: %v", host, err)
		}
		must(t, l.Close())
		if !Free(port) {
			t.Errorf("%q:%d was given back and is not free", host, port)
		}
	}
	if Free(0) {
		t.Error("port 0 is no port")
	}
}

// The socket outlives each listener made of it, and the last file is the end.
func TestSocketIsServedByOneAfterTheOther(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0", ":0", "unix:" + filepath.Join(t.TempDir(), "s")} {
		t.Run(addr, func(t *testing.T) {
			f, err := Listen(addr)
			must(t, err)
			flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0)
			if err != nil || flags&unix.FD_CLOEXEC == 0 {
				t.Errorf("a child would inherit the socket: %x, %v", flags, err)
			}
			for i := range 3 {
				l, err := Listener(f)
				must(t, err)
				greet(t, l, fmt.Sprintf("generation %d", i))
				must(t, l.Close())
			}
			l, err := Listener(f)
			must(t, err)
			dup, err := File(l)
			must(t, err)
			must(t, l.Close())
			must(t, f.Close())
			l, err = Listener(dup)
			must(t, err)
			must(t, dup.Close())
			greet(t, l, "by the duplicate")
			network, address := l.Addr().Network(), l.Addr().String()
			must(t, l.Close())
			if c, err := net.Dial(network, address); err == nil {
				t.Error("somebody still listens")
				_ = c.Close()
			}
		})
	}
}

func TestBothFamiliesReachAPort(t *testing.T) {
	f, err := Listen(":0")
	must(t, err)
	defer func() { _ = f.Close() }()
	for _, host := range []string{"127.0.0.1", "::1"} {
		c, err := net.Dial("tcp", net.JoinHostPort(host, strconv.Itoa(int(portOf(t, f)))))
		if err != nil {
			t.Errorf("%s: %v", host, err)
			continue
		}
		_ = c.Close()
	}
}

func TestUnixSocketHasItsModeWhateverTheUmask(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	f, err := Listen("unix:" + path)
	must(t, err)
	defer func() { _ = f.Close() }()
	info, err := os.Lstat(path)
	must(t, err)
	if info.Mode() != fs.ModeSocket|0o660 {
		t.Errorf("mode %v", info.Mode())
	}
}

func TestStaleSocketIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	f, err := Listen("unix:" + path)
	must(t, err)
	must(t, f.Close()) // as a killed process leaves it
	f, err = Listen("unix:" + path)
	must(t, err)
	l, err := Listener(f)
	must(t, err)
	greet(t, l, "again")
	_, _ = l.Close(), f.Close()
}

func TestLivingSocketIsNotReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	f, err := Listen("unix:" + path)
	must(t, err)
	defer func() { _ = f.Close() }()
	if _, err := Listen("unix:" + path); !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "somebody listens there") {
		t.Errorf("second: %v", err)
	}
	// Another type of socket lives there: it cannot be asked, so it is left.
	if _, err := ListenPass(path); err == nil || !strings.Contains(err.Error(), "may be in use") {
		t.Errorf("of another type: %v", err)
	}
	l, err := Listener(f)
	must(t, err)
	defer func() { _ = l.Close() }()
	c, err := l.Accept() // the question of the second
	must(t, err)
	_ = c.Close()
	greet(t, l, "still here")
}

func TestForeignFileIsNeverRemoved(t *testing.T) {
	dir := t.TempDir()
	make := map[string]func(path string) error{
		"file":      func(p string) error { return os.WriteFile(p, []byte("precious"), 0o600) },
		"directory": func(p string) error { return os.Mkdir(p, 0o700) },
		"fifo":      func(p string) error { return unix.Mkfifo(p, 0o600) },
		"link":      func(p string) error { return os.Symlink(filepath.Join(dir, "elsewhere"), p) },
		"link to a stale socket": func(p string) error {
			f, err := Listen("unix:" + filepath.Join(dir, "stale"))
			if err != nil {
				return err
			}
			return errors.Join(f.Close(), os.Symlink(filepath.Join(dir, "stale"), p))
		},
	}
	for name, put := range make {
		path := filepath.Join(dir, name)
		must(t, put(path))
		before, err := os.Lstat(path)
		must(t, err)
		if _, err := Listen("unix:" + path); err == nil || !strings.Contains(err.Error(), "left as it is") {
			t.Errorf("%s: %v", name, err)
		}
		after, err := os.Lstat(path)
		if err != nil || !os.SameFile(before, after) || before.Mode() != after.Mode() {
			t.Errorf("%s is not what it was: %v", name, err)
		}
	}
}

func TestStaleSocketOfAnotherUserIsLeft(t *testing.T) {
	hosttest.NeedRoot(t, "to give a file to another user")
	path := filepath.Join(t.TempDir(), "s")
	f, err := Listen("unix:" + path)
	must(t, err)
	must(t, f.Close())
	must(t, os.Chown(path, 65534, 65534))
	if _, err := Listen("unix:" + path); err == nil || !strings.Contains(err.Error(), "another user") {
		t.Errorf("%v", err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Error(err)
	}
}

// Of many that find a stale socket, one gets the path and keeps it.
func TestOneOfManyWinsAStalePath(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	f, err := Listen("unix:" + path)
	must(t, err)
	must(t, f.Close())
	var mu sync.Mutex
	var winners []*os.File
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if f, err := Listen("unix:" + path); err == nil {
				mu.Lock()
				winners = append(winners, f)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if len(winners) != 1 {
		t.Fatalf("%d won", len(winners))
	}
	c, err := net.Dial("unix", path)
	must(t, err)
	_, _ = c.Close(), winners[0].Close()
}

// greet has a client read word from l.
func greet(t *testing.T, l net.Listener, word string) {
	t.Helper()
	go func() {
		if c, err := l.Accept(); err == nil {
			_, _ = io.WriteString(c, word)
			_ = c.Close()
		}
	}()
	c, err := net.Dial(l.Addr().Network(), l.Addr().String())
	must(t, err)
	got, err := io.ReadAll(c)
	if err != nil || string(got) != word {
		t.Errorf("read %q, %v; want %q", got, err, word)
	}
	_ = c.Close()
}

func portOf(t *testing.T, f *os.File) uint16 {
	t.Helper()
	l, err := Listener(f)
	must(t, err)
	defer func() { _ = l.Close() }()
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
