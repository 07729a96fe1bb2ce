package deploy

import (
	"context"
	"slices"

	"github.com/backstay/backstay"
)

// What is what has become of a release that was wanted.
type What string

// What can become of it. The zero What is that it is not decided yet.
const (
	InForce    What = "in_force"    // it serves
	Undone     What = "rolled_back" // rolled back by a deploy that began after it was wanted
	NotTried   What = "not_tried"   // rolled back before, or by hand: not tried again by itself
	NotBegun   What = "refused"     // a guard said no
	Overtaken  What = "superseded"  // another release is wanted now
	NotRunning What = "stopped"     // no instance is wanted
	Waits      What = "waits"       // a deploy waits for a person
	Unhealed   What = "stuck"       // both releases are ill, or the state of the service cannot be read
)

// Outcome is what has become of a release that was wanted.
type Outcome struct {
	What What
	Why  string
	// Deploy is what decided it or, while What is empty, what is under way. Its ID
	// is empty where there is none.
	Deploy Deploy
}

// Outcome returns what has become of release seq of a service, which was wanted
// when after was the newest deploy that had ended. Where nothing is under way
// and a deploy is about to begin, it waits for that, but not beyond the end of
// ctx.
func (d *Deployer) Outcome(ctx context.Context, service string, seq int, after string) Outcome {
	for {
		s := d.see(service)
		if s == nil {
			return Outcome{What: Overtaken, Why: "the service is not wanted any more"}
		}
		if o := s.outcome(seq, after); o.What != "" || o.Deploy.ID != "" {
			return o
		}
		select {
		case <-s.changed:
		case <-ctx.Done():
			return Outcome{}
		}
	}
}

// Wanted returns the number of the release of a service that is wanted, 0 if
// none is, and the newest deploy that has ended: what becomes of the release is
// decided by later ones.
func (d *Deployer) Wanted(service string) (seq int, after string) {
	s := d.see(service)
	if s == nil {
		return 0, ""
	}
	for _, one := range slices.Backward(s.rec.Deploys) {
		if !one.Live() {
			return s.wantSeq, one.ID
		}
	}
	return s.wantSeq, ""
}

func (s *shown) outcome(seq int, after string) Outcome {
	n, own := s.rec.newest(), s.deployTo(seq, after)
	switch {
	case s.blocked != nil:
		return Outcome{What: Unhealed, Why: s.blocked.Error()}
	case own.ID != "" && !own.Live() && decides(own.State): // whatever has followed
		return Outcome{What: ends[own.State], Why: own.Reason, Deploy: own}
	case s.wantSeq != seq && (own.ID == "" || !own.Live()):
		return s.overtaken()
	case n.State == Paused:
		return Outcome{What: Waits, Why: n.Reason, Deploy: n}
	case n.Live() && (n.Kind != Restart || s.rec.Current != seq):
		return Outcome{Deploy: n}
	default:
		return s.atRest(seq, n)
	}
}

// ends is what the end of a deploy makes of the release that it was to. One
// that was superseded decides nothing: the next one may be to the same release.
var ends = map[State]What{Done: InForce, RolledBack: Undone, Stuck: Unhealed, Refused: NotBegun}

func decides(s State) bool { _, ok := ends[s]; return ok }

// deployTo returns the newest deploy after the one called after that is to
// release seq: by hand it may be to where it is already.
func (s *shown) deployTo(seq int, after string) Deploy {
	for _, d := range slices.Backward(s.rec.Deploys) {
		switch {
		case d.ID == after:
			return Deploy{}
		case d.To == seq && d.Kind != Restart:
			return d
		}
	}
	return Deploy{}
}

func (s *shown) overtaken() Outcome {
	if s.wantSeq == 0 && !s.gone { // an agent that has just started does not know yet
		return Outcome{}
	}
	if s.gone {
		return Outcome{What: Overtaken, Why: "the service is not wanted any more"}
	}
	return Outcome{What: Overtaken, Why: backstay.ReleaseID(s.rec.Service, s.wantSeq) + " is wanted now"}
}

// atRest is the outcome where no deploy is under way, newest was the last one,
// and seq is still wanted.
func (s *shown) atRest(seq int, newest Deploy) Outcome {
	u, undone := s.rec.undone(s.rels[seq].Digest)
	switch {
	case newest.State == Stuck && (newest.To == seq || newest.From == seq):
		return Outcome{What: Unhealed, Why: newest.Reason, Deploy: newest}
	case s.rec.Current == seq:
		return Outcome{What: InForce}
	case s.want.replicas() == 0:
		return Outcome{What: NotRunning}
	case undone:
		return Outcome{What: NotTried, Why: u.Why}
	case newest.State == Refused && newest.To == seq:
		return Outcome{What: NotBegun, Why: newest.Reason, Deploy: newest}
	default:
		return Outcome{} // it follows
	}
}
