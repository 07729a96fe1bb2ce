package deploy

import (
	"context"
	"errors"
	"time"

	"github.com/backstay/backstay"
)

// Rollback goes to the last release before this one whose deploy ended in done,
// or to the one of number to if that is not 0. While a deploy is under way it is
// undone, as by Abort.
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
		return d.abort(ctx, name, by, askedBy(by), true)
	}
	return answer, err
}

func (s *service) intendBack(to int, by string) (in intent, done *Deploy, err error) {
	n := s.rec.newest()
	if n.Live() {
		if n.Kind == Rollback && (to == 0 || to == n.To) {
			return in, &n, nil
		}
		return in, nil, busy(n)
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
	in.State, in.Reason = RollingBack, askedBy(by)
	in.Swap = s.serving(to) > 0
	return in, nil, nil
}

func askedBy(by string) string { return "asked for by " + by }

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
			n.State, n.Since, n.Deadline, n.Reason, n.Waits = Paused, now, time.Time{}, askedBy(by), ""
			n.say(now, n.headline(now))
			return nil
		default:
			return problem("deploy_running", name, "wait for its end: backstay why deploy/"+name+" shows how far it is", "%s is rolling back, and that is not paused", name)
		}
	})
}

// Resume lets a paused deploy go on.
func (d *Deployer) Resume(ctx context.Context, name, by string) (Deploy, error) {
	return d.amend(ctx, name, func(n *Deploy, now time.Time) error {
		if n.State != Paused {
			return problem("not_paused", name, "see backstay history "+name, "the deploy of %s is not paused, it is %s", name, n.State)
		}
		n.State, n.Since, n.Reason, n.LastLog, n.Ill, n.Flakes = Rolling, now, "", nil, "", 0
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
