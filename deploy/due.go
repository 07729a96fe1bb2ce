package deploy

import (
	"context"
	"fmt"
	"slices"

	"github.com/backstay/backstay"
)

// follow begins the deploy that is due by itself: the file has asked for another
// release while one was under way, or the service was stopped then.
func (s *service) follow(ctx context.Context) {
	if s.beginning || !s.due() || s.refusedBefore() {
		return
	}
	s.beginning = true
	ask := Ask{By: s.want.Release.By, Why: s.want.Release.Why}
	s.d.flying.Go(func() {
		_, err := s.d.begin(ctx, s.name, ask)
		select {
		case s.d.asks <- func() { s.began(err) }:
		case <-ctx.Done():
		}
	})
}

func (s *service) began(err error) {
	s.beginning = false
	if err != nil {
		s.d.opt.Log.Warn("deploy not begun", "service", s.name, "err", err)
	}
}

// due reports whether the wanted release is to be deployed by itself.
func (s *service) due() bool {
	if s.want == nil || s.blocked != nil || s.want.replicas() == 0 || s.wantSeq == s.rec.Current {
		return false
	}
	d := s.rec.newest()
	_, undone := s.rec.undone(s.want.Release.Digest)
	stuck := d.State == Stuck && (d.To == s.wantSeq || d.From == s.wantSeq)
	return !undone && !d.Live() && !stuck
}

// refusedBefore reports whether the wanted release was refused last: only an
// Apply asks again.
func (s *service) refusedBefore() bool {
	d := s.rec.newest()
	return d.State == Refused && d.To == s.wantSeq
}

// prune forgets releases that nobody needs: not in force, wanted, running, the
// target of a rollback, nor of the newest keep_releases.
func (s *service) prune() {
	keep := map[int]bool{s.rec.Current: true, s.wantSeq: true, s.lastGood(): true}
	for _, d := range s.rec.Deploys {
		if d.Live() || d.ID == s.rec.newest().ID {
			keep[d.From], keep[d.To] = true, true
		}
	}
	spare := 0
	if s.want != nil {
		spare = s.want.Config.KeepReleases
	}
	for seq := s.rec.Seq; seq > 0; seq-- {
		switch {
		case keep[seq] || s.runs(seq):
			continue
		case spare > 0:
			if _, known := s.rels[seq]; known {
				spare--
			}
			continue
		}
		if _, known := s.rels[seq]; !known {
			continue
		}
		if err := s.d.files.removeRelease(s.name, seq); err != nil {
			s.d.opt.Log.Warn("release not forgotten", "service", s.name, "seq", seq, "err", err)
			continue
		}
		delete(s.rels, seq)
	}
}

// forgetUnbegun forgets releases to which no deploy has begun and that are wanted
// no more: what was refused leaves nothing to go back to. Their numbers are not
// given again, for history tells of them.
func (s *service) forgetUnbegun() {
	for _, seq := range slices.Clone(s.rec.Unbegun) {
		if seq == s.wantSeq {
			continue
		}
		if err := s.d.files.removeRelease(s.name, seq); err != nil {
			s.d.opt.Log.Warn("release not forgotten", "service", s.name, "seq", seq, "err", err)
			continue
		}
		delete(s.rels, seq)
		s.rec = s.rec.clone()
		s.rec.begin(seq)
		s.unsaved = true
	}
}

// runs reports whether an instance of seq is there or on its way.
func (s *service) runs(seq int) bool {
	name := backstay.ReleaseID(s.name, seq)
	return s.starting[seq] > 0 || slices.ContainsFunc(s.instances, func(i backstay.Instance) bool { return i.Release == name })
}

// lastGood returns the last release before the one in force whose deploy ended
// in done, that is kept and was not undone; 0 if there is none.
func (s *service) lastGood() int {
	end := slices.Index(s.rec.Good, s.rec.Current)
	if end < 0 {
		end = len(s.rec.Good)
	}
	for _, seq := range slices.Backward(s.rec.Good[:end]) {
		rel, known := s.rels[seq]
		if _, undone := s.rec.undone(rel.Digest); known && !undone && seq != s.rec.Current {
			return seq
		}
	}
	return 0
}

// serving counts the instances of seq that take requests.
func (s *service) serving(seq int) (n int) {
	name := backstay.ReleaseID(s.name, seq)
	for _, i := range s.instances {
		if i.Release == name && s.stopping[i.ID] == nil && serves(i) {
			n++
		}
	}
	return n
}

// adopt works out which release is in force where the record was lost: the one
// that most instances run, of several the newest.
func (s *service) adopt(instances []backstay.Instance) {
	for _, i := range instances {
		if i.Service == s.name { // no new release gets the number of one that runs
			s.rec.Seq = max(s.rec.Seq, s.seqOf(i))
		}
	}
	if !s.lost {
		return
	}
	s.lost = false
	most := 0
	for seq := range s.rels {
		n := 0
		for _, i := range instances {
			if i.Service == s.name && i.Release == backstay.ReleaseID(s.name, seq) {
				n++
			}
		}
		if n > most || n == most && n > 0 && seq > s.rec.Current {
			most, s.rec.Current = n, seq
		}
	}
	s.d.opt.Log.Warn("release in force worked out from what runs", "service", s.name, "release", fmt.Sprint(s.rec.Current))
}
