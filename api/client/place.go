package client

import (
	"maps"
	"time"

	"github.com/backstay/backstay/api"
)

// place is how far a stream of logs has come. Lines have times and no numbers,
// and the lines of one write have the same time: so the lines of the newest time
// of each instance are counted, and as many are left out after a break.
type place struct {
	by map[string]*mark // by instance
}

// mark is the newest time of one instance.
type mark struct {
	at    time.Time
	lines map[string]int // of that time, by text
	skip  map[string]int // of them still to be left out
}

// again begins another stream.
func (p *place) again() {
	for _, m := range p.by {
		m.skip = maps.Clone(m.lines)
	}
}

// seen reports whether l was in an earlier stream, and takes it in if not.
func (p *place) seen(l api.LogLine) bool {
	if p.by == nil {
		p.by = map[string]*mark{}
	}
	m := p.by[l.Instance]
	switch {
	case m == nil:
		m = &mark{at: l.At, lines: map[string]int{}}
		p.by[l.Instance] = m
	case l.At.Before(m.at) && m.skip != nil:
		return true
	case l.At.Equal(m.at) && m.skip[l.Text] > 0:
		m.skip[l.Text]--
		return true
	case l.At.After(m.at):
		m.at, m.lines, m.skip = l.At, map[string]int{}, nil
	}
	m.lines[l.Text]++
	return false
}

// oldest is the time from which on a further stream has to begin: nothing that is
// older is missing from any instance.
func (p *place) oldest() time.Time {
	var t time.Time
	for _, m := range p.by {
		if t.IsZero() || m.at.Before(t) {
			t = m.at
		}
	}
	return t
}
