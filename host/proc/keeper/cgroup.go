package keeper

import (
	"strings"
	"syscall"
	"time"
)

// cgroups is the keeper's tree in the v2 hierarchy, which is there even beside a
// v1: it needs no controller to say who belongs to whom, and to kill.
type cgroups struct {
	root string // where the hierarchy is mounted
	base string // our tree; empty: there is none, and why
	why  string
}

// findCgroups makes the keeper's tree: beside all others where that is allowed,
// else below the keeper's own cgroup, which somebody may have delegated.
func findCgroups(name string) cgroups {
	c := cgroups{root: mountOf("cgroup2")}
	if c.root == "" {
		c.why = "no cgroup v2 hierarchy is mounted"
		return c
	}
	base := c.root + "/" + name
	err := mkdir(base)
	if err != nil {
		base = c.root + ownCgroup("self") + "/" + name
		err = mkdir(base)
	}
	if err == nil {
		err = syscall.Access(base+"/cgroup.procs", 2) // W_OK
	}
	if err != nil {
		c.why = "make " + base + ": " + named(err)
		return c
	}
	c.base = base
	c.stepOut()
	return c
}

// ownPlace is the keeper's own cgroup in its tree; no service has such a name.
const ownPlace = "_keeper"

// stepOut takes the keeper out of an instance's cgroup: it is born there when the
// agent starts it, and must not die with the agent.
func (c *cgroups) stepOut() {
	if !strings.HasPrefix(c.root+ownCgroup("self")+"/", c.base+"/") {
		return
	}
	at := c.base + "/" + ownPlace
	err := mkdir(at)
	if err == nil {
		err = spill(at+"/cgroup.procs", "0")
	}
	if err != nil {
		say("leave the cgroup of an instance:", named(err))
	}
}

func mkdir(path string) error {
	if err := syscall.Mkdir(path, 0o755); err != nil && err != syscall.EEXIST {
		return err
	}
	return nil
}

// mountOf is where the first file system of a kind is mounted and can be written.
func mountOf(kind string) string {
	b, err := slurp("/proc/self/mountinfo", make([]byte, 256<<10))
	if err != nil {
		return ""
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		front, back, ok := strings.Cut(line, " - ")
		if f := strings.Fields(front); ok && len(f) > 4 && strings.HasPrefix(back, kind+" ") && f[3] == "/" {
			return f[4]
		}
	}
	return ""
}

// ownCgroup is a process's place in the v2 hierarchy, without a slash at its end.
func ownCgroup(pid string) string {
	b, _ := slurp("/proc/"+pid+"/cgroup", make([]byte, pageSize))
	for line := range strings.SplitSeq(string(b), "\n") {
		if at, ok := strings.CutPrefix(line, "0::"); ok {
			return strings.TrimSuffix(strings.TrimSuffix(at, " (deleted)"), "/")
		}
	}
	return ""
}

// open makes the cgroup at path below the tree and opens it, to clone into. An
// old one of that name goes first: Linux 6.14 and later kill at birth whatever is
// cloned into a cgroup that cgroup.kill was ever written to (they compare its
// count of kills with that of the parent's cgroup).
func (c *cgroups) open(path string) (int, error) {
	c.rmdirs(path)
	dir := c.base
	_ = mkdir(dir) // removed by hand
	for part := range strings.SplitSeq(path, "/") {
		dir += "/" + part
		if err := mkdir(dir); err != nil {
			return -1, err
		}
	}
	return syscall.Open(dir, openPath|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
}

// has reports whether pid is in the cgroup at path, or below.
func (c *cgroups) has(pid, path string) bool {
	at := c.root + ownCgroup(pid) + "/"
	return strings.HasPrefix(at, c.base+"/"+path+"/")
}

// count returns a number from a file of lines "name number", 0 without it.
func (c *cgroups) count(path, file, name string) int {
	b, err := slurp(c.base+"/"+path+"/"+file, make([]byte, pageSize))
	if err != nil {
		return 0
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		if v, ok := strings.CutPrefix(line, name+" "); ok {
			return atoi(v)
		}
	}
	return 0
}

func (c *cgroups) populated(path string) bool { return c.count(path, "cgroup.events", "populated") > 0 }

// kill ends all in the cgroup at path. Where the kernel cannot at once (before
// 5.14), those there now are killed; who calls looks again.
func (c *cgroups) kill(path string) {
	dir := c.base + "/" + path
	if spill(dir+"/cgroup.kill", "1") == nil {
		return
	}
	b, _ := slurp(dir+"/cgroup.procs", make([]byte, areaSize))
	for pid := range strings.FieldsSeq(string(b)) {
		_ = syscall.Kill(atoi(pid), syscall.SIGKILL)
	}
}

// remove takes away the cgroup at path, what is below it, and what is above it
// and empty; all of it only where no process is left.
func (c *cgroups) remove(path string) {
	if path == "" || c.base == "" {
		return
	}
	c.rmdirs(path)
	for up, ok := above(path); ok; up, ok = above(up) {
		_ = syscall.Rmdir(c.base + "/" + up)
	}
}

// rmdirs tries the cgroup itself first: it nearly always has none below, and to
// find that out takes a stat for each of its twenty files, between a death and
// the next start.
func (c *cgroups) rmdirs(path string) {
	if syscall.Rmdir(c.base+"/"+path) == nil {
		return
	}
	for _, name := range c.below(path) {
		c.rmdirs(path + "/" + name)
	}
	_ = syscall.Rmdir(c.base + "/" + path)
}

func (c *cgroups) below(path string) (dirs []string) {
	dir := c.base + "/" + path
	for _, name := range names(dir) {
		var st syscall.Stat_t
		if syscall.Lstat(dir+"/"+name, &st) == nil && st.Mode&syscall.S_IFMT == syscall.S_IFDIR {
			dirs = append(dirs, name)
		}
	}
	return dirs
}

// above is the path without its last name.
func above(path string) (dir string, ok bool) {
	i := strings.LastIndexByte(path, '/')
	return path[:max(i, 0)], i > 0
}

// atoi reads the digits at the front of s.
func atoi(s string) int {
	n := 0
	for i := 0; i < len(s) && s[i] >= '0' && s[i] <= '9'; i++ {
		n = n*10 + int(s[i]-'0')
	}
	return n
}

// strangersLive is how long processes of our tree that no record knows may go on:
// so long an older keeper or a person may need to claim them.
const strangersLive = 10 * time.Second

// sweep looks through the tree for cgroups of no slot: empty ones go at once,
// others are said and killed later.
func (k *keeper) sweep() {
	if k.cg.base == "" {
		return
	}
	known := map[string]bool{}
	for _, s := range k.slots {
		known[s.rec.Cgroup], known[s.spec.Cgroup] = true, true
	}
	k.strangers = k.strangers[:0]
	k.sweepBelow("", known)
	if len(k.strangers) > 0 {
		k.strangersAt = k.now() + strangersLive
	}
}

func (k *keeper) sweepBelow(path string, known map[string]bool) {
	for _, name := range k.cg.below(path) {
		at := strings.TrimPrefix(path+"/"+name, "/")
		switch {
		case known[at] || at == ownPlace:
		case leadsTo(known, at):
			k.sweepBelow(at, known)
		case k.cg.populated(at):
			say("cgroup", at, "belongs to no slot; what is in it is killed in 10s")
			k.strangers = append(k.strangers, at)
		default:
			k.cg.rmdirs(at)
		}
	}
}

func leadsTo(known map[string]bool, at string) bool {
	for path := range known {
		if strings.HasPrefix(path, at+"/") {
			return true
		}
	}
	return false
}

// killStrangers ends what sweep has found and nobody has claimed since.
func (k *keeper) killStrangers() {
	k.strangersAt = 0
	for _, s := range k.slots {
		for i, at := range k.strangers {
			if at == s.spec.Cgroup || at == s.rec.Cgroup {
				k.strangers[i] = ""
			}
		}
	}
	for _, at := range k.strangers {
		if at != "" {
			k.cg.kill(at)
		}
	}
}
