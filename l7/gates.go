package l7

import (
	"maps"
	"slices"
)

// openGates opens the servers of s that take requests, before its table is in
// force. It returns those whose process is a new one.
func (l *lasting) openGates(s *Snapshot) (anew []*server) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, pool := range s.Pools {
		for _, say := range pool.Servers {
			srv := l.server(name, say)
			srv.release = say.Release
			l.release(name, say.Release)
			if srv.startedAnew(say.Starts) {
				anew = append(anew, srv)
			}
			if say.Ready && !say.Drain {
				srv.open.Store(true)
			}
		}
	}
	return anew
}

// closeGates closes all other servers, once the table of s is in force: who is
// refused by one finds a table without it.
func (l *lasting) closeGates(s *Snapshot) (closed []*server) {
	l.mu.Lock()
	defer l.mu.Unlock()
	takes := map[string]bool{}
	for _, pool := range s.Pools {
		for _, say := range pool.Servers {
			takes[say.ID] = say.Ready && !say.Drain
		}
	}
	for id, srv := range l.servers {
		if !takes[id] {
			srv.open.Store(false)
			closed = append(closed, srv)
		}
	}
	return closed
}

// forget drops what no snapshot names any more and nothing is in flight at, but
// for the frontends that are parting.
func (l *lasting) forget(s *Snapshot, parting []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	known, releases := map[string]bool{}, map[string]bool{}
	for _, pool := range s.Pools {
		for _, say := range pool.Servers {
			known[say.ID], releases[say.Release] = true, true
		}
	}
	for id, srv := range l.servers {
		if !known[id] && srv.inFlight.Load() == 0 && srv.long.Load() == 0 {
			delete(l.servers, id)
		}
	}
	l.forgetReleases(releases)
	maps.DeleteFunc(l.fronts, func(name string, f *frontState) bool {
		_, named := s.Frontends[name]
		return !named && f.open() == 0 && f.inFlight.Load() == 0 && !slices.Contains(parting, name)
	})
	maps.DeleteFunc(l.services, func(name string, _ *service) bool { _, named := s.Pools[name]; return !named })
}

// keptReleases is how many releases that have no instance any more stay in the
// counters: a report on a deploy comes after it. Labels stay bounded.
const keptReleases = 32

func (l *lasting) forgetReleases(named map[string]bool) {
	var gone []*release
	for id, r := range l.releases {
		if !named[id] && r.inFlight.Load() == 0 {
			gone = append(gone, r)
		}
	}
	slices.SortFunc(gone, func(a, b *release) int { return b.born - a.born })
	for _, r := range gone[min(len(gone), keptReleases):] {
		delete(l.releases, r.id)
		for _, f := range l.fronts {
			f.forgetRelease(r)
		}
	}
}

func (f *frontState) forgetRelease(r *release) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.series, r.service+"\x00"+r.id)
}

// open returns how many connections there are.
func (f *frontState) open() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.conns)
}
