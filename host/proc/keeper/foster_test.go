package keeper_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	pkgtrees "github.com/backstay/backstay/host/proc/keeper/trees"
	"github.com/backstay/backstay/internal/keeperwire"
	"github.com/backstay/backstay/internal/restart"
)

// foster is an agent for tests: it starts a keeper whenever there is none, gets
// what that one leaves behind, and has children of its own, whose pids it prints.
func foster(binary, dir string) {
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, 36, 1, 0) // PR_SET_CHILD_SUBREAPER
	for _, attr := range []*syscall.SysProcAttr{{}, {Setsid: true}, {Setpgid: true}} {
		cmd := exec.Command("/bin/sleep", "1000")
		cmd.SysProcAttr = attr
		if attr.Setpgid { // it is known by its parent alone, while that lives
			if os.Mkdir(dir+"/first", 0o700) != nil {
				continue // one is enough: nobody would find those of later agents
			}
			cmd.Env = []string{}
		}
		if err := cmd.Start(); err != nil {
			os.Exit(96)
		}
		fmt.Println(cmd.Process.Pid)
	}
	for {
		c, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: dir + "/sock", Net: "unixpacket"})
		if err == nil {
			_, _ = c.Read(make([]byte, 100)) // until it ends
			_ = c.Close()
			continue
		}
		cmd := exec.Command(binary, "run", dir)
		cmd.Env, cmd.SysProcAttr = []string{}, &syscall.SysProcAttr{Setsid: true}
		cmd.Stderr, _ = os.OpenFile(dir+"/keeper.log", os.O_APPEND|os.O_WRONLY, 0)
		_ = cmd.Start()
		time.Sleep(100 * time.Millisecond)
	}
}

// TestWhatTheAgentInheritsIsNoPartOfIt has the agent start a keeper that starts
// instances and is killed, so that they and what they left behind are the agent's
// children. What ends the agent then takes its own with it, and none of those.
func TestWhatTheAgentInheritsIsNoPartOfIt(t *testing.T) {
	t.Parallel()
	ways := map[string]func(*fostered){
		"hung": func(f *fostered) {
			_ = syscall.Kill(f.agent, syscall.SIGSTOP)
			f.spec.SilentMS = 1 // put now: before, a loaded machine would have it killed too early
			f.c.put(f.spec)
			f.c.when(keeperwire.AgentID, func(s keeperwire.Slot) bool { return int(s.PID) != f.agent })
			f.spec.SilentMS = 0
			f.c.put(f.spec)
		},
		"killed":           func(f *fostered) { f.strike(f.agent) },
		"asked to end":     func(f *fostered) { f.c.do(keeperwire.Msg{Kind: keeperwire.Stop, ID: keeperwire.AgentID}) },
		"agent and keeper": func(f *fostered) { f.strike(f.agent, f.keeper); f.next() },
		"keeper and agent": func(f *fostered) { f.strike(f.keeper, f.agent); f.next() },
	}
	for _, mode := range []string{"cgroups", "unprivileged"} {
		for name, end := range ways {
			t.Run(mode+"/"+name, func(t *testing.T) {
				t.Parallel()
				n := newNode(t)
				if mode == "unprivileged" {
					n = n.unprivileged()
				}
				f := n.foster()
				if name != "hung" {
					f.own = f.own[:2]
				}
				end(f)
				f.onlyTheAgentEnded()
			})
		}
	}
}

// fostered is a node whose agent is the parent of what others have started.
type fostered struct {
	*node
	c             *client
	spec          keeperwire.Spec // of the agent
	agent, keeper int
	own           []int          // what the agent has started
	theirs        map[int]uint64 // the instances and what they left behind, with their start
	known         []int          // those that carry a mark
}

func (n *node) foster() *fostered {
	n.t.Helper()
	f := &fostered{node: n, c: n.start(), theirs: map[int]uint64{}}
	f.spec = n.role(keeperwire.AgentID, "foster", binary, n.dir)
	f.spec.Argv[0] = n.copied(f.spec.Argv[0])
	f.spec.Cgroup, f.spec.Restart = "", restart.Policy{Min: time.Millisecond, Max: time.Millisecond}
	n.t.Cleanup(f.end)
	f.agent = int(f.c.up(f.spec).PID)
	f.own = f.printed(keeperwire.AgentID, 3)
	n.forget(f.own[2])
	n.kill()
	f.meet()
	bare := n.spec("bare", "")
	bare.Argv = []string{"/usr/bin/env", "-i", "/bin/sleep", "1000"}
	left := n.spec("left", "(setsid sleep 1000 & echo $!); (env -i setsid sleep 1000 & echo $!); exec sleep 1000")
	for _, s := range []keeperwire.Spec{bare, left} {
		f.known = append(f.known, int(f.c.up(s).PID))
	}
	orphans := f.printed("left", 2)
	f.known = append(f.known, orphans[0])
	for _, pid := range append(orphans, f.known...) {
		f.theirs[pid] = pkgtrees.StatOf(pid).Ticks
	}
	n.forget(orphans[1])
	f.strike(f.keeper)
	f.meet()
	for pid := range f.theirs {
		eventually(n.t, "the agent gets "+strconv.Itoa(pid), func() bool { return pkgtrees.StatOf(pid).PPID == f.agent })
	}
	return f
}

// end kills agent and keeper, each of which starts the other again.
func (f *fostered) end() {
	eventually(f.t, "neither agent nor keeper is left", func() bool {
		left := 0
		lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, path := range lines {
			text, _ := os.ReadFile(path)
			if words := strings.Split(string(text), "\x00"); slices.Contains(words, f.dir) {
				pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
				_ = syscall.Kill(pid, syscall.SIGKILL)
				left++
			}
		}
		return left == 0
	})
}

// copied is a program where anybody may run it.
func (n *node) copied(program string) string {
	n.t.Helper()
	to := n.logs + "/program"
	b, err := os.ReadFile(program)
	if err == nil {
		err = os.WriteFile(to, b, 0o755)
	}
	if err != nil {
		n.t.Fatal(err)
	}
	return to
}

// forget has a process end with the test: one without marks, which may get away
// from its tree where there are no cgroups.
func (n *node) forget(pid int) {
	ticks := pkgtrees.StatOf(pid).Ticks
	n.t.Cleanup(func() {
		if lives(pid, ticks) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
}

// printed waits until id has printed so many pids.
func (f *fostered) printed(id string, count int) (pids []int) {
	f.t.Helper()
	eventually(f.t, id+" prints", func() bool { return strings.Count(f.log(id), "\n") >= count })
	for word := range strings.FieldsSeq(f.log(id)) {
		pid, _ := strconv.Atoi(word)
		pids = append(pids, pid)
	}
	return pids
}

// meet waits for the keeper that is there now.
func (f *fostered) meet() {
	f.t.Helper()
	f.c = f.dial()
	f.keeper = int(f.c.do(keeperwire.Msg{Kind: keeperwire.Hello, Version: keeperwire.Version}).Welcome.PID)
	f.forget(f.keeper)
}

// next starts a keeper by hand, where the agent cannot.
func (f *fostered) next() {
	f.t.Helper()
	f.launch()
	f.meet()
}

// strike kills processes, and waits until they are gone or zombies.
func (f *fostered) strike(pids ...int) {
	start := map[int]uint64{}
	for _, pid := range pids {
		start[pid] = pkgtrees.StatOf(pid).Ticks
	}
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	for pid, ticks := range start {
		eventually(f.t, strconv.Itoa(pid)+" ends", func() bool { return !lives(pid, ticks) })
	}
}

func lives(pid int, ticks uint64) bool {
	st := pkgtrees.StatOf(pid)
	return st.Exists && !st.Dead && st.Ticks == ticks
}

// onlyTheAgentEnded fails unless the agent's run is over with all that was its
// own, and all else goes on.
func (f *fostered) onlyTheAgentEnded() {
	f.t.Helper()
	f.c.when(keeperwire.AgentID, func(s keeperwire.Slot) bool { // a run is over when its tree is
		return s.State == keeperwire.Stopped || s.State == keeperwire.Running && int(s.PID) != f.agent
	})
	for _, pid := range f.own {
		if lives(pid, pkgtrees.StatOf(pid).Ticks) {
			f.t.Errorf("%d is left of the agent", pid)
		}
	}
	for pid, ticks := range f.theirs {
		if !lives(pid, ticks) {
			f.t.Errorf("%d was killed with the agent", pid)
		}
	}
	for _, id := range []string{"bare", "left"} {
		if s := f.c.list()[id]; s.Starts != 1 || s.State != keeperwire.Running {
			f.t.Errorf("%+v", s)
		}
		f.c.stop(id)
	}
	for _, pid := range f.known {
		if lives(pid, f.theirs[pid]) {
			f.t.Errorf("%d is left of an instance", pid)
		}
	}
}
