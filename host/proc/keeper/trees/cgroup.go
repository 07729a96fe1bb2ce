package trees

import (
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/backstay/backstay/host/proc/keeper/sys"
)

// ownPlace is the keeper's own cgroup in its tree; no service has such a name.
const ownPlace = "_keeper"

// find makes the forest's cgroup: beside all others where that is allowed, else
// below the keeper's own, which somebody may have delegated.
func (f *Forest) find(name string) {
	if f.root = mountOf("cgroup2"); f.root == "" {
		f.Why = "no cgroup v2 hierarchy is mounted"
		return
	}
	own := f.root + ownCgroup("self")
	base := f.root + "/" + name
	err := sys.Mkdir(base)
	if err != nil {
		base = own + "/" + name
		err = sys.Mkdir(base)
	}
	if err == nil {
		err = syscall.Access(base+"/cgroup.procs", 2) // W_OK
	}
	if err != nil {
		f.Why = "make " + base + ": " + sys.Named(err)
		return
	}
	f.base = base
	if strings.HasPrefix(own+"/", base+"/") {
		// Born in the agent's cgroup, for it started us: we must not die with it.
		_ = sys.Mkdir(base + "/" + ownPlace)
		if err := sys.Spill(base+"/"+ownPlace+"/cgroup.procs", "0"); err != nil {
			sys.Say("leave the cgroup of an instance:", sys.Named(err))
		}
	}
}

// mountOf is where the first file system of a kind is mounted as a whole.
func mountOf(kind string) string {
	b, _ := sys.Slurp("/proc/self/mountinfo", make([]byte, 256<<10))
	for line := range strings.SplitSeq(string(b), "\n") {
		front, back, _ := strings.Cut(line, " - ")
		if f := strings.Fields(front); len(f) > 4 && strings.HasPrefix(back, kind+" ") && f[3] == "/" {
			return f[4]
		}
	}
	return ""
}

// ownCgroup is a process's place in the v2 hierarchy, without a slash at its end.
func ownCgroup(pid string) string {
	b, _ := sys.Slurp("/proc/"+pid+"/cgroup", make([]byte, 4<<10))
	return strings.TrimSuffix(strings.TrimSuffix(field(b, "0::"), " (deleted)"), "/")
}

// field is what follows name in the line of b that begins with it.
func field(b []byte, name string) string {
	for line := range strings.SplitSeq(string(b), "\n") {
		if v, ok := strings.CutPrefix(line, name); ok {
			return v
		}
	}
	return ""
}

// Open makes the cgroup at path below ours and opens it, to clone into. An
// old one of that name goes first: Linux 6.14 and later kill at birth whatever is
// cloned into a cgroup that cgroup.kill was ever written to (they compare its
// count of kills with that of the parent's cgroup).
func (f *Forest) Open(path string) (int, error) {
	f.Clear(path)
	if err := f.make(f.base + "/" + path); err != nil {
		return -1, err
	}
	return sys.Open(f.base+"/"+path, sys.OpenPath|syscall.O_DIRECTORY, 0)
}

// make makes a cgroup, and those above it where they are missing: all of them may
// have been removed by hand.
func (f *Forest) make(dir string) error {
	err := sys.Mkdir(dir)
	if errors.Is(err, syscall.ENOENT) && len(dir) > len(f.root) {
		if err = f.make(dir[:strings.LastIndexByte(dir, '/')]); err == nil {
			err = sys.Mkdir(dir)
		}
	}
	return err
}

// Has reports whether pid is in t: always, where nobody can say.
func (f *Forest) Has(t Tree, pid int) bool {
	return !f.cgroup(t) || strings.HasPrefix(f.root+ownCgroup(strconv.Itoa(pid))+"/", f.base+"/"+t.Cgroup+"/")
}

// OutOfMemory is how many of t the kernel has killed to get memory.
func (f *Forest) OutOfMemory(t Tree) int {
	if !f.cgroup(t) {
		return 0
	}
	return f.count(t.Cgroup, "memory.events", "oom_kill")
}

// count returns a number from a file of lines "name number", 0 without it.
func (f *Forest) count(path, file, name string) int {
	b, _ := sys.Slurp(f.base+"/"+path+"/"+file, make([]byte, 4<<10))
	return atoi(field(b, name+" "))
}

// procs are the processes in the cgroup at path.
func (f *Forest) procs(path string) (pids []int) {
	b, _ := sys.Slurp(f.base+"/"+path+"/cgroup.procs", make([]byte, 64<<10))
	for pid := range strings.FieldsSeq(string(b)) {
		pids = append(pids, atoi(pid))
	}
	return pids
}

// Remove takes away the cgroup at path, what is below it, and what is above it
// and empty; all of it only where no process is left.
func (f *Forest) Remove(path string) {
	for f.Clear(path); path != "" && f.Cgroups(); path = path[:max(strings.LastIndexByte(path, '/'), 0)] {
		_ = syscall.Rmdir(f.base + "/" + path)
	}
}

// Clear is Remove without what is above. The path "" is all of ours. A cgroup
// nearly always has none below, so it is tried first: this stands between a death
// and the next start.
func (f *Forest) Clear(path string) {
	if !f.Cgroups() || syscall.Rmdir(f.base+"/"+path) == nil {
		return
	}
	for _, name := range f.below(path) {
		f.Clear(path + "/" + name)
	}
	_ = syscall.Rmdir(f.base + "/" + path)
}

func (f *Forest) below(path string) (dirs []string) {
	found, _ := os.ReadDir(f.base + "/" + path)
	for _, e := range found {
		if e.IsDir() {
			dirs = append(dirs, e.Name())
		}
	}
	return dirs
}

// atoi is the number that s is, 0 if it is none.
func atoi(s string) int {
	n, _ := strconv.Atoi(s)
	return n
}

// Sweep ends what is in cgroups of ours that are none of known, and takes those
// away.
func (f *Forest) Sweep(known []string) {
	if f.Cgroups() {
		f.sweep("", known)
	}
}

func (f *Forest) sweep(path string, known []string) {
	for _, name := range f.below(path) {
		at := strings.TrimPrefix(path+"/"+name, "/")
		switch {
		case at == ownPlace || slices.Contains(known, at):
		case slices.ContainsFunc(known, func(k string) bool { return strings.HasPrefix(k, at+"/") }):
			f.sweep(at, known)
		default:
			sys.Say("cgroup", at, "belongs to no slot: what is in it is killed")
			f.Kill(Tree{Cgroup: at})
			f.Clear(at)
		}
	}
}
