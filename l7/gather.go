package l7

import "time"

// Stats returns what has been counted, and what is now.
func (p *Proxy) Stats() Stats {
	now, wall := p.now(), time.Now()
	s := Stats{
		BadRequests: p.refused.requests.stats(), BadAnswers: p.refused.answers.stats(),
		Gen: p.Generation(), Since: p.started, Unbound: p.unbound(), AccessLog: p.logs.stats(),
		Frontends: map[string]FrontendStats{}, Services: map[string]ServiceStats{},
		Releases: map[string]ReleaseStats{}, Servers: map[string]ServerStats{},
	}
	l := p.lasting
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, f := range l.fronts {
		s.Frontends[name] = f.stats()
		s.Conns += s.Frontends[name].Conns
	}
	for id, r := range l.releases {
		s.Releases[id] = r.stats()
	}
	for name, svc := range l.services {
		s.Services[name] = svc.stats(l)
	}
	for id, srv := range l.servers {
		one := srv.stats(now, wall)
		s.Servers[id] = one
		all := s.Services[srv.service]
		all.add(&one)
		s.Services[srv.service] = all
	}
	return s
}

func (s *ServiceStats) add(one *ServerStats) {
	s.Servers++
	if one.Open {
		s.Ready++
	}
	if one.Ejected != nil {
		s.Ejected++
	}
	s.InFlight += one.InFlight
}

// stats sums up a service but for what its servers hold now. Releases that have
// left count: it is about all time.
func (svc *service) stats(l *lasting) (s ServiceStats) {
	for _, r := range l.releases {
		if r.service == svc.name {
			s.Requests += r.sent.Load()
			s.Failed += r.failed.Load()
			s.Retried += r.retried.Load()
		}
	}
	s.Nobody = svc.nobody.Load()
	svc.mu.Lock()
	defer svc.mu.Unlock()
	for _, b := range svc.budgets {
		s.Exhausted += b.exhausted.Load()
	}
	return s
}

func (r *release) stats() ReleaseStats {
	return ReleaseStats{
		Counters: Counters{Requests: r.sent.Load(), Failed: r.failed.Load(), Retried: r.retried.Load(), InFlight: int(r.inFlight.Load())},
		Service:  r.service, Sent: r.sent.Load(), Lost: r.lost.Load(), Classes: named(&r.classes),
		P50: r.latency.quantile(0.5), P99: r.latency.quantile(0.99),
	}
}

func (s *server) stats(now int64, wall time.Time) ServerStats {
	requests := int(s.inFlight.Load()) // before long: who is upgraded meanwhile is counted twice, and never missed
	long := int(s.long.Load())
	out := ServerStats{
		Counters: Counters{Requests: s.requests.Load(), Failed: s.failed.Load(), Retried: s.retried.Load(), InFlight: requests + long},
		Service:  s.service, Release: s.release, Open: s.open.Load(), Long: long, Ejections: s.ejections.Load(),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.idle {
		out.Idle += int(p.count.Load())
	}
	if s.ejected(now) {
		out.Ejected = &Ejection{
			Since: wall.Add(time.Duration(s.outlier.since - now)), Until: wall.Add(time.Duration(s.outlier.until - now)), Because: s.because,
		}
	}
	return out
}

func (f *frontState) stats() FrontendStats {
	var classes [classCount]uint64
	f.mu.Lock()
	s := FrontendStats{Conns: len(f.conns)}
	for _, one := range f.series {
		for i := range classes {
			n := one.classes[i].Load()
			classes[i] += n
			s.Requests += n
		}
		s.Retried += one.retried.Load()
	}
	f.mu.Unlock()
	s.Failed = classes[class5xx] + classes[classCut]
	s.InFlight = int(f.inFlight.Load())
	s.Opened, s.Refused, s.Bad, s.Aborted = f.opened.Load(), f.refused.Load(), f.bad.Load(), f.aborted.Load()
	s.Classes = map[string]uint64{}
	for i, n := range classes {
		if n > 0 {
			s.Classes[classNames[i]] = n
		}
	}
	return s
}
