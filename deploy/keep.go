package deploy

import (
	"context"
	"reflect"
	"slices"
	"time"

	"github.com/backstay/backstay"
)

// keep writes d down before anything is done about it, and reports whether it
// may be done. A rollback is carried out even where the disk refuses: planning
// it again after a crash comes to the same.
func (s *service) keep(ctx context.Context, now time.Time, d Deploy) bool {
	was := s.rec.newest()
	if reflect.DeepEqual(decided(was), decided(d)) {
		s.look(now, was, d)
		return true
	}
	if now.Before(s.saveAfter) && d.State == was.State {
		return d.State == RollingBack
	}
	rec := s.rec.clone()
	if d.ID != "" {
		rec.put(d)
	}
	ended := d.ID != "" && d.State.Ended() && d.State != was.State
	if ended {
		s.settleUp(&rec, d)
	}
	if !s.save(now, rec) && d.State != RollingBack {
		return false
	}
	s.rec = rec
	if ended {
		s.sum(ctx, d)
	}
	s.show()
	return true
}

// decided returns of d what must be on disk before anything follows from it. The
// rest is what was seen: an agent that comes back sees it too, and an instance
// that dies all the time must not cost a write each time.
func decided(d Deploy) Deploy {
	d.Waits, d.Replaced, d.Of, d.Leaving = "", 0, 0, 0
	d.Members = slices.Clone(d.Members)
	for i := range d.Members {
		d.Members[i].Dead, d.Members[i].Fell = 0, 0
	}
	return d
}

// look takes a d that decides nothing new, and writes down what the disk has
// refused before.
func (s *service) look(now time.Time, was, d Deploy) {
	seen := d.ID != "" && !reflect.DeepEqual(was, d)
	if seen {
		s.rec = s.rec.clone()
		s.rec.put(d)
	}
	owed := s.unsaved && !now.Before(s.saveAfter)
	if owed {
		s.save(now, s.rec)
	}
	if seen || owed {
		s.show()
	}
}

// save writes rec and reports whether it is on disk.
func (s *service) save(now time.Time, rec record) bool {
	err := s.d.files.saveRecord(rec)
	if err == nil {
		s.unsaved, s.saveFails, s.saveAfter = false, 0, time.Time{}
		return true
	}
	s.unsaved = true
	s.saveFails++
	s.saveAfter = now.Add(again.Wait(s.saveFails))
	if s.saveFails == 1 {
		s.d.opt.Log.Error("record of a deploy cannot be written", "service", s.name, "err", err)
	}
	return false
}

// settleUp draws the consequences of a deploy that has ended.
func (s *service) settleUp(rec *record, d Deploy) {
	switch d.State {
	case Done:
		rec.Current = d.To
		if d.Kind == Rollback {
			s.undo(rec, d, d.From, "rolled back by "+d.By)
			rec.redo(s.rels[d.To].Digest)
			break
		}
		rec.Good = append(slices.DeleteFunc(rec.Good, func(seq int) bool { return seq == d.To }), d.To)
	case RolledBack, Stuck:
		if d.Undone {
			s.undo(rec, d, d.To, d.Reason)
		}
	default:
	}
	if s.gone {
		rec.Current = 0
	}
}

// undo notes that release seq is not tried again by itself.
func (s *service) undo(rec *record, d Deploy, seq int, why string) {
	if rel, known := s.rels[seq]; known && d.From != d.To {
		rec.undo(undone{Digest: rel.Digest, Seq: seq, At: d.Ended, Why: why})
	}
}

// announce tells people what was seen and what d has become by it, in that
// order: nothing is told of a deploy after its end.
func (s *service) announce(now time.Time, was, d Deploy, steps []Step) {
	for _, st := range steps {
		if st.Do == Emit && st.Text != d.headline(now) { // that one is told as a change of state
			s.step(st.Text)
		}
	}
	s.changed(was, d)
}

// changed tells people what d has become.
func (s *service) changed(was, d Deploy) {
	if d.ID == "" || was.ID == d.ID && was.State == d.State {
		return
	}
	from := string(was.State)
	if was.ID != d.ID {
		from = ""
	}
	s.d.opt.Events.Record(backstay.Event{
		Kind: backstay.DeployChanged, Ref: backstay.NewRef("service", s.name), From: from, To: string(d.State),
		Because: d.headline(s.d.opt.Now()), Actor: s.actor(d),
	})
	s.d.opt.Log.Info("deploy changed", "service", s.name, "deploy", d.ID, "from", from, "to", d.State, "why", d.Reason)
	s.d.metrics.became(s.name, d)
}

// actor is who has made d what it is: of one that was superseded whoever came in
// between, be it with a deploy or with a stop.
func (s *service) actor(d Deploy) string {
	switch {
	case d.State != Superseded:
		return d.By
	case s.rec.newest().ID != d.ID:
		return s.rec.newest().By
	case s.want != nil:
		return s.want.StoppedBy
	default: // the file names it no more
		return "deploy"
	}
}

// step tells people what a deploy has done.
func (s *service) step(text string) {
	s.d.opt.Events.Record(backstay.Event{
		Kind: backstay.DeployStep, Ref: backstay.NewRef("service", s.name), Because: text, Actor: "deploy",
	})
}

// sum reads the counters of a deploy that has ended. It is shown as ended once
// they are there: the last line of a watched deploy has them.
func (s *service) sum(ctx context.Context, d Deploy) {
	s.counting = true
	s.d.fly(ctx, func() func() {
		old, fresh := s.counters(d.From), s.counters(d.To)
		return func() {
			s.counting = false
			s.amend(d.ID, func(d *Deploy) { d.Old, d.New = old.since(d.OldWas), fresh.since(d.NewWas) })
			s.show()
		}
	})
}

// amend changes a deploy that is kept.
func (s *service) amend(id string, change func(*Deploy)) {
	s.rec = s.rec.clone()
	for i := range s.rec.Deploys {
		if s.rec.Deploys[i].ID == id {
			change(&s.rec.Deploys[i])
		}
	}
	s.save(s.d.opt.Now(), s.rec)
}

func (s *service) counters(seq int) Counters {
	if seq == 0 {
		return Counters{}
	}
	return s.d.opt.Traffic.Counters(s.name, backstay.ReleaseID(s.name, seq))
}
