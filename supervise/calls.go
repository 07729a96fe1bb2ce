package supervise

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/internal/keeperwire"
)

// Apply takes what the file says about all services. What applies to instances
// as they run is in force when it returns; a change of their release is deploy's.
// A service that is no longer in it keeps its instances until they are stopped.
func (s *Supervisor) Apply(ctx context.Context, services map[string]Service) error {
	services = maps.Clone(services)
	err := s.ask(ctx, func(now time.Time) error {
		s.fleet.apply(now, services, s.opt.Rand.Float64)
		return nil
	})
	if err != nil {
		return fmt.Errorf("apply services: %w", err)
	}
	return nil
}

// Feed takes what the keeper says has happened, in its order. When it returns
// the event may be acknowledged: what it leads to is in the slots as well.
func (s *Supervisor) Feed(ev keeperwire.Event) {
	if ev.Kind == keeperwire.EvProbed {
		s.asks.answer(ev)
		return
	}
	if ours(ev.ID) {
		return
	}
	if ev.Kind == keeperwire.EvLogDropped {
		s.dropped(ev)
		return
	}
	s.inbox.feed(s.on(ev.ID, func(now time.Time, m *machine) { s.heard(now, m, ev) }))
}

func (s *Supervisor) heard(now time.Time, m *machine, ev keeperwire.Event) {
	r := run{starts: ev.Starts, failures: int(ev.Failures), pid: int(ev.PID), at: unixNano(ev.At), why: string(ev.Text)}
	before := m.runs()
	switch ev.Kind {
	case keeperwire.EvStarted:
		m.begun(now, r)
	case keeperwire.EvExited:
		r.remains = ev.State == keeperwire.Stopping
		m.ended(now, r, ExitOf(ev.Exit))
		if ev.State == keeperwire.Backoff || ev.State == keeperwire.Failed || ev.State == keeperwire.Completed {
			m.moved(now, stateOf(ev.State), r, nextStart(ev))
		}
	case keeperwire.EvState:
		m.moved(now, stateOf(ev.State), r, nextStart(ev))
	default:
	}
	if !m.killing {
		s.lane(m.id).drop(doKill) // it was meant for a run that is over
	}
	if runs := m.runs(); runs > max(before, 1) {
		s.metrics.restarts.WithLabelValues(m.meta.Service).Add(float64(runs - max(before, 1)))
	}
}

// nextStart is when the next start is due, by the wall clock.
func nextStart(ev keeperwire.Event) time.Time {
	if ev.NextStart == 0 {
		return time.Time{}
	}
	return time.Unix(0, ev.At+ev.NextStart-ev.Boot)
}

// Missed takes an event that is older than the slots that were adopted: it tells
// people what happened while no agent was there, and changes nothing. Of an
// instance that is gone it tells nothing: the agent that removed it knew its end.
func (s *Supervisor) Missed(ev keeperwire.Event) {
	if ev.Kind == keeperwire.EvLogDropped && !ours(ev.ID) {
		s.dropped(ev)
		return
	}
	if ev.Kind != keeperwire.EvExited || ours(ev.ID) {
		return
	}
	exit := ExitOf(ev.Exit)
	s.inbox.feed(s.on(ev.ID, func(_ time.Time, m *machine) {
		from, to := m.ending(ev.Starts)
		if to == "" {
			return
		}
		s.opt.Events.Record(backstay.Event{
			At: exit.At, Kind: backstay.StateChanged, Ref: m.ref(), From: string(from), To: string(to), Actor: "supervise",
			Because: "while no agent was there: " + cause(exit, 0),
		})
	}))
}

// dropped tells people that the log of an instance has a hole.
func (s *Supervisor) dropped(ev keeperwire.Event) {
	s.opt.Events.Record(backstay.Event{
		At: unixNano(ev.At), Kind: backstay.LogDropped, Ref: backstay.NewRef("service", serviceOf(ev.ID), ev.ID), Actor: "supervise",
		Because: lossText(ev),
	})
}

func lossText(ev keeperwire.Event) string {
	text := fmt.Sprintf("%d bytes of its log were lost so far", ev.N)
	if len(ev.Text) == 0 {
		return text + ", and it is written again"
	}
	return text + ": " + string(ev.Text)
}

// Start makes a new instance of rel and returns its id once the keeper has it:
// accepted and durable. It runs as soon as what it depends on is there.
func (s *Supervisor) Start(ctx context.Context, rel backstay.Release) (id string, err error) {
	p := &place{}
	err = s.ask(ctx, func(now time.Time) (err error) {
		*p, err = s.reserve(now, rel)
		return err
	})
	if err == nil {
		err = s.put(ctx, rel, p)
	}
	if err != nil {
		s.inbox.post(func(now time.Time) { s.abandon(now, p.id) }) //nolint:contextcheck // it hangs on Run's
		return "", fmt.Errorf("start instance of %s: %w", rel.ID(), err)
	}
	return p.id, nil
}

// put hands the keeper the instance that p is for, and takes it in.
func (s *Supervisor) put(ctx context.Context, rel backstay.Release, p *place) error {
	spec, err := s.resolve(rel, p.id, &p.made, p.conf)
	if err != nil {
		return err
	}
	if err := s.opt.Keeper.Put(ctx, spec); err != nil {
		return err //nolint:wrapcheck // it tells its story
	}
	return s.ask(ctx, func(now time.Time) error {
		s.enter(now, p, rel)
		return nil
	})
}

// place is what a new instance has before it is one.
type place struct {
	id   string
	made meta
	conf Service
}

// reserve finds a name and ports for a new instance of rel.
func (s *Supervisor) reserve(now time.Time, rel backstay.Release) (place, error) {
	conf, ok := s.fleet.services[rel.Service]
	if !ok {
		return place{}, &backstay.Problem{
			Code: "not_found", What: "there is no service " + rel.Service, Where: "service/" + rel.Service,
			Do: "write it into the file and apply it",
		}
	}
	id := ""
	for id == "" || s.fleet.machines[id] != nil || s.reserved[id] {
		id = fmt.Sprintf("%s-%06x", rel.Service, s.opt.Rand.Uint32N(1<<24))
	}
	got, ok := s.ports.give(now, id, rel.Ports)
	if !ok {
		return place{}, portsUsed(rel.Service)
	}
	s.reserved[id] = true
	made := meta{Service: rel.Service, Release: rel.ID(), Ports: got, Ready: rel.Ready, policy: policyFrom(conf)}
	return place{id: id, made: made, conf: conf}, nil
}

// resolve returns how the keeper is to run id. It may block.
func (s *Supervisor) resolve(rel backstay.Release, id string, made *meta, conf Service) (keeperwire.Spec, error) {
	spec, err := s.opt.Resolver.Spec(rel, id, maps.Clone(made.Ports))
	if err != nil {
		return spec, fmt.Errorf("resolve: %w", err)
	}
	if spec, err = dress(spec, conf); err != nil {
		return spec, err
	}
	spec.ID, made.LogFile = id, spec.LogFile
	spec.Meta, err = made.encode()
	return spec, err
}

// abandon gives up an instance that could not be put. The keeper may have it all
// the same, where its answer was lost.
func (s *Supervisor) abandon(now time.Time, id string) {
	if !s.reserved[id] {
		return // it never was, or it has been taken in after all
	}
	delete(s.reserved, id)
	s.ports.drop(now, id)
	s.spawn(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, abandonWithin)
		defer cancel()
		if err := s.opt.Keeper.Remove(ctx, id); err != nil && !noSlot(err) && ctx.Err() == nil {
			s.opt.Log.DebugContext(ctx, "slot not removed", "instance", id, "err", err)
		}
	})
}

// abandonWithin bounds the attempt: where it fails the next list shows the slot.
const abandonWithin = 10 * time.Second

func (s *Supervisor) enter(now time.Time, p *place, rel backstay.Release) {
	delete(s.reserved, p.id)
	l := s.lane(p.id)
	l.rel, l.put = &rel, now
	m := newMachine(p.id, p.made, now)
	m.tell()
	s.fleet.add(now, m, 0)
}

// Stop has instance id leave for good: withdrawn from every proxy, drained, told,
// killed, forgotten. It returns once that is accepted and survives us; [Changed]
// and [Instances] tell when it is gone.
func (s *Supervisor) Stop(ctx context.Context, id, reason string) error {
	return s.durable(ctx, "stop", id, func(now time.Time, m *machine) error {
		m.depart(now, reason)
		return nil
	})
}

// Restart kills the tree of instance id and starts it anew: same id, ports and
// log file. One that waits goes on waiting.
func (s *Supervisor) Restart(ctx context.Context, id, reason string) error {
	return s.durable(ctx, "restart", id, func(now time.Time, m *machine) error {
		if m.leave != stay {
			return leavingProblem(id)
		}
		m.restart(now, reason)
		return nil
	})
}

// StartAgain starts instance id at once if it has ended, failed or waits for its
// next start. One that waits for what it depends on goes on waiting.
func (s *Supervisor) StartAgain(ctx context.Context, id string) error {
	return s.durable(ctx, "start", id, func(_ time.Time, m *machine) error {
		if m.leave != stay {
			return leavingProblem(id)
		}
		m.again("start was asked for")
		return nil
	})
}

// Drain takes instance id out of traffic for who, until [Supervisor.Undrain]; it
// runs on. An agent that comes after this one knows.
func (s *Supervisor) Drain(ctx context.Context, id, who string) error {
	return s.durable(ctx, "drain", id, func(_ time.Time, m *machine) error {
		m.setDrained(true, "drained by "+who)
		return nil
	})
}

// Undrain ends [Supervisor.Drain].
func (s *Supervisor) Undrain(ctx context.Context, id string) error {
	return s.durable(ctx, "undrain", id, func(_ time.Time, m *machine) error {
		if m.leave != stay {
			return leavingProblem(id)
		}
		m.setDrained(false, "drained no more")
		return nil
	})
}

// durable has f done and returns when the keeper has the note of it.
func (s *Supervisor) durable(ctx context.Context, verb, id string, f func(time.Time, *machine) error) error {
	noted := make(chan struct{})
	err := s.ask(ctx, func(now time.Time) error { //nolint:contextcheck // what it begins hangs on Run's
		m := s.fleet.machines[id]
		if m == nil {
			return notFound(id)
		}
		if err := f(now, m); err != nil {
			return err
		}
		s.fleet.touch(m)
		s.carryAll(now)
		s.lane(id).waitForNote(noted)
		return nil
	})
	if err == nil {
		select {
		case <-noted:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", verb, id, err)
	}
	return nil
}

// StopAll stops every instance, dependants before what they depend on, and
// returns when all are gone.
func (s *Supervisor) StopAll(ctx context.Context, reason string) error {
	for {
		changed := s.Changed()
		left := 0
		err := s.ask(ctx, func(now time.Time) error {
			left = len(s.fleet.machines)
			for _, id := range s.fleet.next() {
				s.fleet.machines[id].depart(now, reason)
				s.fleet.touch(s.fleet.machines[id])
			}
			return nil
		})
		if err != nil || left == 0 {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("stop all: %s left: %w", count(left, "instance", "instances"), ctx.Err())
		}
	}
}

// Instances returns all instances there are, by service and id.
func (s *Supervisor) Instances() []backstay.Instance { return s.board.list("") }

// Of returns the instances of one service, by id.
func (s *Supervisor) Of(service string) []backstay.Instance { return s.board.list(service) }

// Changed returns a channel that is closed at the next change of an instance.
// Ask for it first, then look at [Supervisor.Instances], then wait.
func (s *Supervisor) Changed() <-chan struct{} { return s.board.next() }
