package keeper

import (
	"syscall"

	"github.com/backstay/backstay/internal/keeperwire"
)

// pipeSize is the unread bytes of a stream before its writer blocks: the kernel's
// limit without a privilege. With less than the second one lines would be torn.
const (
	pipeSize  = 1 << 20
	pipeLeast = 64 << 10
)

var pipeNames = [2]string{"out", "err"}

func (k *keeper) pipeDir(s *slot) string { return k.dir + "/i/" + s.rec.Slot.ID }

// openPipes makes the FIFOs of s where they are not, and gives our ends to the
// pumper: read and write, so that there is never an end of file, and a child
// never a SIGPIPE, whoever dies. fresh says that a run begins.
func (k *keeper) openPipes(s *slot, fresh bool) error {
	path := s.spec.LogFile
	if !fresh {
		path = s.rec.LogFile
	}
	if path == "" {
		return nil
	}
	if err := mkdir(k.pipeDir(s)); err != nil {
		return failure{"make " + k.pipeDir(s), named(err)}
	}
	fds := [2]int{-1, -1}
	if !k.pipesThere(s) {
		for i := range fds {
			if err := k.openPipe(s, i, &fds[i]); err != nil {
				closeFD(&fds[0])
				return failure{"open FIFO " + pipeNames[i], named(err)}
			}
		}
		s.piped = true
	}
	k.ownPipes(s)
	k.pumper.open(s, fds, path, fresh)
	return nil
}

// pipesThere reports whether the FIFOs that we have open are those at their
// names: removed by hand, the next run gets new ones.
func (k *keeper) pipesThere(s *slot) bool {
	var out, errs syscall.Stat_t
	return s.piped && syscall.Lstat(k.pipeDir(s)+"/out", &out) == nil && out.Ino == s.rec.Out &&
		syscall.Lstat(k.pipeDir(s)+"/err", &errs) == nil && errs.Ino == s.rec.Err
}

func (k *keeper) openPipe(s *slot, i int, fd *int) (err error) {
	path := k.pipeDir(s) + "/" + pipeNames[i]
	var st syscall.Stat_t
	if syscall.Lstat(path, &st) == nil && st.Mode&syscall.S_IFMT != syscall.S_IFIFO {
		if err := syscall.Unlink(path); err != nil {
			return err
		}
	}
	if err := syscall.Mkfifo(path, 0o600); err != nil && err != syscall.EEXIST {
		return err
	}
	*fd, err = syscall.Open(path, syscall.O_RDWR|syscall.O_NONBLOCK|syscall.O_CLOEXEC|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	for size := pipeSize; size >= pipeLeast; size /= 2 { // the kernel may give less
		if _, err := fcntl(*fd, setPipeSize, size); err == nil {
			break
		}
	}
	_ = syscall.Fstat(*fd, &st)
	if i == 0 {
		s.rec.Out = st.Ino
	} else {
		s.rec.Err = st.Ino
	}
	return nil
}

// ownPipes gives the FIFOs to the service's user, who may then open /dev/stdout.
func (k *keeper) ownPipes(s *slot) {
	if !s.spec.SetIDs || syscall.Geteuid() != 0 {
		return
	}
	for _, name := range pipeNames {
		_ = syscall.Lchown(k.pipeDir(s)+"/"+name, int(s.spec.UID), int(s.spec.GID))
	}
}

// childEnds are stdin, stdout and stderr for a child of s. Its ends are opened
// by path, as descriptions of their own: ours do not block, and its may.
func (k *keeper) childEnds(s *slot) (stdio [3]int, err error) {
	stdio = [3]int{-1, -1, -1}
	stdio[0], err = syscall.Open("/dev/null", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	for i := range pipeNames {
		path := k.pipeDir(s) + "/" + pipeNames[i]
		if s.spec.LogFile == "" {
			path = "/dev/null"
		}
		if err == nil {
			stdio[i+1], err = syscall.Open(path, syscall.O_RDWR|syscall.O_CLOEXEC, 0)
		}
	}
	if err != nil {
		closeAll(&stdio)
		return stdio, failure{"open stdio", named(err)}
	}
	return stdio, nil
}

func closeAll(fds *[3]int) {
	for i := range fds {
		closeFD(&fds[i])
	}
}

// closePipes has the pumper forget s.
func (k *keeper) closePipes(s *slot) {
	if s.piped {
		s.piped = false
		k.pumper.close(s.place)
	}
}

// lost is told by the pumper how much of a log could not be written.
func (k *keeper) lost(place int, id string, total uint64) {
	s := k.places[place]
	if s == nil || s.rec.Slot.ID != id {
		return
	}
	s.rec.Slot.Dropped = total
	k.save(s)
	k.tell(s, keeperwire.Event{Kind: keeperwire.EvLogDropped, N: total})
}
