package keeper

import (
	"errors"
	"syscall"

	"github.com/backstay/backstay/host/proc/keeper/pump"
	"github.com/backstay/backstay/host/proc/keeper/sys"
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

func (k *keeper) pipeAt(s *slot, i int) string { return k.pipeDir(s) + "/" + pipeNames[i] }

// stdio are stdin, stdout and stderr for a run of s that begins: those of the run
// before where they are there still, for this stands between a death and the next
// start.
func (k *keeper) stdio(s *slot, log string) (ends [3]int, err error) {
	if log != "" && log == s.log {
		if ends, err = k.childEnds(s, log); err == nil {
			k.pumper.Fresh(s.place)
			return ends, nil
		}
	}
	if err := k.openPipes(s, log, true); err != nil {
		return ends, err
	}
	return k.childEnds(s, log)
}

// openPipes makes the FIFOs of s where they are not, and gives our ends to the
// pumper: read and write, so that there is never an end of file, and a child
// never a SIGPIPE, whoever dies. fresh says that a run begins.
func (k *keeper) openPipes(s *slot, log string, fresh bool) error {
	if log == "" {
		return nil
	}
	if err := k.makePipeDir(s); err != nil {
		return sys.Fail("make "+k.pipeDir(s), err)
	}
	fds := [2]int{-1, -1}
	for i := range fds {
		if err := openPipe(k.pipeAt(s, i), &fds[i]); err != nil {
			sys.CloseFD(&fds[0])
			return sys.Fail("open FIFO "+pipeNames[i], err)
		}
	}
	s.log, s.pipes = log, fds
	k.pumper.Open(pump.Source{
		Place: s.place, ID: s.rec.Slot.ID, Pipes: fds, Log: log, Limits: limits(&s.spec), Lost: s.rec.Slot.Dropped, Fresh: fresh,
	})
	return nil
}

// makePipeDir makes the directories above it too, which somebody may have removed.
func (k *keeper) makePipeDir(s *slot) error {
	err := sys.Mkdir(k.pipeDir(s))
	if errors.Is(err, syscall.ENOENT) {
		_ = syscall.Mkdir(k.dir, 0o700)
		_ = sys.Mkdir(k.dir + "/i")
		err = sys.Mkdir(k.pipeDir(s))
	}
	return err
}

func inode(fd int) uint64 {
	var st syscall.Stat_t
	_ = syscall.Fstat(fd, &st)
	return st.Ino
}

func limits(s *keeperwire.Spec) pump.Limits {
	return pump.Limits{Size: s.LogMaxSize, Files: int(s.LogMaxFiles), Drop: s.LogDrop}
}

func openPipe(path string, fd *int) (err error) {
	var st syscall.Stat_t
	if syscall.Lstat(path, &st) == nil && st.Mode&syscall.S_IFMT != syscall.S_IFIFO {
		_ = syscall.Unlink(path)
	}
	if err := syscall.Mkfifo(path, 0o600); err != nil && err != syscall.EEXIST {
		return err
	}
	if *fd, err = sys.Open(path, syscall.O_RDWR|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0); err != nil {
		return err
	}
	for size := pipeSize; size >= pipeLeast; size /= 2 { // the kernel may give less
		if _, err := sys.Fcntl(*fd, sys.SetPipeSize, size); err == nil {
			break
		}
	}
	return nil
}

// childEnds opens what a child of s gets, by path, as descriptions of their own:
// ours do not block, and its may. It owns them, so that it may open /dev/stdout.
func (k *keeper) childEnds(s *slot, log string) (ends [3]int, err error) {
	paths := [3]string{"/dev/null", "/dev/null", "/dev/null"}
	if log != "" {
		paths[1], paths[2] = k.pipeAt(s, 0), k.pipeAt(s, 1)
	}
	ends = [3]int{-1, -1, -1}
	for i, path := range paths {
		ends[i], err = sys.Open(path, syscall.O_RDWR, 0)
		if err == nil && log != "" && i > 0 {
			err = s.give(ends[i], i-1)
		}
		if err != nil {
			closeAll(&ends)
			return ends, sys.Fail("open "+path, err)
		}
	}
	return ends, nil
}

// give gives an end of FIFO i to the user of s, if it is the FIFO that we read.
func (s *slot) give(fd, i int) error {
	if inode(fd) != inode(s.pipes[i]) {
		return syscall.ESTALE
	}
	if s.spec.SetIDs && syscall.Geteuid() == 0 {
		_ = syscall.Fchown(fd, int(s.spec.UID), int(s.spec.GID))
	}
	return nil
}

func closeAll(fds *[3]int) {
	for i := range fds {
		sys.CloseFD(&fds[i])
	}
}

// drain has the last words of a run written, and settle waits for them: before
// anybody hears of its end, and before the next run may say its first.
func (k *keeper) drain(s *slot) {
	if s.log != "" && k.pumper.Unread(s.pipes) {
		k.pumper.Drain(s.place)
		k.drains = true
	}
}

func (k *keeper) settle() {
	if k.drains {
		k.drains = false
		k.pumper.Settle()
	}
}

// lost is told by the pumper how much of a log could not be written.
func (k *keeper) lost(place int, id string, total uint64, why string, tell bool) {
	s := k.places[place]
	if s == nil || s.rec.Slot.ID != id {
		return
	}
	s.rec.Slot.Dropped = total
	k.save(s)
	if tell {
		k.tell(s, keeperwire.Event{Kind: keeperwire.EvLogDropped, N: total, Text: []byte(why)})
	}
}
