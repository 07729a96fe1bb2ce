package keeper

import (
	"errors"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/backstay/backstay/host/proc/keeper/pump"
	"github.com/backstay/backstay/host/proc/keeper/records"
	"github.com/backstay/backstay/host/proc/keeper/sys"
	"github.com/backstay/backstay/host/proc/keeper/trees"
	"github.com/backstay/backstay/internal/keeperwire"
)

// Version is what the keeper speaks, "1.0".
func Version() string {
	return strconv.Itoa(keeperwire.Version>>8) + "." + strconv.Itoa(keeperwire.Version&0xff)
}

// keeper is the loop and all that it owns.
type keeper struct {
	*sys.Loop

	dir      string
	boot     string
	gen      uint64
	state    *records.State
	ring     *records.Ring
	trees    *trees.Forest
	pumper   *pump.Pumper
	listener int

	slots  map[string]*slot
	places []*slot // by place in the state file; nil is free
	pids   map[int]*slot
	turns  []*slot // that wait to be started
	probes map[*probe]bool
	conns  map[int]*conn  // by descriptor
	fds    map[string]int // held for others, by name

	sweepAt time.Duration
	null    int
	frame   []byte // for frames that come in
	out     []byte // and go out
	dice    uint64
	unfed   bool // there are events that no client has got
	drains  bool // and last words that may not be in the log yet
	leaving bool // PID 1 was told to end: when all have
	left    bool // leave now
}

// Run keeps dir until it is told to leave, or finds a keeper that is as good.
func Run(dir string) error {
	settle()
	_ = sys.Spill("/proc/self/comm", "backstay-keeper") // what settle has made "exe"
	k, err := newKeeper(dir)
	if err != nil {
		return err
	}
	if locked, err := k.take(); !locked {
		return err
	}
	sys.ReserveThreads()
	if err := k.begin(); err != nil {
		return err
	}
	for !k.left {
		k.At(k.soonest())
		if err := k.Turn(k.timers); err != nil {
			return err
		}
		k.nextTurns()
		k.feedAll()
	}
	k.trees.Clear("") // what is empty; the next keeper makes what it needs
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
		return nil, sys.Fail("open "+dir, errors.New("want an absolute path"))
	}
	k := &keeper{
		dir: strings.TrimRight(dir, "/"), slots: map[string]*slot{}, pids: map[int]*slot{}, probes: map[*probe]bool{},
		conns: map[int]*conn{}, fds: map[string]int{}, frame: make([]byte, keeperwire.MaxFrame), dice: uint64(sys.Wall()) | 1,
	}
	b, err := sys.Slurp("/proc/sys/kernel/random/boot_id", make([]byte, 64))
	if err != nil {
		return nil, sys.Fail("read boot id", err)
	}
	k.boot = strings.TrimSpace(string(b))
	_ = syscall.Mkdir(k.dir, 0o700)
	if err := sys.Mkdir(k.dir + "/i"); err != nil {
		return nil, sys.Fail("make "+k.dir+"/i", err)
	}
	return k, nil
}

// begin opens what a keeper has, adopts what runs, and starts what must.
func (k *keeper) begin() (err error) {
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, sys.PrSubreaper, 1, 0)
	var same bool
	if k.state, k.gen, same, err = records.OpenState(k.dir+"/state", k.boot); err != nil {
		return err
	}
	if k.ring, err = records.OpenRing(k.dir + "/events"); err != nil {
		return sys.Fail("open events", err)
	}
	if k.null, err = sys.Open("/dev/null", syscall.O_RDWR, 0); err != nil {
		return sys.Fail("open /dev/null", err)
	}
	if k.Loop, err = sys.NewLoop(); err != nil {
		return err
	}
	k.pumper, err = pump.New(func(place int, id string, total uint64, why string, tell bool) {
		k.Do(func() { k.lost(place, id, total, why, tell) })
	})
	if err != nil {
		return err
	}
	k.hear()
	if err := k.listen(); err != nil { // before anything is started: who cannot be found leaves nothing behind
		return err
	}
	k.trees = trees.New(k.dir, "backstay-"+hex(keeperwire.Sum([]byte(k.dir))))
	k.trees.Foster, k.trees.Main = keeperwire.AgentID, func(pid int) string {
		if s := k.pids[pid]; s != nil {
			return s.rec.Slot.ID
		}
		return ""
	}
	k.adopt(same)
	k.bootFile()
	return nil
}

func hex(v uint64) string {
	s := strconv.FormatUint(v, 16)
	return strings.Repeat("0", 16-len(s)) + s
}

// lateWake is how late a timer may be before it says that we, or the host, were
// stopped: then nobody else's silence counts.
const lateWake = time.Second

// timers does what is due.
func (k *keeper) timers(late time.Duration) {
	for _, s := range k.slots {
		if late > lateWake {
			s.heard = k.Clock
		}
		k.ticked(s)
	}
	for p := range k.probes {
		k.lookAtProbe(p)
	}
	if k.sweepAt > 0 && k.Clock >= k.sweepAt {
		k.sweepAt = 0
		k.sweep()
	}
}

// strangersLive is how long processes of our trees that no record knows may go on:
// so long an older keeper or a person may need to claim them.
const strangersLive = 10 * time.Second

func (k *keeper) sweep() {
	known := make([]string, 0, 2*len(k.slots))
	for _, s := range k.slots {
		known = append(known, s.rec.Cgroup, s.spec.Cgroup)
	}
	k.trees.Sweep(known)
}

// soonest is when timers has something to do.
func (k *keeper) soonest() time.Duration {
	t := k.sweepAt
	for _, s := range k.places {
		if s != nil {
			t = soonest(t, s.due())
		}
	}
	for p := range k.probes {
		t = soonest(t, p.due)
	}
	return t
}

// soonest is the first of ts; 0 is never.
func soonest(ts ...time.Duration) (first time.Duration) {
	for _, t := range ts {
		if t > 0 && (first == 0 || t < first) {
			first = t
		}
	}
	return first
}

// chance is the restart machine's jitter: spread, not secret (xorshift).
func (k *keeper) chance() float64 {
	k.dice ^= k.dice << 13
	k.dice ^= k.dice >> 7
	k.dice ^= k.dice << 17
	return float64(k.dice>>11) / (1 << 53)
}

// hear has signals arrive as jobs. A signalfd would need them blocked in every
// thread, which the Go runtime does not offer.
func (k *keeper) hear() {
	c := make(chan os.Signal, 16)
	signal.Notify(c, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGCHLD)
	signal.Ignore(syscall.SIGPIPE, syscall.SIGXFSZ) // a client that went, a log too large: both are answers of write
	go func() {
		for sig := range c {
			k.Do(func() { k.signalled(sig) })
		}
	}()
}

// signalled acts on a signal. Told to end, the keeper leaves its children, whom
// the next one adopts; PID 1 of a container takes them along, so it stops them.
func (k *keeper) signalled(sig os.Signal) {
	switch {
	case sig == syscall.SIGCHLD:
		k.reap()
	case sig == syscall.SIGHUP:
		if s := k.slots[keeperwire.AgentID]; s != nil {
			_ = sys.PidfdSignal(s.pidfd, syscall.SIGHUP)
		}
	case syscall.Getpid() != 1:
		sys.Say("told to end; the children stay")
		k.left = true
	default:
		k.leaving = true
		for _, s := range k.slots {
			k.stop(s, "the container ends")
		}
		k.leaveIfAlone()
	}
}

func (k *keeper) leaveIfAlone() {
	busy := false
	for _, s := range k.slots {
		busy = busy || s.busy()
	}
	k.left = k.left || k.leaving && !busy
}
