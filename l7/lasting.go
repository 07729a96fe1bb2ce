package l7

import "sync"

// lasting is the memory of a proxy.
type lasting struct {
	mu       sync.Mutex // guards the maps, never held while anything waits
	servers  map[string]*server
	services map[string]*service
	releases map[string]*release
	fronts   map[string]*frontState
	births   int
}

func newLasting() *lasting {
	return &lasting{
		servers: map[string]*server{}, services: map[string]*service{},
		releases: map[string]*release{}, fronts: map[string]*frontState{},
	}
}

// server returns that of say, made where there is none.
func (l *lasting) server(serviceName string, say Server) *server {
	s := l.servers[say.ID]
	if s == nil {
		s = &server{id: say.ID, service: serviceName, release: say.Release, starts: say.Starts, idle: map[string]*idlePool{}}
		l.servers[say.ID] = s
	}
	return s
}

func (l *lasting) service(name string) *service {
	s := l.services[name]
	if s == nil {
		s = &service{name: name, budgets: map[float64]*budget{}}
		l.services[name] = s
	}
	return s
}

func (l *lasting) release(serviceName, id string) *release {
	r := l.releases[id]
	if r == nil {
		l.births++
		r = &release{id: id, service: serviceName, born: l.births}
		l.releases[id] = r
	}
	return r
}

func (l *lasting) front(name string) *frontState {
	f := l.fronts[name]
	if f == nil {
		f = newFrontState(name)
		l.fronts[name] = f
	}
	return f
}

func (l *lasting) find(instance string) *server {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.servers[instance]
}

func (l *lasting) all() []*server {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make([]*server, 0, len(l.servers))
	for _, s := range l.servers {
		all = append(all, s)
	}
	return all
}
