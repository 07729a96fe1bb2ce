package deploy

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/backstay/backstay"
)

// Apply says what is desired of all services. It returns when that is durable
// and the deploys that follow have begun; one that a guard refuses is seen in
// Status. Services that are not in wants any more are stopped.
func (d *Deployer) Apply(ctx context.Context, wants map[string]Want) error {
	return d.apply(ctx, wants, asked{})
}

// apply is Apply, where by may want a release of one service that no file does.
func (d *Deployer) apply(ctx context.Context, wants map[string]Want, by asked) error {
	var begin, fix, back []string
	err := d.own(ctx, func() error {
		if err := d.inTheWay(wants, by); err != nil {
			return err
		}
		errs := d.take(wants)
		for _, name := range slices.Sorted(maps.Keys(wants)) {
			s := d.services[name]
			switch n := s.rec.newest(); {
			case s.due():
				begin = append(begin, name)
			case s.want != nil && n.Live() && n.Kind == First && n.Goods == 0 && n.To != s.wantSeq:
				fix = append(fix, name)
			case s.want != nil && n.Live() && n.Kind == Roll && n.State != RollingBack && n.From == s.wantSeq && n.NoWay == "":
				back = append(back, name)
			}
		}
		return errs
	})
	for _, name := range slices.Concat(begin, fix) {
		rel := wants[name].Release
		// A first release that nothing good has come of yet is not waited for.
		_, e := d.begin(ctx, name, Ask{By: rel.By, Why: rel.Why, Supersede: slices.Contains(fix, name)})
		err = errors.Join(err, unlessProblem(e))
	}
	for _, name := range back {
		_, e := d.abort(ctx, name, wants[name].Release.By, by.why(name), false)
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
	if s.foreign() {
		return nil // said at the start, and by Standing
	}
	seq := s.find(w.Release.Digest)
	if seq == 0 {
		rel := w.Release
		rel.Service, rel.Seq = s.name, s.nextSeq()
		if rel.At.IsZero() {
			rel.At = s.d.opt.Now()
		}
		if err := s.d.files.saveRelease(rel); err != nil {
			return diskProblem(s.name, err)
		}
		seq = rel.Seq
		s.rels[seq] = rel
		if seq > s.rec.Seq {
			s.rec.Seq = seq
			s.rec.Unbegun = append(s.rec.Unbegun, seq)
			s.unsaved = true
		}
	}
	s.want, s.wantSeq, s.gone = &w, seq, false
	s.forgetUnbegun()
	s.d.metrics.release.WithLabelValues(s.name).Set(float64(s.rec.Current))
	s.show()
	return nil
}

// nextSeq is the number of a release that is not known. Where the file of the one in
// force was damaged, and it was what was wanted last, that is this one: what runs
// is not rolled for a disk's sake.
func (s *service) nextSeq() int {
	now, n := s.rec.Current, s.rec.newest()
	if _, known := s.rels[now]; now != 0 && !known && (n.ID == "" || n.State == Done && n.To == now) {
		return now
	}
	return s.rec.Seq + 1
}

// foreign reports whether the files of s are not ours to read.
func (s *service) foreign() bool { return s.blocked != nil }

func (s *service) find(digest string) int {
	for seq, rel := range s.rels {
		if rel.Digest == digest {
			return seq
		}
	}
	return 0
}

// drop has a service stopped that is wanted no more. What is kept of it stays:
// it may come back, and begins anew then, with a first deploy.
func (s *service) drop() {
	s.want, s.wantSeq, s.gone = nil, 0, true
	if s.rec.Current != 0 && !s.foreign() {
		s.rec = s.rec.clone()
		s.rec.Current, s.unsaved = 0, true
	}
	s.forgetUnbegun()
	s.d.metrics.forget(s.name)
	s.show()
}
