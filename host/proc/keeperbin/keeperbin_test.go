package keeperbin

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/internal/hosttest"
)

// program is an executable that is no script: a memfd that is closed on exec
// cannot run one.
func program(t *testing.T) []byte {
	t.Helper()
	path, err := exec.LookPath("echo")
	must(t, err)
	b, err := os.ReadFile(path)
	must(t, err)
	return b
}

func TestWithoutAKeeperTheErrorSaysWhatToRun(t *testing.T) {
	dir := t.TempDir()
	for _, put := range []func(path string) error{
		func(string) error { return nil },
		func(path string) error { return os.WriteFile(path, nil, 0o644) }, // cannot be executed
		func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o755)) },
	} {
		must(t, put(filepath.Join(dir, "backstay-keeper")))
		_, err := beside(filepath.Join(dir, "backstay"), nil)
		var p *backstay.Problem
		if !errors.As(err, &p) || !strings.Contains(p.Do, "make build") || !strings.Contains(p.What, dir) || p.Code == "" || p.Why == "" {
			t.Errorf("%v", err)
		}
	}
}

func TestKeeperBesideTheProgramIsFound(t *testing.T) {
	want := filepath.Join(t.TempDir(), "backstay-keeper")
	must(t, os.WriteFile(want, program(t), 0o755))
	if got, err := beside(filepath.Join(filepath.Dir(want), "backstay"), nil); got != want || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

// A file that a crash, a full disk or a person has spoilt is written anew.
func TestSpoiltProgramIsWrittenAnew(t *testing.T) {
	dir, p := t.TempDir(), program(t)
	path, err := place(dir, p)
	must(t, err)
	for what, spoil := range map[string]func() error{
		"nothing":      func() error { return nil },
		"torn":         func() error { return os.Truncate(path, 100) },
		"not exec":     func() error { return os.Chmod(path, 0o644) },
		"writable":     func() error { return os.Chmod(path, 0o777) },
		"another":      func() error { return os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755) },
		"a link":       func() error { return errors.Join(os.Remove(path), os.Symlink("/bin/true", path)) },
		"not readable": func() error { return os.Chmod(path, 0) },
	} {
		must(t, spoil())
		again, err := place(dir, p)
		if err != nil || again != path || !intact(path, p) {
			t.Errorf("%s: %q, %v", what, again, err)
		}
		run(t, path)
	}
}

func TestMissingStateDirectoryIsNamed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "no")
	if _, err := place(dir, program(t)); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("%v", err)
	}
}

func TestOldProgramsGoAndForeignFilesStay(t *testing.T) {
	dir := t.TempDir()
	foreign := []string{"keeper-0123456789xy", "keeper-0123", "keeper", "keeper-0123456789ab.old"}
	for _, name := range foreign {
		must(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	var old []string
	for i := range keepOthers + 3 {
		path := filepath.Join(dir, fmt.Sprintf("keeper-%012x", i))
		old = append(old, path)
		must(t, os.WriteFile(path, nil, 0o755))
		at := time.Unix(int64(1000+i), 0)
		must(t, os.Chtimes(path, at, at))
	}
	path, err := place(dir, program(t))
	must(t, err)
	for i, p := range old {
		if _, err := os.Lstat(p); (err == nil) != (i >= 3) {
			t.Errorf("program %d of %d, oldest first: %v", i, len(old), err)
		}
	}
	for _, name := range foreign {
		if _, err := os.Lstat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	run(t, path)
}

func TestSealedProgramRunsAndCannotBeChanged(t *testing.T) {
	path, err := inMemory(program(t))
	must(t, err)
	again, err := inMemory(program(t))
	if err != nil || again != path {
		t.Errorf("a second copy: %q and %q, %v", path, again, err)
	}
	run(t, path)
	if f, err := os.OpenFile(path, os.O_WRONLY, 0); err == nil {
		if _, err := f.WriteString("x"); err == nil {
			t.Error("the program can be changed")
		}
		_ = f.Close()
	}
}

func TestNoexecMountMeansMemory(t *testing.T) {
	hosttest.NeedRoot(t, "to mount a file system")
	dir := t.TempDir()
	must(t, unix.Mount("backstay-test", dir, "tmpfs", unix.MS_NOEXEC, "size=16m"))
	t.Cleanup(func() { must(t, unix.Unmount(dir, 0)) })
	path, err := place(dir, program(t))
	if err != nil || !strings.HasPrefix(path, "/proc/self/fd/") {
		t.Fatalf("%q, %v", path, err)
	}
	run(t, path)
}

// The program of `make build` carries its keeper; the plain one does not, and
// says so.
func TestPathIsAProgramOrAnExplanation(t *testing.T) {
	path, err := Path(t.TempDir())
	if err != nil {
		if _, ok := errors.AsType[*backstay.Problem](err); !ok {
			t.Error(err)
		}
		return
	}
	if out, err := exec.Command(path, "version").CombinedOutput(); err != nil || len(out) == 0 {
		t.Errorf("%q, %v", out, err)
	}
}

func run(t *testing.T, path string) {
	t.Helper()
	out, err := exec.Command(path, "it", "runs").Output()
	if err != nil || string(out) != "it runs\n" {
		t.Errorf("%s: %q, %v", path, out, err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
