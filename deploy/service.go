package deploy

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/internal/backoff"
)

// again slows down what the pool or the disk refuses.
var again = backoff.Doubling{Min: 200 * time.Millisecond, Max: 5 * time.Second}

// service is what the owner knows of one service.
type service struct {
	d    *Deployer
	name string

	rec     record
	rels    map[int]backstay.Release
	want    *Want // nil until Apply has named it, and once it no longer does
	wantSeq int
	gone    bool  // Apply no longer names it
	lost    bool  // the record was broken: what is in force is worked out from what runs
	blocked error // its files are not ours to read

	instances  []backstay.Instance // as last seen
	starting   map[int]int         // calls of Pool.Start under way, by release
	known      map[string]bool     // ids of instances that no call under way may have made
	stopping   map[string]*leave   // those told to leave
	startAfter time.Time
	startFails int
	startError string
	unsaved    bool // the record on disk is older than rec
	saveFails  int
	saveAfter  time.Time
	beginning  bool // a deploy that follows by itself is being checked
	hearing    *hearing
	counting   bool // the counters of a deploy that has just ended are being read
}

// leave is an instance on its way out.
type leave struct {
	release string
	said    string // "withdrawn (ack 1/1 in 2ms), 9 → 0 in flight, "
	busy    bool   // said is not complete yet: it counts as being there still
	fails   int
	failed  time.Time // when the pool refused last; zero if it has taken it
}

func newService(d *Deployer, name string) *service {
	return &service{
		d: d, name: name, rec: record{Service: name}, rels: map[int]backstay.Release{},
		starting: map[int]int{}, known: map[string]bool{}, stopping: map[string]*leave{},
	}
}

// land forgets what an earlier Run had under way.
func (s *service) land() {
	s.starting, s.stopping = map[int]int{}, map[string]*leave{}
	s.beginning, s.counting, s.hearing = false, false, nil
	s.show()
}

// forgive forgets since when instances were seen ready: while no agent was there,
// nobody asked them. min_ready counts from when they say they are ready.
func (s *service) forgive() {
	n := s.rec.newest().clone()
	if !n.Live() {
		return
	}
	for i := range n.Members {
		n.Members[i].Ready = time.Time{}
	}
	s.rec.put(n)
}

// plan plans until nothing more follows at once, and returns when to look again.
func (s *service) plan(ctx context.Context, now time.Time, instances []backstay.Instance) (next time.Time) {
	s.instances = instances
	s.recognise()
	if s.blocked != nil || s.want == nil && !s.gone {
		return time.Time{}
	}
	s.seenOff(now)
	for range rounds {
		was := s.rec.newest()
		d, steps := Plan(s.view(now))
		if len(s.starting) == 0 && !slices.ContainsFunc(steps, func(st Step) bool { return st.Do == Start }) {
			s.startsWell()
		}
		if !s.keep(ctx, now, d) {
			return s.saveAfter
		}
		s.announce(now, was, d, steps)
		s.hear(ctx)
		acted, wake := s.carry(ctx, now, steps)
		next = wake
		if !acted {
			break
		}
	}
	s.follow(ctx)
	return next
}

// view is what the planner sees: the instances as they are, and what is being
// done about them.
func (s *service) view(now time.Time) View {
	v := View{
		Now: now, Service: s.name, Current: s.rec.Current, Deploy: s.rec.newest(), StartError: s.startError,
	}
	v.Config.SetDefaults()
	if s.want != nil {
		v.Replicas, v.Config, v.FixedPorts = s.want.replicas(), s.want.Config, s.want.FixedPorts
	}
	for _, i := range s.instances {
		if l := s.stopping[i.ID]; l != nil && i.State != backstay.Stopped {
			i.State = backstay.Stopping
		}
		v.Instances = append(v.Instances, i)
	}
	for id, l := range s.stopping {
		if l.busy && s.releaseOf(id) == "" {
			v.Instances = append(v.Instances, backstay.Instance{ID: id, Service: s.name, Release: l.release, State: backstay.Stopping})
		}
	}
	for seq, n := range s.starting {
		for range n - s.unknown(seq) {
			v.Instances = append(v.Instances, backstay.Instance{
				Service: s.name, Release: backstay.ReleaseID(s.name, seq), State: backstay.Waiting,
			})
		}
	}
	return v
}

// recognise notes which instances are there. One that is new while a call of
// Pool.Start is under way was made by that: it must not count twice.
func (s *service) recognise() {
	here := map[string]bool{}
	for _, i := range s.instances {
		seq := s.seqOf(i)
		here[i.ID] = s.known[i.ID] || s.starting[seq] == 0
	}
	s.known = here
}

// unknown counts the instances of release seq that calls under way have made.
func (s *service) unknown(seq int) (n int) {
	for _, i := range s.instances {
		if s.seqOf(i) == seq && !s.known[i.ID] {
			n++
		}
	}
	return min(n, s.starting[seq])
}

// seqOf returns the number of the release that i runs, 0 if none of ours.
func (s *service) seqOf(i backstay.Instance) int {
	number, _ := strings.CutPrefix(i.Release, s.name+"@")
	seq, err := strconv.Atoi(number)
	if err != nil {
		return 0
	}
	return seq
}

// seenOff tells of those that have left, and lets those be told again that the
// pool refused to stop.
func (s *service) seenOff(now time.Time) {
	for _, id := range slices.Sorted(maps.Keys(s.stopping)) {
		l := s.stopping[id]
		if !l.failed.IsZero() && !now.Before(l.failed.Add(again.Wait(l.fails))) {
			delete(s.stopping, id)
		}
		here := slices.ContainsFunc(s.instances, func(i backstay.Instance) bool { return i.ID == id && i.State != backstay.Stopped })
		if here || l.busy {
			continue
		}
		delete(s.stopping, id)
		s.tell(now, id+" "+l.said+"stopped")
	}
}

// tell adds a line to a deploy under way.
func (s *service) tell(now time.Time, text string) {
	d := s.rec.newest()
	if !d.Live() {
		return
	}
	d = d.clone()
	d.say(now, text)
	s.rec = s.rec.clone()
	s.rec.put(d)
	s.unsaved = true
	s.step(text)
}
