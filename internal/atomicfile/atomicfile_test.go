package atomicfile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

var errRefused = errors.New("no space left on device")

// refusing is a file on a disk that refuses at one step.
type refusing struct {
	file

	step string
}

func (r refusing) Write(b []byte) (int, error) {
	if r.step != "write" {
		return r.file.Write(b)
	}
	n, _ := r.file.Write(b[:len(b)/2]) // half of it lands
	return n, errRefused
}

func (r refusing) Chmod(perm fs.FileMode) error {
	if r.step == "chmod" {
		return errRefused
	}
	return r.file.Chmod(perm)
}

func (r refusing) Sync() error {
	if r.step == "sync" {
		return errRefused
	}
	return r.file.Sync()
}

func (r refusing) Close() error {
	if err := r.file.Close(); err != nil || r.step != "close" {
		return err
	}
	return errRefused
}

// refuseAt returns a disk that refuses at step.
func refuseAt(step string) disk {
	d := onDisk
	d.create = func(path string, perm fs.FileMode) (file, error) {
		if step == "create" {
			return nil, errRefused
		}
		f, err := create(path, perm)
		return refusing{f, step}, err
	}
	if step == "rename" {
		d.rename = func(string, string) error { return errRefused }
	}
	return d
}

func TestRefusedWriteLeavesTheOldFileAndNothingElse(t *testing.T) {
	for _, step := range []string{"create", "write", "chmod", "sync", "close", "rename"} {
		t.Run(step, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "state.json")
			must(t, WriteFile(path, []byte("old"), 0o600))
			err := refuseAt(step).writeFile(path, []byte("new and longer"), 0o600)
			if !errors.Is(err, errRefused) || !strings.Contains(err.Error(), path) {
				t.Errorf("error %v: want it to name the file and the reason", err)
			}
			if got := read(t, path); got != "old" {
				t.Errorf("the file reads %q", got)
			}
			if got := names(t, filepath.Dir(path)); !slices.Equal(got, []string{"state.json"}) {
				t.Errorf("left behind: %q", got)
			}
		})
	}
}

// A directory that cannot be synced is told: the new file is there, but a power
// cut may bring the old one back.
func TestUnsyncedDirectoryIsAnError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	d := onDisk
	d.syncDir = func(string) error { return errRefused }
	if err := d.writeFile(path, []byte("new"), 0o600); !errors.Is(err, errRefused) {
		t.Errorf("error %v", err)
	}
	if got := read(t, path); got != "new" {
		t.Errorf("the file reads %q", got)
	}
}

func TestMissingDirectoryIsNamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "no", "state.json")
	if err := WriteFile(path, nil, 0o600); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v", err)
	}
}

func TestPermissionsAreExact(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	for _, perm := range []fs.FileMode{0o600, 0o666, 0o444, 0o755} { // most umasks would cut 0666
		must(t, WriteFile(path, []byte("x"), perm))
		info, err := os.Stat(path)
		must(t, err)
		if info.Mode().Perm() != perm {
			t.Errorf("permissions %v, want %v", info.Mode().Perm(), perm)
		}
	}
}

func TestSecretIsNeverReadableByOthersWhileItIsWritten(t *testing.T) {
	d, seen := onDisk, fs.FileMode(0)
	d.create = func(path string, perm fs.FileMode) (file, error) {
		f, err := create(path, perm)
		if info, statErr := os.Stat(path); statErr == nil {
			seen = info.Mode().Perm()
		}
		return f, err
	}
	must(t, d.writeFile(filepath.Join(t.TempDir(), "key"), []byte("x"), 0o644))
	if seen&0o077 != 0 {
		t.Errorf("others may read the file before it is whole: %v", seen)
	}
}

func TestLinkIsReplacedAndItsTargetUntouched(t *testing.T) {
	dir := t.TempDir()
	target, link := filepath.Join(dir, "target"), filepath.Join(dir, "link")
	must(t, os.WriteFile(target, []byte("foreign"), 0o600))
	must(t, os.Symlink(target, link))
	must(t, WriteFile(link, []byte("ours"), 0o600))
	if read(t, target) != "foreign" || read(t, link) != "ours" {
		t.Errorf("target %q, link %q", read(t, target), read(t, link))
	}
}

func TestLeftoversOfTheDeadAreSweptAndNoOthers(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "state.json")
	const dead = "2147483647" // above any pid_max
	keep := []string{
		fmt.Sprintf(".state.json.%d-X.tmp", os.Getpid()), // a writer that lives
		".state.json." + dead + ".tmp", ".state.json.tmp", ".other.json." + dead + "-X.tmp", "state.json." + dead + "-X.tmp",
	}
	for _, name := range append([]string{".state.json." + dead + "-X.tmp"}, keep...) {
		must(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	must(t, WriteFile(path, []byte("x"), 0o600))
	want := append([]string{"state.json"}, keep...)
	slices.Sort(want)
	if got := names(t, dir); !slices.Equal(got, want) {
		t.Errorf("names\n%q, want\n%q", got, want)
	}
}

// Whoever reads while others write finds one whole version.
func TestReadersNeverSeeHalf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	version := func(i int) []byte { return bytes.Repeat([]byte{'a' + byte(i)}, 1<<16+i) }
	must(t, WriteFile(path, version(0), 0o600))
	var writers sync.WaitGroup
	for i := range 2 {
		writers.Go(func() {
			for j := range 20 {
				if err := WriteFile(path, version(1+(i+2*j)%20), 0o600); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { writers.Wait(); close(done) }()
	for reading := true; reading; {
		select {
		case <-done:
			reading = false
		default:
		}
		got := read(t, path)
		if want := version(int(got[0] - 'a')); got != string(want) {
			t.Fatalf("%d bytes of version %c, want %d", len(got), got[0], len(want))
		}
	}
	if got := names(t, filepath.Dir(path)); !slices.Equal(got, []string{"state.json"}) {
		t.Errorf("left behind: %q", got)
	}
}

// A writer killed at any moment leaves a whole file.
func TestKilledWriterLeavesAWholeFile(t *testing.T) {
	if path := os.Getenv("ATOMICFILE_WRITE"); path != "" {
		for i := 0; ; i++ {
			if err := WriteFile(path, bytes.Repeat([]byte{'a' + byte(i%26)}, 1<<18), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	path := filepath.Join(t.TempDir(), "state.json")
	for round := range 10 {
		child, err := os.StartProcess("/proc/self/exe", []string{"writer", "-test.run=^TestKilledWriterLeavesAWholeFile$"},
			&os.ProcAttr{Env: append(os.Environ(), "ATOMICFILE_WRITE="+path), Files: []*os.File{nil, nil, os.Stderr}})
		must(t, err)
		for last := ""; ; { // let it write a few before the kill lands somewhere
			b, _ := os.ReadFile(path)
			if len(b) > 0 && last != "" && string(b[:1]) != last {
				break
			}
			if len(b) > 0 {
				last = string(b[:1])
			}
		}
		must(t, child.Kill())
		_, err = child.Wait()
		must(t, err)
		got := read(t, path)
		if len(got) != 1<<18 || strings.Trim(got, got[:1]) != "" {
			t.Fatalf("round %d: %d bytes, not whole", round, len(got))
		}
	}
	must(t, WriteFile(path, []byte("x"), 0o600))
	if got := names(t, filepath.Dir(path)); !slices.Equal(got, []string{"state.json"}) {
		t.Errorf("leftovers of the killed are not swept: %q", got)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	return string(b)
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}
