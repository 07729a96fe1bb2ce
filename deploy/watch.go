package deploy

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/backstay/backstay"
)

// shown is what anybody may see of a service. It is replaced whole.
type shown struct {
	rec     record
	rels    map[int]backstay.Release
	want    Want
	wantSeq int
	gone    bool
	blocked error
	noStart string        // why an instance cannot be started
	changed chan struct{} // closed when it is replaced
}

// show lets everybody see what the owner knows. A deploy that has just ended is
// not seen to have before it is counted up; what is wanted is seen at once.
func (s *service) show() {
	next := &shown{
		rec: s.rec.clone(), rels: maps.Clone(s.rels), wantSeq: s.wantSeq, gone: s.gone, blocked: s.blocked, noStart: s.startError, changed: make(chan struct{}),
	}
	if s.want != nil {
		next.want = *s.want
	}
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	if old := s.d.shown[s.name]; old != nil {
		if s.counting {
			next.rec = old.rec
		}
		close(old.changed)
	}
	s.d.shown[s.name] = next
}

func (d *Deployer) see(service string) *shown {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.shown[service]
}

// Status returns the newest deploy of a service: under way, or how the last one
// ended.
func (d *Deployer) Status(service string) (Deploy, bool) {
	s := d.see(service)
	if s == nil || len(s.rec.Deploys) == 0 {
		return Deploy{}, false
	}
	return s.rec.newest(), true
}

// Standing is what a service is at, and what it should be at.
type Standing struct {
	Current string // release in force: shop@13; empty is none
	Wanted  string // release the file wants
	// NoStart is why instances that are wanted cannot be started; they are tried again.
	NoStart string
	// Because is why Current is not Wanted, where no deploy is about to change that.
	Because string
}

// Standing returns what a service is at.
func (d *Deployer) Standing(service string) (Standing, bool) {
	s := d.see(service)
	if s == nil {
		return Standing{}, false
	}
	st := Standing{NoStart: s.noStart}
	if s.rec.Current != 0 {
		st.Current = backstay.ReleaseID(service, s.rec.Current)
	}
	if s.wantSeq != 0 {
		st.Wanted = backstay.ReleaseID(service, s.wantSeq)
	}
	n := s.rec.newest()
	u, undone := s.rec.undone(s.rels[s.wantSeq].Digest)
	switch {
	case s.blocked != nil:
		st.Because = s.blocked.Error()
	case st.Current == st.Wanted || n.Live():
	case undone:
		st.Because = u.Why
	case n.State == Refused || n.State == Stuck:
		st.Because = n.Reason
	}
	return st, true
}

// Foreign returns why the state of some services is not ours to read or write, in
// the order of their names.
func (d *Deployer) Foreign() (all []error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(d.shown)) {
		if err := d.shown[name].blocked; err != nil {
			all = append(all, err)
		}
	}
	return all
}

// Kept is a release that could be gone back to.
type Kept struct {
	backstay.Release

	Current bool
	Good    bool   // a deploy to it has ended in done
	Undone  string // why it is not tried again by itself; empty if it may be
}

// Releases returns the releases of a service that are kept, newest first.
func (d *Deployer) Releases(service string) []Kept {
	s := d.see(service)
	if s == nil {
		return nil
	}
	var all []Kept
	for _, seq := range slices.Sorted(maps.Keys(s.rels)) {
		u, _ := s.rec.undone(s.rels[seq].Digest)
		all = append(all, Kept{
			Release: s.rels[seq], Current: seq == s.rec.Current, Good: slices.Contains(s.rec.Good, seq), Undone: u.Why,
		})
	}
	slices.Reverse(all)
	return all
}

// History returns the deploys of a service, newest first.
func (d *Deployer) History(service string) []Deploy {
	s := d.see(service)
	if s == nil {
		return nil
	}
	all := slices.Clone(s.rec.Deploys)
	slices.Reverse(all)
	return all
}

// Release returns the release called id, shop@14, if it is kept.
func (d *Deployer) Release(id string) (backstay.Release, bool) {
	service, number, _ := strings.Cut(id, "@")
	seq, err := strconv.Atoi(number)
	s := d.see(service)
	if err != nil || s == nil {
		return backstay.Release{}, false
	}
	rel, ok := s.rels[seq]
	return rel, ok
}

// Current returns the release of a service that is in force.
func (d *Deployer) Current(service string) (backstay.Release, bool) {
	s := d.see(service)
	if s == nil {
		return backstay.Release{}, false
	}
	rel, ok := s.rels[s.rec.Current]
	return rel, ok
}

// Find returns the release of a service that has digest, if it is kept.
func (d *Deployer) Find(service, digest string) (backstay.Release, bool) {
	s := d.see(service)
	if s == nil {
		return backstay.Release{}, false
	}
	for _, rel := range s.rels {
		if rel.Digest == digest {
			return rel, true
		}
	}
	return backstay.Release{}, false
}

// Progress is one line of a deploy. The last one has Final set.
type Progress struct {
	N      int // from 1, in one deploy
	At     time.Time
	Text   string
	Final  bool
	Deploy Deploy // as it was when the line was sent
}

// Watch tells what a deploy has said after line number after, as far as that is
// kept, and then what it says, until it has ended or waits for a person. An
// empty id is the newest deploy. The channel is closed after the final line, or
// when ctx ends; a reader that is slow misses nothing that is kept.
func (d *Deployer) Watch(ctx context.Context, service, id string, after int) (<-chan Progress, error) {
	s := d.see(service)
	if s == nil {
		return nil, unknownService(service)
	}
	id = cmp.Or(id, s.rec.newest().ID)
	if _, ok := s.deploy(id); !ok {
		return nil, noDeploy(service)
	}
	lines := make(chan Progress)
	go func() {
		defer close(lines)
		for !d.relay(ctx, service, id, &after, lines) {
		}
	}()
	return lines, nil
}

func (s *shown) deploy(id string) (Deploy, bool) {
	for _, d := range s.rec.Deploys {
		if d.ID == id {
			return d, true
		}
	}
	return Deploy{}, false
}

// hears reports whether last lines of the deploy called id are still to come. A
// newer one has them waited for no more.
func (s *shown) hears(id string) bool {
	n := s.rec.newest()
	return n.ID == id && n.Ill != "" && s.blocked == nil
}

// relay sends what is there after line n, waits for more, and reports whether
// the end is reached.
func (d *Deployer) relay(ctx context.Context, service, id string, n *int, lines chan<- Progress) (over bool) {
	s := d.see(service)
	now, ok := s.deploy(id)
	if !ok {
		return true
	}
	final := (!now.Live() || now.State == Paused) && !s.hears(id)
	last := now.Dropped + len(now.Lines)
	for i := max(*n-now.Dropped, 0); i < len(now.Lines); i++ {
		*n = now.Dropped + i + 1
		p := Progress{N: *n, At: now.Lines[i].At, Text: now.Lines[i].Text, Final: final && *n == last, Deploy: now}
		if !send(ctx, lines, p) || p.Final {
			return true
		}
	}
	if final { // there was nothing left to tell but the end
		send(ctx, lines, Progress{N: last, At: now.Since, Text: now.headline(cmp.Or(now.Ended, now.Since)), Final: true, Deploy: now})
		return true
	}
	select {
	case <-s.changed:
		return false
	case <-ctx.Done():
		return true
	}
}

func send(ctx context.Context, lines chan<- Progress, p Progress) bool {
	select {
	case lines <- p:
		return true
	case <-ctx.Done():
		return false
	}
}
