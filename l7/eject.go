package l7

import (
	"time"

	"github.com/backstay/backstay"
)

// note gives an answer, good or bad, to the server's passive health. The good
// ones of a healthy server cost two loads.
func (p *Proxy) note(t *target, s *server, bad bool, what string) {
	c := t.outlier
	if c == nil || !bad && c.ErrorRate == 0 && !s.stumbled.Load() {
		return
	}
	now := p.now()
	s.mu.Lock()
	why := s.outlier.note(c, now, bad)
	s.stumbled.Store(bad)
	s.mu.Unlock()
	if why != "" {
		p.eject(t, s, now, why+", the last: "+what)
	}
}

// eject takes s out if that leaves enough of its pool.
func (p *Proxy) eject(t *target, s *server, now int64, why string) {
	t.service.mu.Lock()
	defer t.service.mu.Unlock()
	out := 0
	for _, m := range t.list {
		if m.ejected(now) {
			out++
		}
	}
	if s.ejected(now) || !mayEject(t.outlier, out, len(t.list)) {
		return
	}
	s.mu.Lock()
	until := s.outlier.eject(t.outlier, now)
	s.because, s.told = why, true
	s.mu.Unlock()
	s.until.Store(until)
	s.ejections.Add(1)
	p.record(backstay.Event{
		Kind: backstay.Ejected, Ref: backstay.NewRef("instance", s.id), From: "in service", To: "ejected",
		Because: why + "; for " + backstay.Duration(time.Duration(until-now).Round(time.Millisecond)).String(),
	})
}
