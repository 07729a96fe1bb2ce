package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/backstay/backstay/internal/freeport"
)

// Patience with processes.
const (
	appears = 30 * time.Second // until a thing that was started answers
	leaves  = 60 * time.Second // until a thing that was told to end is gone
	look    = 5 * time.Millisecond
)

// process is a program that bench has started.
type process struct {
	cmd  *exec.Cmd
	sig  syscall.Signal // that ends it
	done chan struct{}  // closed when it has ended
	said said
}

// said keeps the first bytes of what a program prints.
type said struct {
	mu   sync.Mutex // guards text
	text []byte
}

// mostSaid bounds what is kept: enough for an error.
const mostSaid = 4 << 10

func (s *said) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text = append(s.text, b[:min(len(b), mostSaid-len(s.text))]...)
	return len(b), nil
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.text)
}

// startProcess starts argv, which sig will end, in a session of its own.
func startProcess(sig syscall.Signal, argv ...string) (*process, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	p := &process{cmd: cmd, sig: sig, done: make(chan struct{})}
	cmd.Stderr = &p.said
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() { _ = cmd.Wait(); close(p.done) }()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// story adds to err, if there is one, what p has said, which often tells why.
func (p *process) story(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w\n%s: %s", err, filepath.Base(p.cmd.Path), p.said.String())
}

// stop tells p to end and, if that does not help, kills it, and returns when it
// is gone.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(p.sig)
	select {
	case <-p.done:
	case <-time.After(leaves):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// workplace is a directory that goes with all processes that have its name in
// their command line or environment.
type workplace struct{ dir string }

func newWorkplace(name string) (*workplace, error) {
	dir, err := os.MkdirTemp("", "bs-"+name+"-") // short: the path of a socket has 107 bytes
	if err != nil {
		return nil, err
	}
	return &workplace{dir}, os.Chmod(dir, 0o755)
}

// sub makes and returns a directory in w.
func (w *workplace) sub(name string) (string, error) {
	dir := filepath.Join(w.dir, name)
	return dir, os.MkdirAll(dir, 0o755)
}

// close kills by its pid whatever is left of w's processes, and removes w.
func (w *workplace) close() {
	for range 10 { // what is killed may have been about to start another
		left := mentions(w.dir)
		for _, pid := range left {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		if len(left) == 0 {
			break
		}
		time.Sleep(look) // nobody may interrupt this
	}
	_ = os.RemoveAll(w.dir)
}

// mentions returns the processes with dir in their command line or environment.
func mentions(dir string) (pids []int) {
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, proc := range all {
		pid, _ := strconv.Atoi(filepath.Base(proc))
		cmdline, _ := os.ReadFile(proc + "/cmdline")
		environ, _ := os.ReadFile(proc + "/environ")
		if pid != os.Getpid() && (bytes.Contains(cmdline, []byte(dir)) || bytes.Contains(environ, []byte(dir))) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// withChildren returns pid and its children.
func withChildren(pid int) []int {
	pids := []int{pid}
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, f := range files {
		b, _ := os.ReadFile(f)
		for s := range strings.FieldsSeq(string(b)) {
			n, _ := strconv.Atoi(s)
			pids = append(pids, n)
		}
	}
	return pids
}

// cpuTime sums the time on a CPU of all threads of pids: /proc/PID/task/TID/schedstat,
// first field, ns.
func cpuTime(pids ...int) (sum time.Duration) {
	for _, pid := range pids {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
		for _, t := range tasks {
			b, _ := os.ReadFile(t)
			first, _, _ := strings.Cut(string(b), " ")
			ns, _ := strconv.ParseInt(first, 10, 64)
			sum += time.Duration(ns)
		}
	}
	return sum
}

// wakeups sums the times that a thread of pid went to sleep by itself.
func wakeups(pid int) (sum int) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	for _, t := range tasks {
		n, _ := strconv.Atoi(field(t, "voluntary_ctxt_switches", "", ""))
		sum += n
	}
	return sum
}

// privateMemory returns the bytes that only pid has: what it has written, and
// pages of files, its program, which the kernel may drop and read again.
func privateMemory(pid int) (written, pages int, err error) {
	file := fmt.Sprintf("/proc/%d/smaps_rollup", pid)
	var bytes [4]int
	for i, name := range []string{"Private_Clean", "Private_Dirty", "Private_Hugetlb", "Anonymous"} {
		kib, err := strconv.Atoi(strings.TrimSuffix(field(file, name, "", ""), " kB"))
		if err != nil {
			return 0, 0, fmt.Errorf("read %s of %s: %w", name, file, err)
		}
		bytes[i] = kib << 10
	}
	private := bytes[0] + bytes[1] + bytes[2]
	written = min(bytes[3], private) // dirty is also a program that was copied a moment ago
	return written, private - written, nil
}

// Ports that are tried: below those that the kernel gives to connections, which
// could take one while an app is away, and those that Backstay gives away.
const (
	firstPort = 11000
	lastPort  = 19999
)

// freePorts returns n ports of the loopback that nobody listens at.
func freePorts(n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		l, port, err := freeport.Listen(anyPorts)
		if err != nil {
			return nil, fmt.Errorf("find %d ports from %d to %d: %w", n, firstPort, lastPort, err)
		}
		defer func() { _ = l.Close() }() // not before all are found: each is another one
		ports[i] = port
	}
	return ports, nil
}

// anyPorts yields as many ports as there are, at random.
func anyPorts(yield func(int) bool) {
	const many = lastPort - firstPort + 1
	for n := 0; n < many && yield(firstPort+rand.IntN(many)); n++ {
	}
}

func loopback(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// awaitPort waits until something accepts at addr.
func awaitPort(ctx context.Context, addr string) error {
	return await(ctx, appears, look, func() string {
		c, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", addr)
		if err != nil {
			return "nothing answers at " + addr
		}
		_ = c.Close()
		return ""
	})
}
