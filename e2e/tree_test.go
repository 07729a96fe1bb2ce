package e2e

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/internal/hosttest"
)

// runTree is a service whose main process ends at once when it is told to, and
// whose child does not: it holds the port until it is killed. What finds the port
// taken writes that into a book.
func runTree(args []string) error {
	fs := flag.NewFlagSet("tree", flag.ContinueOnError)
	listen, book := fs.String("listen", "", ""), fs.String("book", "", "")
	away, child := fs.Bool("away", false, "the child has a session of its own"), fs.Bool("child", false, "")
	if err := fs.Parse(args); err != nil {
		return fmt.Errorf("read flags: %w", err)
	}
	if *child {
		signal.Ignore(syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT)
		fmt.Println("the child holds the port")
		for {
			time.Sleep(time.Hour)
		}
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		return errors.Join(fmt.Errorf("listen: %w", err), write(*book, err.Error()+"\n"))
	}
	port, err := l.(*net.TCPListener).File()
	if err != nil {
		return fmt.Errorf("share the port: %w", err)
	}
	self := exec.Command(os.Args[0], "tree", "-child")
	self.ExtraFiles, self.Stdout = []*os.File{port}, os.Stdout
	self.SysProcAttr = &syscall.SysProcAttr{Setsid: *away}
	if err := self.Start(); err != nil {
		return fmt.Errorf("start the child: %w", err)
	}
	<-term
	return nil
}

func write(file, text string) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666)
	if err != nil {
		return fmt.Errorf("open book: %w", err)
	}
	_, err = io.WriteString(f, text)
	return errors.Join(err, f.Close())
}

const treeFile = `schema: 1
services:
  tree:
    version: VERSION
    run: { exec: [DIR/app, tree, -listen, "127.0.0.1:PORT", -book, DIR/x/book, MODE], user: USER, env: { RELEASE: "${version}" } }
    ports: { http: PORT }
    stop: { drain: 1s, drain_long: 1s, grace: 2s }
    deploy: { strategy: recreate, min_ready: 0s }
`

// treeNode is a node that runs the tree.
type treeNode struct {
	*node

	mode    string
	port    int
	version int
	told    time.Time // to end: not sooner than that
}

// treeGrace is what treeFile gives the child to end by itself.
const treeGrace = 2 * time.Second

func startTree(t *testing.T, mode string) *treeNode {
	t.Helper()
	n := &treeNode{node: newNode(t), mode: mode, port: hosttest.FreePort(t)}
	program, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = errors.Join(os.WriteFile(n.dir+"/app", program, 0o755), os.Mkdir(n.dir+"/x", 0o777), os.Chmod(n.dir+"/x", 0o777))
	}
	if err != nil {
		t.Fatal(err)
	}
	n.next()
	n.start()
	n.grown()
	return n
}

// next writes the file of another version.
func (n *treeNode) next() {
	n.t.Helper()
	n.version++
	n.write(strings.NewReplacer("VERSION", fmt.Sprintf("v%d", n.version), "PORT", fmt.Sprint(n.port), "MODE", n.mode).Replace(treeFile))
}

// grown waits until the tree is one: a main process and its child.
func (n *treeNode) grown() api.Instance {
	n.t.Helper()
	i := n.whole("tree", 1)[0]
	n.until("the child is there", func(api.Status) string {
		if got := len(n.of("tree")); got != 2 {
			return fmt.Sprintf("%d processes", got)
		}
		return ""
	})
	return i
}

// headless waits until the main process of i has ended, and its child has not.
// Who looks so late that the child's grace may be over cannot tell, and goes on.
func (n *treeNode) headless(i api.Instance) {
	n.t.Helper()
	for end := time.Now().Add(hang); ; time.Sleep(look) {
		left := n.ids()[i.ID]
		switch after := time.Since(n.told); {
		case slices.Contains(left, i.PID) && time.Now().After(end):
			n.t.Fatalf("pid %d of %v does not end", i.PID, left)
		case slices.Contains(left, i.PID):
		case len(left) > 0:
			return
		case after < treeGrace:
			n.t.Fatalf("the whole tree has ended within %v", after)
		default:
			n.t.Logf("looked %v late: the child has had its grace", after)
			return
		}
	}
}

// ids returns of which instances there are processes, and which.
func (n *treeNode) ids() map[string][]int {
	ids := map[string][]int{}
	for _, pid := range n.of("tree") {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
		for v := range bytes.SplitSeq(text, []byte{0}) {
			if id, ok := bytes.CutPrefix(v, []byte("BACKSTAY_INSTANCE=")); ok {
				ids[string(id)] = append(ids[string(id)], pid)
			}
		}
	}
	return ids
}

// watch looks, until the function it returns is called, whether an instance is
// taken for stopped while processes of it are there, or another runs beside it.
func (n *treeNode) watch() (end func()) {
	stop := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		known := map[string]bool{}
		for {
			select {
			case <-stop:
				return
			case <-time.After(look / 2):
			}
			n.noneForgotten(known)
			first := n.ids()
			if still := n.ids(); len(first) > 1 && len(still) > 1 { // a look is no moment, and none comes back
				n.t.Errorf("processes of two instances at once: %v, %v", first, still)
			}
		}
	})
	return func() { close(stop); watching.Wait() }
}

// noneForgotten compares what status says before and after with the processes
// there are between: none comes back, and who was started meanwhile has one start
// more.
func (n *treeNode) noneForgotten(known map[string]bool) {
	before, err := n.shown()
	if err != nil {
		return // the agent is just being killed
	}
	alive := n.ids()
	after, err := n.shown()
	if err != nil {
		return
	}
	for id := range before {
		known[id] = true
	}
	for id := range known {
		was, is := before[id], after[id]
		if len(alive[id]) > 0 && was.over() && was == is {
			n.t.Errorf("%s is shown as %q, and its processes %v are there", id, was.state, alive[id])
		}
	}
}

// shownAs is what status says of an instance, if it does.
type shownAs struct {
	state  backstay.InstanceState
	starts int
}

func (s shownAs) over() bool { return s.state == "" || s.state == backstay.Stopped }

func (n *treeNode) shown() (map[string]shownAs, error) {
	s, err := n.client.Status(n.t.Context())
	all := map[string]shownAs{}
	for _, i := range s.Service("tree").Instances {
		all[i.ID] = shownAs{i.State, i.Starts}
	}
	return all, err
}

// portWasFree fails if a run has found its port taken.
func (n *treeNode) portWasFree() {
	n.t.Helper()
	if text, err := os.ReadFile(filepath.Join(n.dir, "x", "book")); err == nil {
		n.t.Errorf("the port was not free yet: %s", text)
	}
}

// meanwhile is what dies while a tree without its main process is waited for.
var meanwhile = []string{"nobody", "agent", "keeper"}

func (n *treeNode) strike(kind string) {
	n.t.Helper()
	if kind == "nobody" {
		return
	}
	for _, pid := range n.pidsOf(kind) {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			n.t.Fatal(err)
		}
	}
}

// A run is over when its tree is: nothing takes the end of a main process for
// that, and whatever dies in between changes nothing.
func TestTreeIsWaitedFor(t *testing.T) {
	for _, mode := range []string{"-away", "-away=false"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			n := startTree(t, mode)
			defer n.watch()()
			for _, kind := range meanwhile {
				n.recreate(kind)
			}
			for _, kind := range meanwhile {
				n.stopAndStart(kind)
			}
			n.down()
			n.portWasFree()
		})
	}
}

func (n *treeNode) recreate(kind string) {
	n.t.Helper()
	was := n.grown()
	n.next()
	n.told = time.Now()
	n.must("apply", n.file, "--detach")
	n.headless(was)
	n.strike(kind)
	n.until("it is replaced, and "+kind+" died", func(s api.Status) string {
		all := s.Service("tree").Instances
		if len(all) != 1 || all[0].ID == was.ID || all[0].State != backstay.Running {
			return fmt.Sprintf("%+v", all)
		}
		return ""
	})
	n.settled("tree")
	if now := n.grown(); now.Starts != 1 {
		n.t.Errorf("the new one was started %d times", now.Starts)
	}
}

func (n *treeNode) stopAndStart(kind string) {
	n.t.Helper()
	was := n.grown()
	stopped := make(chan int, 1)
	n.told = time.Now()
	go func() {
		_, _, status := n.cli("stop", "tree")
		stopped <- status
	}()
	n.headless(was)
	n.strike(kind)
	if status := <-stopped; status != 0 {
		n.t.Errorf("stop ended with %d while %s died", status, kind)
	}
	n.vanished("tree")
	n.must("start", "tree")
	n.grown()
}

func (n *treeNode) down() {
	n.t.Helper()
	n.grown()
	out := n.must("down")
	if left := n.of("tree"); len(left) > 0 {
		n.t.Errorf("down is over, and %v are left: %s", left, out)
	}
}

// The end of up is the end of all, whatever dies on the way.
func TestTreeOutlivesNoUp(t *testing.T) {
	for _, mode := range []string{"-away", "-away=false"} {
		for _, kind := range meanwhile {
			t.Run(mode+", "+kind+" dies", func(t *testing.T) {
				t.Parallel()
				n := startTree(t, mode)
				was := n.grown()
				n.told = time.Now()
				if err := n.front.Process.Signal(syscall.SIGINT); err != nil {
					t.Fatal(err)
				}
				n.headless(was)
				n.strike(kind)
				select {
				case <-n.gone:
				case <-time.After(hang):
					t.Fatal("the front did not end")
				}
				if left := n.processes(); len(left) > 0 {
					t.Errorf("left running: %v", left)
				}
				if !n.front.ProcessState.Success() {
					t.Errorf("the front ended with %v\n%s", n.front.ProcessState, n.story())
				}
				n.portWasFree()
			})
		}
	}
}
