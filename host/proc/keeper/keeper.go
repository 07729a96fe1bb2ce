package keeper

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/backstay/backstay/internal/keeperwire"
)

// Version is what the keeper speaks, "1.0".
func Version() string {
	return strconv.Itoa(keeperwire.Version>>8) + "." + strconv.Itoa(keeperwire.Version&0xff)
}

// Who an epoll event is for.
const (
	forTimer = iota
	forSignal
	forListener
	forConn // place in conns
	forPid  // place in slots
	forLink // place in slots
	forPumper
	forProbe // place in probes: its end
	forProbeLink
	forProbeOut
)

// keeper is the loop and all that it owns.
type keeper struct {
	dir   string
	boot  string
	gen   uint64
	lock  int
	state *state
	ring  *ring
	cg    cgroups

	ep, timer, listener int
	due                 time.Duration // when the timer is set for; 0 is never
	clock               time.Duration // of this turn of the loop

	slots  map[string]*slot
	places []*slot // by place in the state file; nil is free
	pids   map[int]*slot
	probes []*probe
	conns  []*conn
	fds    map[string]int // held for others, by name

	strangers   []string
	strangersAt time.Duration
	pumper      *pumper
	news        int // where it is heard
	signals     *signals
	null        int
	peeked      []byte
	frame       []byte // for frames that come in
	out         []byte // and go out
	dice        uint64
	turns       []*slot // that wait to be started
	build       uint64
	leaving     bool // PID 1 was told to end: when all have
	left        bool // leave now
}

// Run keeps dir until it is told to leave, or finds a keeper that is as good.
func Run(dir string) error {
	settle()
	_ = spill("/proc/self/comm", "backstay-keeper") // what settle has made "exe"
	k, err := newKeeper(dir)
	if k == nil || err != nil {
		return err
	}
	if err := k.begin(); err != nil {
		return err
	}
	for !k.left {
		if err := k.turn(); err != nil {
			return err
		}
	}
	if k.cg.base != "" {
		k.cg.rmdirs("") // what is empty; the next keeper makes what it needs
	}
	return nil
}

// percent is how much garbage the runtime lets grow beside what lives: a quarter,
// which keeps a thousand children in a few megabytes.
const percent = "GOGC=25"

// settle gives the runtime its settings by the environment, the only way to them
// without runtime/debug, which links fmt.
func settle() {
	env := []string{percent, "GOMAXPROCS=2"}
	for _, v := range os.Environ() {
		switch {
		case v == percent:
			return
		case strings.HasPrefix(v, "BACKSTAY_"): // started by the agent, it is no part of the agent
		case strings.HasPrefix(v, "GOGC="), strings.HasPrefix(v, "GOMEMLIMIT="), strings.HasPrefix(v, "GOMAXPROCS="):
		default:
			env = append(env, v)
		}
	}
	_ = syscall.Exec("/proc/self/exe", os.Args, env) // on failure: go on as we are
}

func newKeeper(dir string) (*keeper, error) {
	if !strings.HasPrefix(dir, "/") {
		return nil, failure{"open " + dir, "want an absolute path"}
	}
	k := &keeper{
		dir: strings.TrimRight(dir, "/"), slots: map[string]*slot{}, pids: map[int]*slot{}, fds: map[string]int{},
		peeked: make([]byte, peekSize), frame: make([]byte, keeperwire.MaxFrame), dice: uint64(wall()) | 1,
	}
	b, err := slurp("/proc/sys/kernel/random/boot_id", make([]byte, 64))
	if err != nil {
		return nil, failure{"read boot id", named(err)}
	}
	k.boot = strings.TrimSpace(string(b))
	_ = syscall.Mkdir(k.dir, 0o700)
	if err := mkdir(k.dir + "/i"); err != nil {
		return nil, failure{"make " + k.dir + "/i", named(err)}
	}
	return k, k.take()
}

// failure is an error with its story: "open /run/x: EACCES (permission denied)".
type failure struct{ did, why string }

func (f failure) Error() string { return f.did + ": " + f.why }

// begin opens what a keeper has, adopts what runs, and starts what must.
func (k *keeper) begin() error {
	if k.lock < 0 { // somebody else keeps it
		k.left = true
		return nil
	}
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, prSubreaper, 1, 0)
	st, gen, same, err := openState(k.dir+"/state", k.boot)
	if err != nil {
		return err
	}
	k.state, k.gen = st, gen
	if k.ring, err = openRing(k.dir + "/events"); err != nil {
		return failure{"open events", named(err)}
	}
	k.cg = findCgroups("backstay-" + hex(keeperwire.Sum([]byte(k.dir))))
	if err := k.open(); err != nil {
		return err
	}
	k.clock = boottime()
	k.adopt(same)
	k.bootFile()
	return k.listen()
}

// open makes what the loop needs.
func (k *keeper) open() (err error) {
	if k.ep, err = syscall.EpollCreate1(syscall.EPOLL_CLOEXEC); err != nil {
		return failure{"epoll", named(err)}
	}
	if k.timer, err = timerfd(); err != nil {
		return failure{"timerfd", named(err)}
	}
	if k.null, err = syscall.Open("/dev/null", syscall.O_RDWR|syscall.O_CLOEXEC, 0); err != nil {
		return failure{"open /dev/null", named(err)}
	}
	if k.pumper, k.news, err = newPumper(); err != nil {
		return err
	}
	if k.signals, err = hear(); err != nil {
		return failure{"pipe", named(err)}
	}
	k.watch(k.timer, forTimer, 0)
	k.watch(k.signals.out, forSignal, 0)
	k.watch(k.news, forPumper, 0)
	return nil
}

func hex(v uint64) string {
	s := strconv.FormatUint(v, 16)
	return strings.Repeat("0", 16-len(s)) + s
}

// watch has the loop woken when fd can be read.
func (k *keeper) watch(fd, who, place int) {
	if err := k.control(syscall.EPOLL_CTL_ADD, fd, who, place, syscall.EPOLLIN); err != nil {
		say("watch a descriptor:", named(err))
	}
}

func (k *keeper) control(op, fd, who, place int, events uint32) error {
	ev := syscall.EpollEvent{Events: events, Fd: int32(who), Pad: int32(place)}
	return syscall.EpollCtl(k.ep, op, fd, &ev)
}

// unwatch closes fd, which ends its watch: nobody else has this description open.
func (k *keeper) unwatch(fd *int) {
	if *fd >= 0 {
		_ = syscall.EpollCtl(k.ep, syscall.EPOLL_CTL_DEL, *fd, nil)
	}
	closeFD(fd)
}

func (k *keeper) now() time.Duration { return k.clock }

// at wakes the loop at t or before; 0 is never.
func (k *keeper) at(t time.Duration) {
	if t > 0 && (k.due == 0 || t < k.due) {
		k.due = t
		setTimer(k.timer, t)
	}
}

// turn is one round of the loop: messages and ends first, then what is due, so
// that a word that came in time counts however late we are.
func (k *keeper) turn() error {
	var events [64]syscall.EpollEvent
	n, err := syscall.EpollWait(k.ep, events[:], -1)
	if err != nil && err != syscall.EINTR {
		return failure{"epoll_wait", named(err)}
	}
	k.clock = boottime()
	for _, ev := range events[:max(n, 0)] {
		k.dispatch(int(ev.Fd), int(ev.Pad), ev.Events)
	}
	if k.due > 0 && k.clock >= k.due {
		k.timers()
	}
	k.nextTurns()
	return nil
}

func (k *keeper) dispatch(who, place int, events uint32) {
	switch who {
	case forTimer:
		var b [8]byte
		_, _ = syscall.Read(k.timer, b[:])
	case forSignal:
		k.signalled()
	case forListener:
		k.accept()
	case forConn:
		k.serve(place, events)
	case forPid:
		k.died(k.places[place])
	case forLink:
		k.staged(k.places[place])
	case forPumper:
		for _, n := range k.pumper.heard(k.news) {
			k.lost(n.place, n.id, n.total)
		}
	case forProbe, forProbeLink, forProbeOut:
		k.probed(k.probes[place], who)
	}
}

// lateWake is how late a timer may be before it says that we, or the host, were
// stopped: then nobody else's silence counts.
const lateWake = time.Second

// timers does what is due, and sets the timer for what is due next.
func (k *keeper) timers() {
	late := k.clock-k.due > lateWake
	k.due = 0
	setTimer(k.timer, 0)
	for _, s := range k.slots {
		if late {
			s.heard = k.clock
		}
		k.ticked(s)
	}
	for _, p := range k.probes {
		if p != nil {
			k.probeTicked(p)
		}
	}
	if k.strangersAt > 0 && k.clock >= k.strangersAt {
		k.killStrangers()
	}
	for _, s := range k.slots {
		k.at(s.due())
	}
	for _, p := range k.probes {
		if p != nil {
			k.at(p.due)
		}
	}
	k.at(k.strangersAt)
}

// chance is the restart machine's jitter: spread, not secret (xorshift).
func (k *keeper) chance() float64 {
	k.dice ^= k.dice << 13
	k.dice ^= k.dice >> 7
	k.dice ^= k.dice << 17
	return float64(k.dice>>11) / (1 << 53)
}
