package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/backstay/backstay"
)

// Ask is how a deploy is asked for.
type Ask struct {
	Again     bool // the release was rolled back and is tried once more
	Supersede bool // a deploy under way gives way
	By, Why   string
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
	if _, kept := s.rels[in.To]; !kept { // nobody wants it any more, and it had never begun
		return false
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
	case d.Live() && d.Dest() == s.wantSeq && d.Kind != Restart: // it is on its way there, be it back
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
		was.State, was.Since, was.Ended, was.Reason = Superseded, now, now, d.asked()
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
	rec.begin(d.To)
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

// refuse notes why a deploy does not begin, once: who asks for the same version
// again and again does not push the deploys that have been out of the record.
func (s *service) refuse(rec record, d Deploy, why *backstay.Problem) (Deploy, error) {
	switch was := s.rec.newest(); {
	case was.State != Refused:
	case was.To == d.To && was.Reason == why.Error():
		return was, why
	case was.Version == d.Version && strings.ReplaceAll(was.Reason, was.name(was.To), d.name(d.To)) == why.Error():
		rec.Deploys = rec.Deploys[:len(rec.Deploys)-1]
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
			return in, nil, busy(n)
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
