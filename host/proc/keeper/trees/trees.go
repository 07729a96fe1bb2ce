// Package trees knows which processes belong together, and ends them all.
//
// With cgroups that is what the kernel says. Without, a tree is known by what its
// processes carry in their environment, and by whose children they are: the keeper
// is the subreaper of all, so what double-forks does not get away.
package trees

import (
	"bytes"
	"os"
	"strconv"
	"syscall"

	"github.com/backstay/backstay/host/proc/keeper/sys"
)

// Tree is processes that belong together: those in a cgroup where there is one,
// else those that carry Mark in their environment.
type Tree struct{ Cgroup, Mark string }

// Forest is all the trees of a keeper. Its cgroups are in the v2 hierarchy, which
// is there even beside a v1: it needs no controller to say who belongs to whom,
// and to kill.
type Forest struct {
	dir  string // of the keeper
	root string // where the hierarchy is mounted
	base string // our cgroup; empty: there is none, and Why

	// dying are processes that were killed, by tree, with their start: one that is on
	// its way out has no environment any more, and is known by nothing else.
	dying map[string]map[int]uint64

	// Main says of which tree a process is the main one, by the records; empty is
	// none. It outdoes what /proc says: a program may write over its environment.
	Main func(pid int) string

	// Foster is the mark of the agent, which may get the children of a keeper.
	Foster string

	Why string
}

// New returns the forest of the keeper of dir.
func New(dir, name string) *Forest {
	f := &Forest{dir: dir, dying: map[string]map[int]uint64{}, Main: func(int) string { return "" }}
	f.find(name)
	return f
}

// Cgroups reports whether there are any.
func (f *Forest) Cgroups() bool { return f.base != "" }

func (f *Forest) cgroup(t Tree) bool { return f.base != "" && t.Cgroup != "" }

// Stat is what /proc/PID/stat says.
type Stat struct {
	PPID, SID    int    // parent and session
	Wait         int    // field 52: wait status of a zombie
	Ticks        uint64 // start, field 22
	UTime, STime int64  // in clock ticks
	Exists       bool
	Dead         bool // a zombie, or about to be none any more
}

// StatOf reads the Stat of a process.
func StatOf(pid int) (s Stat) {
	var buf [1024]byte
	b, _ := sys.Slurp("/proc/"+strconv.Itoa(pid)+"/stat", buf[:])
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:]) // a name may have anything in it
	if len(f) < 50 {
		return s
	}
	number := func(i int) int { return atoi(string(f[i])) }
	return Stat{
		PPID: number(1), SID: number(3), Wait: number(49), Ticks: uint64(number(19)), UTime: int64(number(11)), STime: int64(number(12)),
		Exists: true, Dead: f[0][0] == 'Z' || f[0][0] == 'X',
	}
}

// Marker is what the processes of a tree carry.
func (f *Forest) Marker(mark string) []string {
	return []string{"BACKSTAY_KEEPER=" + f.dir, "BACKSTAY_INSTANCE=" + mark}
}

// carries reports whether an environment is that of mark or of something below it.
func (f *Forest) carries(env []byte, mark string) bool {
	env = append([]byte{0}, env...)
	own := f.Marker(mark)
	has := func(v, end string) bool { return bytes.Contains(env, []byte("\x00"+v+end)) }
	return has(own[0], "\x00") && (has(own[1], "\x00") || has(own[1], "/"))
}

// Members finds the living processes of t.
func (f *Forest) Members(t Tree) (pids []int) {
	if f.cgroup(t) {
		return f.procs(t.Cgroup)
	}
	buf := make([]byte, 128<<10)
	parent, in := map[int]int{}, map[int]bool{}
	all, _ := os.ReadDir("/proc")
	for _, e := range all {
		pid := atoi(e.Name())
		st := StatOf(pid)
		if pid == 0 || pid == syscall.Getpid() || !st.Exists || st.Dead {
			continue
		}
		env, err := sys.Slurp("/proc/"+e.Name()+"/environ", buf)
		parent[pid], in[pid] = f.parent(pid, st), f.Main(pid) == t.Mark || err == nil && f.carries(env, t.Mark)
	}
	for pid, ticks := range f.dying[t.Mark] {
		if st := StatOf(pid); st.Ticks != ticks || st.Dead {
			delete(f.dying[t.Mark], pid)
		} else {
			in[pid], parent[pid] = true, st.PPID
		}
	}
	for pid := range parent {
		up := pid
		for n := 0; up > 1 && !in[up] && n < 1000; n++ {
			up = parent[up]
		}
		if in[up] {
			in[pid] = true
			pids = append(pids, pid)
		}
	}
	return pids
}

// parent is whose tree pid is of by its birth, 0 where its parent says nothing. An
// agent that has started a keeper gets the children of that keeper when it dies,
// and what those have left behind: they are no part of it. Its own are in its
// session, and carry its mark when they leave it; no instance is in that session.
func (f *Forest) parent(pid int, st Stat) int {
	up := f.Main(st.PPID)
	if f.Main(pid) != "" || up != "" && up == f.Foster && st.SID != st.PPID {
		return 0
	}
	return st.PPID
}

// sweepRounds bounds one pass over a tree that grows while it is stopped; what is
// left is for the next pass, a moment later.
const sweepRounds = 20

// Kill ends all of t. It may take a moment: ask Alive, and kill again. Where the
// kernel cannot do it at once (no cgroup, or before 5.14), the tree is stopped
// until nothing new turns up, so that none forks behind our back.
func (f *Forest) Kill(t Tree) {
	if f.cgroup(t) && sys.Spill(f.base+"/"+t.Cgroup+"/cgroup.kill", "1") == nil {
		return
	}
	seen := map[int]bool{}
	for fresh, n := true, 0; fresh && n < sweepRounds; n++ {
		fresh = false
		for _, pid := range f.Members(t) {
			if !seen[pid] {
				seen[pid], fresh = true, true
				_ = syscall.Kill(pid, syscall.SIGSTOP)
			}
		}
	}
	f.dying[t.Mark] = map[int]uint64{}
	for pid := range seen {
		if st := StatOf(pid); st.Exists && !st.Dead {
			f.dying[t.Mark][pid] = st.Ticks
		}
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// Alive reports whether anything of t is left.
func (f *Forest) Alive(t Tree) bool {
	if f.cgroup(t) {
		return f.count(t.Cgroup, "cgroup.events", "populated") > 0
	}
	if len(f.Members(t)) > 0 {
		return true
	}
	delete(f.dying, t.Mark)
	return false
}
