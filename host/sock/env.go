package sock

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	firstFD = 3
	// maxFDs is how many files a process may be started with: the size of a unit's
	// fd store. More is not meant.
	maxFDs = 4096
)

// FromEnv returns the files that this process was started with, by name, as
// sd_listen_fds_with_names(3) has it: LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES,
// which it then takes out of the environment. From now on no child inherits
// them. If they were meant for another process, there are none.
func FromEnv() (map[string]*os.File, error) {
	pid, count, names := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_FDNAMES")
	for _, v := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		if err := os.Unsetenv(v); err != nil {
			return nil, fmt.Errorf("take %s out of the environment: %w", v, err)
		}
	}
	if count == "" || pid != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 || n > maxFDs {
		return nil, fmt.Errorf("read LISTEN_FDS: %q is not a count from 0 to %d", count, maxFDs)
	}
	return take(firstFD, n, names)
}

// take wraps the n descriptors from first on.
func take(first, n int, names string) (map[string]*os.File, error) {
	list := strings.Split(names, ":")
	if n == 0 {
		return nil, nil
	}
	if len(list) != n {
		return nil, fmt.Errorf("read LISTEN_FDNAMES: %q are not the names of %d files", names, n)
	}
	files := make(map[string]*os.File, n)
	for i, name := range list {
		fd := first + i
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
			return nil, fmt.Errorf("take file %d, %q: %w", fd, name, err)
		}
		if name == "" || files[name] != nil {
			return nil, fmt.Errorf("read LISTEN_FDNAMES: %q has the name %q twice or empty", names, name)
		}
		files[name] = os.NewFile(uintptr(fd), name)
	}
	return files, nil
}
