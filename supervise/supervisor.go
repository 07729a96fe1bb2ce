package supervise

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/internal/keeperwire"
)

// Supervisor runs the instances of this node.
type Supervisor struct {
	opt     Options
	inbox   *inbox
	board   *board
	asks    *asks
	metrics *metrics

	// The rest belongs to Run's goroutine.
	fleet    *fleet
	ports    *ports
	lanes    map[string]*lane
	reserved map[string]bool // ids that are being started
	replies  []func()        // to be given once everybody can see what has come of it
	ctx      context.Context //nolint:containedctx // of the present Run: what is begun ends with it
	begun    sync.WaitGroup  // what this Run has begun
}

// New returns a supervisor of no instances. It begins nothing.
func New(opt Options) *Supervisor {
	if opt.Events == nil {
		opt.Events = backstay.Discard
	}
	if opt.Log == nil {
		opt.Log = slog.Default()
	}
	if opt.Rand == nil {
		opt.Rand = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
	}
	if opt.Release == nil {
		opt.Release = func(string) (backstay.Release, bool) { return backstay.Release{}, false }
	}
	s := &Supervisor{
		opt: opt, inbox: newInbox(), board: newBoard(), asks: newAsks(), fleet: newFleet(),
		ports: newPorts(opt.Ports.Free, opt.Rand.IntN(lastPort-firstPort+1)),
		lanes: map[string]*lane{}, reserved: map[string]bool{},
	}
	s.metrics = newMetrics(s.board)
	if opt.Metrics != nil {
		opt.Metrics.MustRegister(s.metrics)
	}
	return s
}

// Run supervises until ctx is done; instances stay as they are. It may be called
// again then, and goes on where it was. It returns when all it began has ended.
func (s *Supervisor) Run(ctx context.Context, ready func()) error {
	s.ctx = ctx
	defer s.begun.Wait()
	s.resume() //nolint:contextcheck // it is s.ctx
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		now := time.Now()
		for _, f := range s.inbox.take() {
			f(now)
		}
		s.fleet.tick(now)
		s.work(now) //nolint:contextcheck // it is s.ctx
		ready()     // what was adopted before is there now: nobody may take it for missing
		if at := s.fleet.due(); !at.IsZero() {
			timer.Reset(time.Until(at))
		}
		select {
		case <-s.inbox.awake:
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	return nil
}

// work has done what the fleet wants, shows what has come of it, and answers
// those who asked.
func (s *Supervisor) work(now time.Time) {
	s.carryAll(now)
	for _, m := range s.fleet.look() {
		s.show(m)
	}
	for _, reply := range s.replies {
		reply()
	}
	s.replies = s.replies[:0]
}

func (s *Supervisor) carryAll(now time.Time) {
	for _, o := range s.fleet.take(now) {
		s.carry(o)
	}
}

func (s *Supervisor) show(m *machine) {
	if s.fleet.machines[m.id] != m {
		return // it is gone, and taken down already
	}
	s.board.put(m.view())
	if l := s.lanes[m.id]; l != nil && l.chain != m.chain && l.endChain != nil {
		l.endChain() // nobody waits for these answers any more
		l.endChain = nil
	}
}

// carry has o done: what returns at once here, the rest beside.
func (s *Supervisor) carry(o order) {
	switch o.do {
	case doSet:
		s.opt.Registry.Set(o.end)
	case doRestore:
		s.opt.Registry.Restore(o.m.id)
	case doForget:
		s.opt.Registry.Remove(o.m.id)
	case doRecord:
		s.tellPeople(o)
	case doPut, doStart, doStop, doKill, doRemove, doReady, doNote:
		s.push(o.m, o.effect)
	case doWithdraw:
		s.withdraw(o.m, o.effect)
	case doDrain:
		s.drain(o.m, o.effect)
	case doProbe:
		s.probe(o.m, o.probe)
	case doTail:
		s.tail(o.m)
	case doGone:
		s.gone(o.m)
	default:
		panic("supervise: nobody does " + o.String())
	}
}

// tellPeople records e. It is not logged beside that: the events are on disk as
// well, and each line of ours is work for the keeper.
func (s *Supervisor) tellPeople(o order) {
	s.opt.Events.Record(o.event)
	s.metrics.count(o.event)
}

// gone takes down all that was kept about m.
func (s *Supervisor) gone(m *machine) {
	s.ports.drop(time.Now(), m.id)
	if l := s.lanes[m.id]; l != nil {
		l.end()
		delete(s.lanes, m.id)
	}
	s.board.drop(m.id)
}

// spawn does f beside the owner. Its ctx ends with Run, which waits for it.
func (s *Supervisor) spawn(f func(ctx context.Context)) {
	ctx := s.ctx
	s.begun.Go(func() { f(ctx) })
}

// resume goes on with what the Run before this one had under way.
func (s *Supervisor) resume() {
	for _, m := range s.fleet.sorted() {
		m.resume()
		s.fleet.touch(m)
	}
	for id, l := range s.lanes {
		s.launch(id, l)
	}
}

// on has the owner do f with the machine called id, if it is still there.
func (s *Supervisor) on(id string, f func(now time.Time, m *machine)) func(time.Time) {
	return func(now time.Time) {
		if m := s.fleet.machines[id]; m != nil {
			f(now, m)
			s.fleet.touch(m)
		}
	}
}

// Adopt takes over the instances that a keeper has. The same as Resync: a new
// agent knows nothing yet.
func (s *Supervisor) Adopt(slots []keeperwire.Slot) { s.Resync(slots) }

// Resync takes the whole list of slots: after events were lost, or with a new
// keeper. It returns at once, before Run too.
func (s *Supervisor) Resync(slots []keeperwire.Slot) {
	s.inbox.post(func(now time.Time) { s.resync(now, slots) })
}

func (s *Supervisor) resync(now time.Time, slots []keeperwire.Slot) {
	there := map[string]bool{}
	for _, slot := range slots {
		there[slot.ID] = true
		switch m := s.fleet.machines[slot.ID]; {
		case ours(slot.ID) || s.reserved[slot.ID]:
		case m != nil:
			m.reconcile(now, slot)
			s.fleet.touch(m)
		default:
			s.adopt(now, slot)
		}
	}
	for id, m := range s.fleet.machines {
		if !there[id] && now.Sub(s.lane(id).put) > listAge {
			m.lost(now)
			s.fleet.touch(m)
		}
	}
}

// listAge is how old a list of slots may be when it arrives: what was put later
// need not be in it.
const listAge = 5 * time.Second

func (s *Supervisor) adopt(now time.Time, slot keeperwire.Slot) {
	m := adopt(now, slot)
	s.ports.keep(m.id, m.meta.Ports)
	s.lane(m.id)
	m.tell()
	m.resume()
	s.fleet.add(now, m, s.opt.Rand.Float64())
	s.opt.Log.Info("instance found", "instance", m.id, "state", string(m.state), "ready", m.ready, "pid", m.pid)
}

// ours reports whether id is a role of Backstay: the daemon's business.
func ours(id string) bool { return len(id) > len(rolePrefix) && id[:len(rolePrefix)] == rolePrefix }

// rolePrefix begins the ids of roles; no service is called backstay.
const rolePrefix = "backstay-"
