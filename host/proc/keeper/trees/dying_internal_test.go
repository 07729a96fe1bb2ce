package trees

import (
	"os"
	"os/exec"
	"strconv"
	"testing"
)

// TestWhoIsOnTheWayOutIsStillThere forges what the kernel shows of a process
// between the end of its memory and its own: no environment, another parent.
func TestWhoIsOnTheWayOutIsStillThere(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("sleep", "1000")
	cmd.Env = []string{}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	f := New("/test-"+strconv.Itoa(os.Getpid()), "backstay-test-of-dying-"+strconv.Itoa(os.Getpid()))
	t.Cleanup(func() { f.Clear("") })
	one := Tree{Mark: "a"}
	if f.Alive(one) {
		t.Fatal("a stranger is taken for one of the tree")
	}
	f.dying["a"] = map[int]uint64{pid: StatOf(pid).Ticks + 1}
	if f.Alive(one) {
		t.Error("another process with the number of one that was killed is taken for it")
	}
	f.dying["a"] = map[int]uint64{pid: StatOf(pid).Ticks}
	if !f.Alive(one) {
		t.Error("one that was killed is taken for gone while it is there")
	}
	_, _ = cmd.Process.Kill(), cmd.Wait()
	if f.Alive(one) || len(f.dying) > 0 {
		t.Errorf("gone, and remembered: %v", f.dying)
	}
}
