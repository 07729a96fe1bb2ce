package sys_test

import (
	"errors"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/backstay/backstay/host/proc/keeper/sys"
)

func TestNamedSaysNameAndMeaning(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]string{
		syscall.EPERM:           "EPERM (operation not permitted)",
		syscall.EROFS:           "EROFS (read-only file system)",
		syscall.ETXTBSY:         "ETXTBSY (text file busy)",
		syscall.EMFILE:          "EMFILE (too many open files)",
		syscall.Errno(40):       "errno 40 (too many levels of symbolic links)",
		errors.New("otherwise"): "otherwise",
	} {
		if got := sys.Named(err); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := sys.Fail("open x", syscall.ENOENT).Error(); got != "open x: ENOENT (no such file or directory)" {
		t.Error(got)
	}
}

func TestSlurpReadsWhatFits(t *testing.T) {
	t.Parallel()
	path := t.TempDir() + "/f"
	if err := os.WriteFile(path, []byte("0123456789"), 0o600); err != nil {
		t.Fatal(err)
	}
	for size, want := range map[int]string{4: "0123", 10: "0123456789", 100: "0123456789"} {
		if got, err := sys.Slurp(path, make([]byte, size)); err != nil || string(got) != want {
			t.Errorf("%q %v, want %q", got, err, want)
		}
	}
	if _, err := sys.Slurp(path+"x", nil); !errors.Is(err, syscall.ENOENT) {
		t.Error(err)
	}
}

// TestLoopDoesJobsAndReadsBeforeWhatIsDue has all three come at once.
func TestLoopDoesJobsAndReadsBeforeWhatIsDue(t *testing.T) {
	t.Parallel()
	l, err := sys.NewLoop()
	if err != nil {
		t.Fatal(err)
	}
	var pipe [2]int
	if err := syscall.Pipe2(pipe[:], syscall.O_CLOEXEC|syscall.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	defer sys.CloseFD(&pipe[1])
	did := ""
	l.Watch(pipe[0], func(uint32) {
		did += "r"
		l.Unwatch(&pipe[0])
	})
	_, _ = syscall.Write(pipe[1], []byte("x"))
	l.At(sys.Boottime() + time.Hour)
	l.At(sys.Boottime() - 2*time.Second) // the sooner one counts
	go l.Do(func() { did += "j" })
	late := time.Duration(0)
	for late == 0 || len(did) < 2 {
		before := did
		if err := l.Turn(func(by time.Duration) { late, before = by, did }); err != nil {
			t.Fatal(err)
		}
		if late > 0 && did != before {
			t.Errorf("%q before, %q after what was due", before, did)
		}
		if late > 0 && len(did) < 2 {
			late = 0
			l.At(sys.Boottime() - 2*time.Second)
		}
	}
	if late < 2*time.Second || late > time.Minute || pipe[0] != -1 {
		t.Errorf("late by %v, descriptor %d", late, pipe[0])
	}
}

// TestLoopForgetsNoJobThatComesWhileItWorks has a job come at the worst moment:
// when those before it were taken, and the bell that they rang has not been read.
func TestLoopForgetsNoJobThatComesWhileItWorks(t *testing.T) {
	t.Parallel()
	l, err := sys.NewLoop()
	if err != nil {
		t.Fatal(err)
	}
	const deep = 3
	did := 0
	var job func()
	job = func() {
		if did++; did < deep {
			l.Do(job)
		}
	}
	l.Do(job)
	for did < deep {
		l.At(sys.Boottime() + 10*time.Second) // or it would sleep for ever
		if err := l.Turn(func(time.Duration) { t.Fatalf("%d of %d jobs were done, and then it slept", did, deep) }); err != nil {
			t.Fatal(err)
		}
	}
}
