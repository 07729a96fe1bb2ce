package keeper

import (
	"bytes"
	"strconv"
	"syscall"
)

// Without cgroups a tree is known by what its processes carry in their
// environment, and by whose children they are. The keeper is the subreaper of
// all, so what double-forks does not get away.

// stat is what /proc/PID/stat says.
type stat struct {
	state  byte
	ppid   int
	ticks  uint64 // start, field 22
	wait   int    // wait status of a zombie, field 52
	utime  int64  // clock ticks of user time, field 14
	stime  int64
	exists bool
}

func statOf(pid int) (s stat) {
	var buf [1024]byte
	b, err := slurp("/proc/"+strconv.Itoa(pid)+"/stat", buf[:])
	if err != nil {
		return s
	}
	i := bytes.LastIndexByte(b, ')') // a name may have anything in it
	if i < 0 || i+2 >= len(b) {
		return s
	}
	f := bytes.Fields(b[i+2:])
	if len(f) < 50 {
		return s
	}
	s.state, s.ppid, s.ticks = f[0][0], atoi(string(f[1])), uint64(atoi(string(f[19])))
	s.utime, s.stime, s.wait, s.exists = int64(atoi(string(f[11]))), int64(atoi(string(f[12]))), atoi(string(f[49])), true
	return s
}

// marker is what the processes of an instance, or of a probe of it, carry.
func (k *keeper) marker(id string) []string {
	return []string{"BACKSTAY_KEEPER=" + k.dir, "BACKSTAY_INSTANCE=" + id}
}

// carries reports whether an environment is that of id or of something below it.
func (k *keeper) carries(env []byte, id string) bool {
	return hasVar(env, "BACKSTAY_KEEPER="+k.dir, false) && hasVar(env, "BACKSTAY_INSTANCE="+id, true)
}

func hasVar(env []byte, v string, below bool) bool {
	for len(env) > 0 {
		one, rest, _ := bytes.Cut(env, []byte{0})
		if string(one) == v || below && bytes.HasPrefix(one, []byte(v+"/")) {
			return true
		}
		env = rest
	}
	return false
}

// members finds the living processes of id: those that carry its marker, and
// all children of such.
func (k *keeper) members(id string) (pids []int) {
	self, buf := syscall.Getpid(), make([]byte, 128<<10)
	parent, in := map[int]int{}, map[int]bool{}
	for _, name := range names("/proc") {
		pid := atoi(name)
		if pid == 0 || pid == self {
			continue
		}
		st := statOf(pid)
		if !st.exists || st.state == 'Z' || st.state == 'X' {
			continue
		}
		parent[pid] = st.ppid
		env, err := slurp("/proc/"+name+"/environ", buf)
		in[pid] = err == nil && k.carries(env, id)
	}
	for pid := range parent {
		for up, n := pid, 0; up > 1 && n < 1000; up, n = parent[up], n+1 {
			if in[up] {
				in[pid] = true
				pids = append(pids, pid)
				break
			}
		}
	}
	return pids
}

// sweepRounds bounds one pass over a tree that grows while it is stopped; what is
// left is for the next pass, a moment later.
const sweepRounds = 20

// killMembers stops the tree of id until nothing new turns up, so that none forks
// behind our back, and kills it.
func (k *keeper) killMembers(id string) {
	seen := map[int]bool{}
	for range sweepRounds {
		fresh := false
		for _, pid := range k.members(id) {
			if !seen[pid] {
				seen[pid], fresh = true, true
				_ = syscall.Kill(pid, syscall.SIGSTOP)
			}
		}
		if !fresh {
			break
		}
	}
	for pid := range seen {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// alive reports whether anything of a tree is left.
func (k *keeper) alive(cgroup, id string) bool {
	if k.cg.base != "" && cgroup != "" {
		return k.cg.populated(cgroup)
	}
	return len(k.members(id)) > 0
}

// killTree ends all of it. It may take a moment: ask alive.
func (k *keeper) killTree(cgroup, id string) {
	if k.cg.base != "" && cgroup != "" {
		k.cg.kill(cgroup)
		return
	}
	k.killMembers(id)
}

// signalTree tells all that is left of a tree.
func (k *keeper) signalTree(cgroup, id string, sig syscall.Signal) {
	pids := []int{}
	if k.cg.base != "" && cgroup != "" {
		b, _ := slurp(k.cg.base+"/"+cgroup+"/cgroup.procs", make([]byte, areaSize))
		for f := range bytes.FieldsSeq(b) {
			pids = append(pids, atoi(string(f)))
		}
	} else {
		pids = k.members(id)
	}
	for _, pid := range pids {
		_ = syscall.Kill(pid, sig)
		_ = syscall.Kill(pid, sigcont)
	}
}
