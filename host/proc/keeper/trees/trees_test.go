package trees_test

import (
	"bufio"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay/host/proc/keeper/trees"
	"github.com/backstay/backstay/internal/hosttest"
)

func TestStatOfKnowsWhoLives(t *testing.T) {
	t.Parallel()
	if st := trees.StatOf(os.Getpid()); !st.Exists || st.Dead || st.PPID != os.Getppid() || st.Ticks == 0 {
		t.Errorf("%+v", st)
	}
	if st := trees.StatOf(1 << 30); st.Exists || st.Dead {
		t.Errorf("%+v", st)
	}
	cmd := exec.Command("sh", "-c", "exit 7")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for !trees.StatOf(cmd.Process.Pid).Dead {
		time.Sleep(time.Millisecond)
	}
	if st := trees.StatOf(cmd.Process.Pid); st.Wait != 7<<8 {
		t.Errorf("wait status %#x of a zombie that ended with 7", st.Wait)
	}
	_ = cmd.Wait()
}

// TestTreeWithoutCgroups has a member that clears its environment, which is known
// by its parent, and a neighbour whose name begins alike.
func TestTreeWithoutCgroups(t *testing.T) {
	t.Parallel()
	f := trees.New(t.TempDir(), "backstay-test-of-trees-"+strconv.Itoa(os.Getpid()))
	t.Cleanup(func() { f.Clear("") })
	start := func(mark, script string) (pid, said int) {
		cmd := exec.Command("sh", "-c", script)
		cmd.Env = append(f.Marker(mark), "PATH="+os.Getenv("PATH"))
		out, err := cmd.StdoutPipe()
		if err != nil || cmd.Start() != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
		line, err := bufio.NewReader(out).ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		said, _ = strconv.Atoi(strings.TrimSpace(line))
		return cmd.Process.Pid, said
	}
	wait := "while :; do sleep 0.05; done"
	main, bare := start("a", "env -i sh -c 'echo $$; "+wait+"' & wait")
	probe, _ := start("a/probe/x", "echo $$; "+wait)
	other, _ := start("ab", "echo $$; "+wait)
	one := trees.Tree{Mark: "a"}
	pids := f.Members(one)
	for _, pid := range []int{main, bare, probe} {
		if !slices.Contains(pids, pid) {
			t.Errorf("members %v, and not %d of main %d, its child without our mark %d and the probe %d", pids, pid, main, bare, probe)
		}
	}
	if slices.Contains(pids, other) {
		t.Errorf("members %v, the neighbour %d among them", pids, other)
	}
	deadline := time.Now().Add(30 * time.Second)
	for f.Kill(one); f.Alive(one); f.Kill(one) {
		if time.Now().After(deadline) {
			t.Fatal("it lives on: ", f.Members(one))
		}
	}
	if !f.Alive(trees.Tree{Mark: "ab"}) {
		t.Error("the neighbour was killed")
	}
}

func TestTreeInACgroup(t *testing.T) {
	t.Parallel()
	f := trees.New(t.TempDir(), "backstay-test-of-cgroups-"+strconv.Itoa(os.Getpid()))
	t.Cleanup(func() { f.Clear("") })
	if !f.Cgroups() {
		if f.Why == "" {
			t.Error("no reason is given")
		}
		hosttest.Cannot(t, "cgroup v2 hierarchy that this test may write: %s", f.Why)
	}
	fd, err := f.Open("s/s-1")
	if err != nil {
		t.Fatal(err)
	}
	one := trees.Tree{Cgroup: "s/s-1", Mark: "s-1"}
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = into(fd)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	if !f.Has(one, pid) || f.Has(one, os.Getpid()) || !f.Alive(one) || !slices.Equal(f.Members(one), []int{pid}) {
		t.Errorf("has %v, alive %v, members %v", f.Has(one, pid), f.Alive(one), f.Members(one))
	}
	f.Sweep([]string{"s/s-1", "t/t-1"})
	if !f.Alive(one) {
		t.Fatal("a slot's was swept")
	}
	f.Sweep([]string{"t/t-1"})
	if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("after the sweep: %v", err)
	}
	f.Remove("s/s-1")
	if n := f.OutOfMemory(one); n != 0 || f.Alive(one) {
		t.Errorf("%d killed by the kernel", n)
	}
}
