// Package atomicfile replaces files whole: whoever reads one, at any time and
// after any crash, finds all of the old contents or all of the new.
package atomicfile

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// WriteFile replaces the file at path by data and returns when that is on disk,
// the directory's entry included. The new file belongs to this process and has
// exactly the permissions perm, whatever the umask. A symbolic link at path is
// replaced, not followed. On an error path is what it was.
//
// The contents are written beside path under a hidden name first. If a process
// dies in between, its file is swept away by the next WriteFile of that path.
func WriteFile(path string, data []byte, perm fs.FileMode) error {
	return onDisk.writeFile(path, data, perm)
}

// disk is what may refuse; a test has each of its steps refuse once.
type disk struct {
	create  func(path string, perm fs.FileMode) (file, error)
	rename  func(from, to string) error
	syncDir func(dir string) error
}

// file is the part of [os.File] that is used.
type file interface {
	io.WriteCloser
	Chmod(perm fs.FileMode) error
	Sync() error
}

var onDisk = disk{create: create, rename: os.Rename, syncDir: syncDir}

func (d disk) writeFile(path string, data []byte, perm fs.FileMode) error {
	sweep(path)
	temp := tempName(path)
	err := d.writeNew(temp, data, perm)
	if err == nil {
		err = d.rename(temp, path)
	}
	if err != nil {
		_ = os.Remove(temp)
		return fmt.Errorf("write file %s: %w", path, err)
	}
	if err := d.syncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("write file %s: sync directory: %w", path, err)
	}
	return nil
}

// writeNew writes a file that was not there and brings it to the disk.
func (d disk) writeNew(path string, data []byte, perm fs.FileMode) error {
	f, err := d.create(path, perm)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(perm) // the umask may have taken bits from create's
	}
	if err == nil {
		err = f.Sync() // before the rename: else a crash may leave an empty file
	}
	return errors.Join(err, f.Close())
}

func create(path string, perm fs.FileMode) (file, error) {
	// Nobody else may read what is being written, even for a moment: perm may
	// be narrower than the umask leaves it.
	return os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, perm&0o600)
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// tempName returns a name beside path that says whose it is: .NAME.PID-RANDOM.tmp.
func tempName(path string) string {
	dir, name := filepath.Split(path)
	return dir + "." + name + "." + strconv.Itoa(os.Getpid()) + "-" + rand.Text() + ".tmp"
}

// sweep removes what processes that are gone have left beside path. It does
// what it can: a leftover is ugly, not wrong.
func sweep(path string) {
	dir, name := filepath.Split(path)
	entries, err := os.ReadDir(filepath.Clean(dir))
	if err != nil {
		return
	}
	for _, e := range entries {
		if pid, ok := writer(e.Name(), name); ok && gone(pid) {
			_ = os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}

// writer returns which process made the file called temp, if it stands for name.
func writer(temp, name string) (pid string, ok bool) {
	rest, ok := strings.CutPrefix(temp, "."+name+".")
	if !ok {
		return "", false
	}
	rest, ok = strings.CutSuffix(rest, ".tmp")
	pid, random, found := strings.Cut(rest, "-")
	if _, err := strconv.ParseUint(pid, 10, 31); err != nil || !found || random == "" {
		return "", false
	}
	return pid, ok
}

// gone reports whether no process has the id pid. A reused id only delays the
// sweep.
func gone(pid string) bool {
	_, err := os.Stat("/proc/" + pid)
	return errors.Is(err, fs.ErrNotExist)
}
