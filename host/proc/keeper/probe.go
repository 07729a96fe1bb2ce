package keeper

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/backstay/backstay/internal/keeperwire"
)

// Bounds of probes.
const (
	maxProbes    = 256
	maxOutput    = 4 << 10 // of what a probe prints, the first bytes
	probeMax     = time.Minute
	probeDefault = time.Second
)

// probe is a one-shot child in a cgroup of its own below its instance's. When it
// ends, or its time is over, its whole tree is killed.
type probe struct {
	proc
	place  int
	id     string // instance
	name   string
	n      uint64
	cgroup string
	out    int // what it prints
	text   []byte
	exit   keeperwire.Exit
	until  time.Duration // its time
	due    time.Duration // when to look at it
}

// mark is what its processes carry where there is no cgroup.
func (p *probe) mark() string { return p.id + "/probe/" + p.name }

func (k *keeper) probeOf(pid int) *probe {
	for _, p := range k.probes {
		if p != nil && p.pid == pid {
			return p
		}
	}
	return nil
}

// probe begins one.
func (k *keeper) probe(ask *keeperwire.Probe) (code, text string) {
	s := k.slots[ask.ID]
	switch {
	case !keeperwire.Label(ask.Name):
		return "bad_probe", "want a name of letters, digits, - and _"
	case len(ask.Argv) == 0 || !strings.HasPrefix(ask.Argv[0], "/"):
		return "bad_probe", "argv: want an absolute path first"
	case slices.ContainsFunc(append(ask.Argv, ask.Env...), func(v string) bool { return strings.IndexByte(v, 0) >= 0 }):
		return "bad_probe", "a zero byte in argv or env"
	case s == nil:
		return "no_slot", "there is no " + ask.ID
	case s.pid == 0 || s.rec.Slot.State != keeperwire.Running:
		return "not_running", ask.ID + " does not run"
	}
	for _, p := range k.probes {
		if p != nil && p.id == ask.ID && p.name == ask.Name {
			return "busy", "the one before has not ended"
		}
	}
	p, err := k.beginProbe(s, ask)
	if err != nil {
		return "not_started", err.Error()
	}
	k.watch(p.pidfd, forProbe, p.place)
	k.watch(p.link, forProbeLink, p.place)
	k.watch(p.out, forProbeOut, p.place)
	k.at(p.due)
	return "", ""
}

func (k *keeper) beginProbe(s *slot, ask *keeperwire.Probe) (*probe, error) {
	place := slices.Index(k.probes, nil)
	if place < 0 {
		if place = len(k.probes); place == maxProbes {
			return nil, failure{"begin probe", strconv.Itoa(maxProbes) + " are under way"}
		}
		k.probes = append(k.probes, nil)
	}
	limit := min(ms(ask.TimeoutMS), probeMax)
	if limit <= 0 {
		limit = probeDefault
	}
	p := &probe{place: place, id: ask.ID, name: ask.Name, n: ask.N, until: k.now() + limit}
	p.due = p.until
	if s.rec.Cgroup != "" {
		p.cgroup = s.rec.Cgroup + "/probe/" + ask.Name
	}
	var pipe [2]int
	if err := syscall.Pipe2(pipe[:], syscall.O_CLOEXEC|syscall.O_NONBLOCK); err != nil {
		return nil, failure{"pipe", named(err)}
	}
	defer closeFD(&pipe[1])
	_ = syscall.SetNonblock(pipe[1], false)
	spec := keeperwire.Spec{
		Argv: ask.Argv, Env: ask.Env, Dir: ask.Dir, SetIDs: ask.SetIDs, UID: ask.UID, GID: ask.GID, Groups: ask.Groups,
		Umask: 0o022, Nice: s.spec.Nice, OOMScoreAdj: s.spec.OOMScoreAdj, Rlimits: s.spec.Rlimits, Cgroup: p.cgroup,
	}
	started, err := k.spawn(&spec, p.mark(), [3]int{k.null, pipe[1], pipe[1]})
	if err != nil {
		closeFD(&pipe[0])
		return nil, err
	}
	p.proc, p.out = started, pipe[0]
	p.letGo()
	k.probes[place] = p
	return p, nil
}

// probed is told that a probe has printed, failed to start, or ended.
func (k *keeper) probed(p *probe, who int) {
	switch {
	case p == nil:
	case who == forProbe:
		k.reap()
	case who == forProbeLink:
		if p.link >= 0 {
			k.hearStage(&p.proc)
		}
	default:
		k.probeOut(p)
	}
}

// probeOut keeps the first of what it prints, and reads the rest: a probe that
// fills a pipe must not hang in it.
func (k *keeper) probeOut(p *probe) {
	for range wordsEnd {
		n, err := again(func() (int, error) { return syscall.Read(p.out, k.peeked) })
		if errors.Is(err, syscall.EAGAIN) {
			return
		}
		if err != nil || n == 0 {
			k.unwatch(&p.out)
			return
		}
		p.text = append(p.text, k.peeked[:min(n, maxOutput-len(p.text))]...)
	}
}

// probeEnded is called before it is reaped.
func (k *keeper) probeEnded(p *probe, x keeperwire.Exit) {
	if p.link >= 0 {
		k.hearStage(&p.proc)
	}
	if p.out >= 0 {
		k.probeOut(p)
	}
	x.Reason, x.Stage, x.Asked = p.exit.Reason, p.failed, p.exit.Asked
	p.exit, p.pid = x, 0
	p.due = k.now() + lookMin
	k.at(p.due)
}

// probeTicked ends a probe whose time is over, and the tree of one that has
// ended; when nothing of it is left it is told.
func (k *keeper) probeTicked(p *probe) {
	if k.now() < p.due {
		return
	}
	if p.pid > 0 {
		p.exit.Asked, p.exit.Reason = true, "timeout"
		k.killTree(p.cgroup, p.mark())
		_ = pidfdSignal(p.pidfd, syscall.SIGKILL)
		p.due = k.now() + lookMax
		return
	}
	if k.alive(p.cgroup, p.mark()) && k.now() < p.until+codeWait {
		k.killTree(p.cgroup, p.mark())
		p.due = k.now() + lookMin*5
		return
	}
	k.endProbe(p)
}

func (k *keeper) endProbe(p *probe) {
	k.unwatch(&p.pidfd)
	k.unwatch(&p.link)
	k.unwatch(&p.out)
	k.probes[p.place] = nil
	if k.cg.base != "" && p.cgroup != "" {
		k.cg.rmdirs(p.cgroup)
	}
	s := k.slots[p.id]
	if s == nil {
		return
	}
	k.tell(s, keeperwire.Event{Kind: keeperwire.EvProbed, N: p.n, PID: p.exit.PID, Exit: p.exit, Text: p.text})
}
