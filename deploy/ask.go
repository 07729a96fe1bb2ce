package deploy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/backstay/backstay"
)

// Ask is how a deploy is asked for.
type Ask struct {
	Again     bool // the release was rolled back and is tried once more
	Supersede bool // a deploy under way gives way
	By, Why   string
}

// Apply says what is desired of all services. It returns when that is durable
// and the deploys that follow have begun; one that a guard refuses is seen in
// Status. Services that are not in wants any more are stopped.
func (d *Deployer) Apply(ctx context.Context, wants map[string]Want) error {
	var begin, back []string
	err := d.own(ctx, func() error {
		errs := d.take(wants)
		for _, name := range slices.Sorted(maps.Keys(wants)) {
			s := d.services[name]
			switch n := s.rec.newest(); {
			case s.due():
				begin = append(begin, name)
			case s.want != nil && n.Live() && n.Kind == Roll && n.State != RollingBack && n.From == s.wantSeq && n.NoWay == "":
				back = append(back, name)
			}
		}
		return errs
	})
	for _, name := range begin {
		rel := wants[name].Release
		_, e := d.begin(ctx, name, Ask{By: rel.By, Why: rel.Why})
		err = errors.Join(err, unlessProblem(e))
	}
	for _, name := range back {
		_, e := d.abort(ctx, name, wants[name].Release.By, "the file wants the release before again", false)
		err = errors.Join(err, unlessProblem(e))
	}
	return err
}

// unlessProblem drops what is seen in Status: a refused deploy of one service
// does not make a file unacceptable.
func unlessProblem(err error) error {
	if p := new(backstay.Problem); errors.As(err, &p) && p.Code != "disk" {
		return nil
	}
	return err
}

// take puts wants in force.
func (d *Deployer) take(wants map[string]Want) error {
	var errs []error
	instances := d.opt.Pool.Instances()
	for _, name := range slices.Sorted(maps.Keys(wants)) {
		s := d.services[name]
		if s == nil {
			s = d.open(name)
		}
		s.adopt(instances)
		errs = append(errs, s.take(wants[name]))
	}
	for name, s := range d.services {
		if _, wanted := wants[name]; !wanted && !s.gone {
			s.drop()
		}
	}
	return errors.Join(errs...)
}

// take puts w in force for one service. A release that is not known yet gets its
// number.
func (s *service) take(w Want) error {
	if left := s.blocked != nil; left { // said at the start, and by Standing
		return nil
	}
	seq := s.find(w.Release.Digest)
	if seq == 0 {
		rel := w.Release
		rel.Service, rel.Seq = s.name, s.rec.Seq+1
		if rel.At.IsZero() {
			rel.At = s.d.opt.Now()
		}
		if err := s.d.files.saveRelease(rel); err != nil {
			return diskProblem(s.name, err)
		}
		seq = rel.Seq
		s.rels[seq] = rel
		s.rec.Seq = seq
		s.unsaved = true
	}
	s.want, s.wantSeq, s.gone = &w, seq, false
	s.show()
	return nil
}

func (s *service) find(digest string) int {
	for seq, rel := range s.rels {
		if rel.Digest == digest {
			return seq
		}
	}
	return 0
}

// drop has a service stopped that is wanted no more. What is kept of it stays:
// it may come back.
func (s *service) drop() {
	s.want, s.wantSeq, s.gone = nil, 0, true
	s.d.metrics.forget(s.name)
	s.show()
}

// intent is a deploy that is being checked: what it will be if nothing changes
// in the meantime.
type intent struct {
	Deploy

	to, from backstay.Release
	before   string // the newest deploy when it was made
	serves   bool   // From takes requests
	must     bool   // From must be startable, or the deploy does not begin
	refused  *backstay.Problem
}

// Deploy begins to move a service to the release that is wanted. A deploy to the
// same release that is under way is returned as it is.
func (d *Deployer) Deploy(ctx context.Context, name string, ask Ask) (Deploy, error) {
	return d.begin(ctx, name, ask)
}

// tries bounds how often a deploy is checked anew because another change came in
// between.
const tries = 5

// begin checks what Deploy asks for, beside the owner, and has it decide.
func (d *Deployer) begin(ctx context.Context, name string, ask Ask) (Deploy, error) {
	return d.decide(ctx, name, func(s *service) (intent, *Deploy, error) { return s.intend(ask) }, func(in *intent) {
		if err := d.opt.Check.Startable(in.to); err != nil {
			in.refused = asProblem(notStartable(in.to, err))
			return
		}
		if in.From == 0 {
			return
		}
		if err := d.opt.Check.Startable(in.from); err != nil {
			in.NoWay = "there is no way back: " + in.name(in.From) + " could not be started: " + err.Error()
			if in.must && in.serves {
				in.refused = noWayBack(in.from, in.to, err)
			}
		}
	})
}

func asProblem(err error) *backstay.Problem {
	p := new(backstay.Problem)
	if !errors.As(err, &p) {
		p = &backstay.Problem{Code: "internal", What: err.Error()}
	}
	return p
}

// decide has the owner make an intent, checks it beside the owner, and has the
// owner put it in force unless something has changed since.
func (d *Deployer) decide(
	ctx context.Context, name string, intend func(*service) (intent, *Deploy, error), check func(*intent),
) (answer Deploy, err error) {
	for range tries {
		var in intent
		var done *Deploy
		err := d.own(ctx, func() (err error) {
			s, err := d.known(name)
			if err == nil {
				in, done, err = intend(s)
			}
			return err
		})
		if err != nil || done != nil {
			if done != nil {
				answer = *done
			}
			return answer, err
		}
		check(&in)
		if s := in.Service; in.refused == nil {
			in.OldWas, in.NewWas = d.countersOf(s, in.From), d.countersOf(s, in.To)
		}
		fresh := false
		err = d.own(ctx, func() (err error) {
			s := d.services[name]
			if fresh = s.rec.newest().ID == in.before && s.current(in); fresh {
				answer, err = s.begin(in)
			}
			return err
		})
		if fresh || err != nil {
			return answer, err
		}
	}
	return Deploy{}, problem("busy", name, "try again", "what is wanted of %s changes all the time", name)
}

func (d *Deployer) countersOf(name string, seq int) Counters {
	if seq == 0 {
		return Counters{}
	}
	return d.opt.Traffic.Counters(name, backstay.ReleaseID(name, seq))
}

// known returns a service that may be acted upon.
func (d *Deployer) known(name string) (*service, error) {
	s := d.services[name]
	switch {
	case s == nil || s.want == nil && s.blocked == nil:
		return nil, unknownService(name)
	case s.blocked != nil:
		return nil, s.blocked
	}
	return s, nil
}

// current reports whether in still is about what is wanted and in force.
func (s *service) current(in intent) bool {
	if s.want == nil {
		return false
	}
	d := s.rec.newest()
	from := s.rec.Current
	if d.Live() && d.Kind == Rollback {
		from = d.To
	}
	return in.From == from && (in.Kind == Rollback || in.Kind == Restart || in.To == s.wantSeq)
}

// intend works out the deploy of the wanted release, or returns the one that is
// at it already.
func (s *service) intend(ask Ask) (in intent, done *Deploy, err error) {
	d := s.rec.newest()
	u, undone := s.rec.undone(s.want.Release.Digest)
	switch {
	case s.want.replicas() == 0:
		return in, nil, stoppedProblem(s.name)
	case d.Live() && d.To == s.wantSeq && d.Kind != Rollback && d.State != RollingBack:
		return in, &d, nil
	case undone && !ask.Again:
		return in, nil, undoneProblem(s.name, u)
	case d.Live() && !ask.Supersede:
		return in, nil, running(d)
	case !d.Live() && s.wantSeq == s.rec.Current && d.State != Stuck:
		p := problem("nothing_to_deploy", s.name, "change the file or the version; to have new instances: backstay restart "+s.name,
			"%s is at %s already", s.name, backstay.ReleaseID(s.name, s.wantSeq))
		return in, nil, p
	}
	in = s.intent(Roll, s.wantSeq, ask)
	if in.From == 0 {
		in.Kind = First
	}
	in.Proven = slices.Contains(s.rec.Good, in.To)
	in.serves = s.serving(in.From) > 0
	in.must = s.want.Config.OnFailure != "pause"
	return in, nil, nil
}

// intent returns a deploy to release seq from the one in force.
func (s *service) intent(kind Kind, seq int, ask Ask) intent {
	d := s.rec.newest()
	from := s.rec.Current
	if d.Live() && d.Kind == Rollback {
		from = d.To
	}
	in := intent{before: d.ID, to: s.rels[seq], from: s.rels[from]}
	if in.from.Seq == 0 {
		in.from = backstay.Release{Service: s.name, Seq: from}
	}
	in.Deploy = Deploy{
		Service: s.name, Kind: kind, From: from, To: seq, Strategy: s.want.Config.Strategy, State: Rolling,
		By: ask.By, Why: ask.Why, Of: s.want.replicas(), Version: in.to.Version, Was: in.from.Version,
	}
	if c := s.want.Config; c.Strategy == "rolling" && kind != Rollback {
		in.Pace = "+" + c.MaxSurge.String() + "/-" + c.MaxUnavailable.String()
	}
	return in
}

// begin puts in in force.
func (s *service) begin(in intent) (Deploy, error) {
	now := s.d.opt.Now()
	d, rec := in.Deploy, s.rec.clone()
	rec.N++
	d.ID = fmt.Sprintf("%s-d%d", s.name, rec.N)
	d.Started, d.Since = now, now
	was := rec.newest()
	if in.refused != nil {
		return s.refuse(rec, d, in.refused)
	}
	if was.Live() {
		was = was.clone()
		was.State, was.Since, was.Ended, was.Reason = Superseded, now, now, "by "+d.ID
		was.Members, was.Before, was.Away, was.Deadline = nil, nil, nil, time.Time{}
		was.say(now, was.headline(now))
		rec.put(was)
	}
	if d.Kind == Restart {
		for _, i := range s.instances {
			d.Before = append(d.Before, i.ID)
		}
	}
	d.say(now, d.title())
	if d.State == RollingBack {
		d.say(now, d.headline(now))
	}
	rec.redo(in.to.Digest)
	rec.put(d)
	return s.put(rec, d)
}

// put writes a decision down and tells of it.
func (s *service) put(rec record, d Deploy) (Deploy, error) {
	if err := s.d.files.saveRecord(rec); err != nil {
		return Deploy{}, diskProblem(s.name, err)
	}
	was := s.rec.newest()
	s.rec, s.unsaved, s.counting = rec, false, false
	if was.Live() && was.ID != d.ID {
		s.changed(was, s.rec.Deploys[len(s.rec.Deploys)-2])
	}
	s.changed(was, d)
	s.show()
	return d, nil
}

// refuse notes why a deploy does not begin, once.
func (s *service) refuse(rec record, d Deploy, why *backstay.Problem) (Deploy, error) {
	if was := s.rec.newest(); was.State == Refused && was.To == d.To && was.Reason == why.Error() {
		return was, why
	}
	d.State, d.Reason, d.Ended, d.NoWay = Refused, why.Error(), d.Since, ""
	d.say(d.Since, d.headline(d.Since))
	if s.rec.newest().Live() { // it goes on, and is the newest
		return d, why
	}
	rec.put(d)
	if _, err := s.put(rec, d); err != nil {
		return d, err
	}
	return d, why
}

// Restart rolls a service to the release it has, with new instances.
func (d *Deployer) Restart(ctx context.Context, name, by string) (Deploy, error) {
	return d.decide(ctx, name, func(s *service) (in intent, done *Deploy, err error) {
		n := s.rec.newest()
		switch {
		case n.Live():
			return in, nil, running(n)
		case s.want.replicas() == 0 || s.rec.Current == 0:
			return in, nil, stoppedProblem(s.name)
		}
		in = s.intent(Restart, s.rec.Current, Ask{By: by, Why: "restart"})
		in.Proven = true
		return in, nil, nil
	}, func(in *intent) {
		if err := d.opt.Check.Startable(in.to); err != nil {
			in.refused = asProblem(notStartable(in.to, err))
		}
	})
}

// Rollback goes to the last release before this one whose deploy ended in done,
// or to the one of number to if that is not 0. While a deploy is under way it is
// Abort.
func (d *Deployer) Rollback(ctx context.Context, name string, to int, by string) (Deploy, error) {
	abort := false
	answer, err := d.decide(ctx, name, func(s *service) (in intent, done *Deploy, err error) {
		n := s.rec.newest()
		if abort = n.Live() && n.Kind != Rollback && (to == 0 || to == n.From); abort {
			return in, &n, nil
		}
		return s.intendBack(to, by)
	}, func(in *intent) {
		if err := d.opt.Check.Startable(in.to); err != nil {
			in.refused = asProblem(cannotGoBack(in.to, err))
		}
	})
	if abort && err == nil {
		return d.Abort(ctx, name, by)
	}
	return answer, err
}

func (s *service) intendBack(to int, by string) (in intent, done *Deploy, err error) {
	n := s.rec.newest()
	if n.Live() {
		if n.Kind == Rollback && (to == 0 || to == n.To) {
			return in, &n, nil
		}
		return in, nil, running(n)
	}
	if to == 0 {
		to = s.lastGood()
	}
	_, known := s.rels[to]
	switch {
	case to == 0:
		return in, nil, nothingBack(s.name)
	case !known:
		return in, nil, problem("release_unknown", s.name, "see backstay releases "+s.name, "%s is not kept", backstay.ReleaseID(s.name, to))
	case to == s.rec.Current && n.State != Stuck:
		return in, nil, problem("nothing_to_deploy", s.name, "see backstay releases "+s.name, "%s is at %s already", s.name, backstay.ReleaseID(s.name, to))
	}
	in = s.intent(Rollback, to, Ask{By: by, Why: "rollback"})
	in.State, in.Reason = RollingBack, "asked for by "+by
	in.Swap = s.serving(to) > 0
	return in, nil, nil
}

// Abort rolls a deploy back now: traffic first.
func (d *Deployer) Abort(ctx context.Context, name, by string) (Deploy, error) {
	return d.abort(ctx, name, by, "aborted by "+by, true)
}

// abort rolls back. With undone the release is not tried again by itself.
func (d *Deployer) abort(ctx context.Context, name, by, reason string, undone bool) (answer Deploy, err error) {
	for range tries {
		var from backstay.Release
		var id string
		enough := false
		err := d.own(ctx, func() error {
			s, err := d.known(name)
			if err != nil {
				return err
			}
			from, id, enough, err = s.canAbort()
			answer = s.rec.newest()
			return err
		})
		if err != nil || answer.State == RollingBack {
			return answer, err
		}
		if !enough {
			if err := d.opt.Check.Startable(from); err != nil {
				return Deploy{}, cannotGoBack(from, err)
			}
		}
		fresh := false
		err = d.own(ctx, func() (err error) {
			s := d.services[name]
			if fresh = s.rec.newest().ID == id && s.rec.newest().Live(); fresh {
				answer, err = s.turn(by, reason, undone)
			}
			return err
		})
		if fresh || err != nil {
			return answer, err
		}
	}
	return Deploy{}, noDeploy(name)
}

// canAbort returns what the newest deploy would go back to, and whether enough
// of it serves so that nothing has to be started.
func (s *service) canAbort() (from backstay.Release, id string, enough bool, err error) {
	n := s.rec.newest()
	switch {
	case !n.Live():
		return from, "", false, noDeploy(s.name)
	case n.State == RollingBack:
		return from, n.ID, true, nil
	case n.From == 0:
		return from, "", false, nothingBack(s.name)
	case n.NoWay != "":
		return from, "", false, cannotGoBack(s.rels[n.From], errors.New(n.NoWay))
	}
	return s.rels[n.From], n.ID, s.serving(n.From) >= s.want.replicas(), nil
}

// turn has the newest deploy roll back.
func (s *service) turn(by, reason string, undone bool) (Deploy, error) {
	n := s.rec.newest().clone()
	if n.State == Paused && n.Reason != "" {
		reason += ", when it was paused: " + n.Reason
	}
	n.turn(s.d.opt.Now(), reason, s.instances)
	n.Undone, n.By = undone, by
	rec := s.rec.clone()
	rec.put(n)
	return s.put(rec, n)
}

// Pause holds a deploy where it is until Resume or Abort.
func (d *Deployer) Pause(ctx context.Context, name, by string) (Deploy, error) {
	return d.amend(ctx, name, func(n *Deploy, now time.Time) error {
		switch n.State {
		case Paused:
			return nil
		case Rolling, Finishing:
			n.State, n.Since, n.Deadline, n.Reason, n.Waits = Paused, now, time.Time{}, "asked for by "+by, ""
			n.say(now, n.headline(now))
			return nil
		default:
			return problem("deploy_running", name, "wait for it: backstay deploy "+name+" --wait", "%s is rolling back, and that is not paused", name)
		}
	})
}

// Resume lets a paused deploy go on.
func (d *Deployer) Resume(ctx context.Context, name, by string) (Deploy, error) {
	return d.amend(ctx, name, func(n *Deploy, now time.Time) error {
		if n.State != Paused {
			return problem("not_paused", name, "see backstay history "+name, "the deploy of %s is not paused, it is %s", name, n.State)
		}
		n.State, n.Since, n.Reason, n.LastLog, n.Flakes = Rolling, now, "", nil, 0
		n.say(now, "resumed by "+by)
		return nil
	})
}

// amend changes the deploy under way.
func (d *Deployer) amend(ctx context.Context, name string, change func(*Deploy, time.Time) error) (answer Deploy, err error) {
	err = d.own(ctx, func() error {
		s, err := d.known(name)
		if err != nil {
			return err
		}
		n := s.rec.newest().clone()
		if !n.Live() {
			return noDeploy(name)
		}
		if err := change(&n, d.opt.Now()); err != nil {
			return err
		}
		rec := s.rec.clone()
		rec.put(n)
		answer, err = s.put(rec, n)
		return err
	})
	return answer, err
}
