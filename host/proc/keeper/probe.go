package keeper

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/backstay/backstay/host/proc/keeper/sys"
	"github.com/backstay/backstay/host/proc/keeper/trees"
	"github.com/backstay/backstay/internal/keeperwire"
)

// Bounds of probes.
const (
	maxProbes    = 256
	maxOutput    = 4 << 10 // of what a probe prints, the first bytes
	probeMax     = time.Minute
	probeDefault = time.Second
	probePlace   = "/probe" // below the instance's cgroup
	probeFiles   = 1024     // what programs with select(2) can use
)

// probe is a one-shot child in a cgroup of its own below its instance's. When it
// ends, or its time is over, its whole tree is killed.
type probe struct {
	proc
	ask   *keeperwire.Probe
	tree  trees.Tree
	out   int // what it prints
	text  []byte
	exit  keeperwire.Exit
	until time.Duration // its time
	due   time.Duration // when to look at it
}

// probe begins one.
func (k *keeper) probe(ask *keeperwire.Probe) error {
	switch {
	case ask == nil || !keeperwire.Label(ask.Name):
		return no("bad_probe", "want a name of letters, digits, - and _")
	case len(ask.Argv) == 0 || !strings.HasPrefix(ask.Argv[0], "/"):
		return no("bad_probe", "argv: want an absolute path first")
	case slices.ContainsFunc(append(ask.Argv, ask.Env...), func(v string) bool { return strings.IndexByte(v, 0) >= 0 }):
		return no("bad_probe", "a zero byte in argv or env")
	case len(k.probes) >= maxProbes:
		return no("not_started", strconv.Itoa(maxProbes)+" are under way")
	}
	s := k.slots[ask.ID]
	if s == nil {
		return no("no_slot", "there is no "+ask.ID)
	}
	if s.pid == 0 || s.rec.Slot.State != keeperwire.Running {
		return no("not_running", ask.ID+" does not run")
	}
	for p := range k.probes {
		if p.ask.ID == ask.ID && p.ask.Name == ask.Name {
			return no("busy", "the one before has not ended")
		}
	}
	p := &probe{ask: ask, tree: s.tree()}
	p.tree.Mark += probePlace + "/" + ask.Name
	if p.tree.Cgroup != "" {
		p.tree.Cgroup += probePlace + "/" + ask.Name
	}
	if err := k.beginProbe(s, p); err != nil {
		return no("not_started", err.Error())
	}
	return nil
}

func (k *keeper) beginProbe(s *slot, p *probe) error {
	ask := p.ask
	limit := min(ms(ask.TimeoutMS), probeMax)
	if limit <= 0 {
		limit = probeDefault
	}
	p.until, p.due = k.Clock+limit, k.Clock+limit
	var pipe [2]int
	if err := syscall.Pipe2(pipe[:], syscall.O_CLOEXEC); err != nil {
		return sys.Fail("pipe", err)
	}
	defer sys.CloseFD(&pipe[1])
	_ = syscall.SetNonblock(pipe[0], true)
	spec := keeperwire.Spec{
		Argv: ask.Argv, Env: ask.Env, Dir: ask.Dir, SetIDs: ask.SetIDs, UID: ask.UID, GID: ask.GID, Groups: ask.Groups,
		Umask: 0o022, Nice: s.spec.Nice, OOMScoreAdj: s.spec.OOMScoreAdj, Rlimits: probeLimits(s.spec.Rlimits), Cgroup: p.tree.Cgroup,
	}
	started, err := k.spawn(&spec, p.tree.Mark, [3]int{k.null, pipe[1], pipe[1]})
	if err != nil {
		sys.CloseFD(&pipe[0])
		return err
	}
	p.proc, p.out = started, pipe[0]
	k.probes[p] = true
	k.follow(p.proc, k.reap, func() { k.hearStage(&p.proc) })
	k.Watch(p.out, func(uint32) { k.hearProbe(p) })
	return nil
}

// probeLimits are an instance's limits, but for the files that may be open: a
// question needs few, and programs that close all they might have inherited take
// long over a million.
func probeLimits(of []keeperwire.Rlimit) []keeperwire.Rlimit {
	files := keeperwire.Rlimit{Resource: syscall.RLIMIT_NOFILE, Soft: probeFiles, Hard: probeFiles}
	var own syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &own) == nil { // who is not root cannot have more
		files.Soft, files.Hard = min(files.Soft, own.Max), min(files.Hard, own.Max)
	}
	for _, r := range of {
		if r.Resource == files.Resource {
			files.Soft, files.Hard = min(files.Soft, r.Soft), min(files.Hard, r.Hard)
		}
	}
	return append(slices.Clone(of), files) // the last of a kind counts
}

// hearProbe keeps the first of what a probe prints, and reads the rest: one that
// fills a pipe must not hang in it. So much in a row, and others have their turn.
func (k *keeper) hearProbe(p *probe) {
	for n := 0; n < perTurn && p.out >= 0; n++ {
		n, err := sys.Again(func() (int, error) { return syscall.Read(p.out, k.frame) })
		switch {
		case errors.Is(err, syscall.EAGAIN):
			return
		case err != nil || n == 0:
			k.Unwatch(&p.out)
		default:
			p.text = append(p.text, k.frame[:min(n, maxOutput-len(p.text))]...)
		}
	}
}

// probeEnded is called before pid is reaped.
func (k *keeper) probeEnded(pid int, x keeperwire.Exit) {
	for p := range k.probes {
		if p.pid == pid {
			k.hearStage(&p.proc)
			k.hearProbe(p)
			x.Reason, x.Asked, x.Stage = p.exit.Reason, p.exit.Asked, p.failed
			p.exit, p.pid, p.due = x, 0, k.Clock+lookMin
		}
	}
}

// lookAtProbe kills a probe whose time is over, and what is left of one that has
// ended; when nothing is left, its end is told.
func (k *keeper) lookAtProbe(p *probe) {
	switch {
	case k.Clock < p.due:
	case p.pid > 0:
		p.exit.Asked, p.exit.Reason = true, "timeout"
		k.trees.Kill(p.tree)
		_ = sys.PidfdSignal(p.pidfd, syscall.SIGKILL)
		p.due = k.Clock + lookMax
	case k.trees.Alive(p.tree) && k.Clock < p.until+codeWait:
		k.trees.Kill(p.tree)
		p.due = k.Clock + lookMin*5
	default:
		k.endProbe(p)
	}
}

func (k *keeper) endProbe(p *probe) {
	for _, fd := range []*int{&p.pidfd, &p.link, &p.out} {
		k.Unwatch(fd)
	}
	delete(k.probes, p)
	if p.tree.Cgroup != "" {
		k.trees.Clear(p.tree.Cgroup)
	}
	if s := k.slots[p.ask.ID]; s != nil {
		k.tell(s, keeperwire.Event{Kind: keeperwire.EvProbed, N: p.ask.N, PID: p.exit.PID, Exit: p.exit, Text: p.text})
	}
}
