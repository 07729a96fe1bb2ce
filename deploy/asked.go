package deploy

import "context"

// asked is somebody who wants another release of one service than the file does.
// The zero asked is nobody: the file has changed.
type asked struct {
	service string
	ask     Ask
}

// Change is Apply where it is not the file that has changed: somebody asks for
// the release of a service that wants has. While a deploy to another one is under
// way that changes nothing, unless it is asked to give way.
func (d *Deployer) Change(ctx context.Context, wants map[string]Want, service string, ask Ask) error {
	return d.apply(ctx, wants, asked{service, ask})
}

// inTheWay returns the deploy under way that keeps what by asks for from being
// wanted.
func (d *Deployer) inTheWay(wants map[string]Want, by asked) error {
	s, w := d.services[by.service], wants[by.service]
	if s == nil || s.want == nil || by.ask.Supersede || w.replicas() == 0 {
		return nil
	}
	n, seq := s.rec.newest(), s.find(w.Release.Digest)
	_, undone := s.rec.undone(w.Release.Digest)
	switch {
	case !n.Live() || seq != 0 && (seq == s.wantSeq || seq == n.Dest()):
		return nil
	case undone && !by.ask.Again: // Deploy says that it is not tried again
		return nil
	case n.Kind == First && n.Goods == 0: // nothing good has come of it: it is not waited for
		return nil
	}
	return running(n)
}

// why is the reason for which a deploy of service is sent back to the release
// that is wanted again.
func (by asked) why(service string) string {
	if service == by.service {
		return by.ask.Why + " by " + by.ask.By
	}
	return "the file wants the release before again"
}
