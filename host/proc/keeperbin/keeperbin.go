// Package keeperbin carries the keeper's program inside this one, and puts it
// where it can be executed.
//
// The keeper is a program of its own because all that a large program links is
// paid for at each exec. See docs/decisions/0002-keeper.md.
package keeperbin

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/internal/atomicfile"
)

//go:embed bin/*
var bin embed.FS

const (
	// prefix of the programs in the state directory; the rest is 12 digits of
	// their sha256.
	prefix = "keeper-"
	// keepOthers is how many programs of other versions stay: for going back by
	// hand.
	keepOthers = 3
)

// Path returns a keeper that can be executed: the one inside this program,
// written to stateDir under its hash; where nothing may be executed from there,
// a sealed copy in memory, whose path is good in this process and for what it
// starts. A program that carries none takes the backstay-keeper beside itself.
func Path(stateDir string) (string, error) {
	program, err := bin.ReadFile("bin/keeper")
	if errors.Is(err, fs.ErrNotExist) {
		return beside(os.Executable())
	}
	if err != nil {
		return "", fmt.Errorf("read embedded keeper: %w", err)
	}
	return place(stateDir, program)
}

// place puts program where it can be executed from.
func place(stateDir string, program []byte) (string, error) {
	noexec, err := mountedNoexec(stateDir)
	if err != nil {
		return "", fmt.Errorf("write keeper: %w", err)
	}
	if noexec {
		return inMemory(program)
	}
	path := filepath.Join(stateDir, prefix+digest(program))
	if !intact(path, program) {
		if err := atomicfile.WriteFile(path, program, 0o755); err != nil {
			return "", fmt.Errorf("write keeper: %w", err)
		}
	}
	forget(stateDir, path)
	return path, nil
}

func digest(program []byte) string {
	sum := sha256.Sum256(program)
	return hex.EncodeToString(sum[:])[:12]
}

// intact reports whether the file at path is program and may be executed. A file
// that is only called so, from a full disk or somebody's editor, is not.
func intact(path string, program []byte) bool {
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() || info.Mode().Perm() != 0o755 {
		return false
	}
	there, err := os.ReadFile(path)
	return err == nil && bytes.Equal(there, program)
}

func mountedNoexec(dir string) (bool, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return false, fmt.Errorf("look at %s: %w", dir, err)
	}
	return s.Flags&unix.ST_NOEXEC != 0, nil
}

// memory is the copy of inMemory, one for the life of this process: an open
// descriptor, which is what its path goes by.
var memory struct {
	sync.Mutex // guards file and digest

	file   *os.File
	digest string
}

// inMemory returns a path of program in a sealed memfd.
func inMemory(program []byte) (string, error) {
	memory.Lock()
	defer memory.Unlock()
	if memory.file == nil || memory.digest != digest(program) {
		f, err := seal(program)
		if err != nil {
			return "", &backstay.Problem{
				Code: "no_keeper", What: "the keeper cannot be executed from memory: " + err.Error(),
				Why: "the state directory is mounted noexec, and so nothing may be executed from there",
				Do:  "choose a state directory (--state-dir) on a file system that is mounted with exec",
			}
		}
		memory.file, memory.digest = f, digest(program)
	}
	return fmt.Sprintf("/proc/self/fd/%d", memory.file.Fd()), nil
}

// seal returns program in a memfd that nobody can change any more.
func seal(program []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("backstay-keeper", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3 every memfd is executable
		fd, err = unix.MemfdCreate("backstay-keeper", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	f := os.NewFile(uintptr(fd), "backstay-keeper")
	if _, err := f.Write(program); err != nil {
		return nil, errors.Join(fmt.Errorf("write memfd: %w", err), f.Close())
	}
	const all = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, all); err != nil {
		return nil, errors.Join(fmt.Errorf("seal memfd: %w", err), f.Close())
	}
	return f, nil
}

// forget removes all but the newest programs of other versions. A keeper that
// runs one of them keeps it open, and its children are staged by /proc/self/exe.
func forget(stateDir, current string) {
	paths, _ := filepath.Glob(filepath.Join(stateDir, prefix+"????????????"))
	paths = slices.DeleteFunc(paths, func(p string) bool { return p == current || !ours(p) })
	slices.SortFunc(paths, func(a, b string) int { return modified(b).Compare(modified(a)) })
	for _, p := range paths[min(keepOthers, len(paths)):] {
		_ = os.Remove(p) // a leftover is ugly, not wrong
	}
}

// beside returns the keeper in the directory of the program at self.
func beside(self string, err error) (string, error) {
	if err != nil {
		return "", fmt.Errorf("find own program: %w", err)
	}
	path := filepath.Join(filepath.Dir(self), "backstay-keeper")
	info, err := os.Stat(path)
	if err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 {
		return path, nil
	}
	return "", &backstay.Problem{
		Code: "no_keeper", What: "there is no keeper: this backstay was built without one, and " + path + " is no program",
		Why: "the keeper is a small program of its own, which `make build` puts into backstay",
		Do:  "run `make build` in the source tree and use bin/backstay, or `go build -o " + path + " ./cmd/backstay-keeper`",
	}
}

// ours reports whether the file at path is called as place calls files.
func ours(path string) bool {
	digits := strings.TrimPrefix(filepath.Base(path), prefix)
	info, err := os.Lstat(path)
	return err == nil && info.Mode().IsRegular() && strings.Trim(digits, "0123456789abcdef") == ""
}

func modified(path string) (t time.Time) {
	if info, err := os.Lstat(path); err == nil {
		t = info.ModTime()
	}
	return t
}
