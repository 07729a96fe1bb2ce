package deploy

import (
	"context"
	"fmt"
	"maps"
	"reflect"
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
	counting   bool // the counters of a deploy that has just ended are being read
}

// leave is an instance on its way out.
type leave struct {
	release string
	said    string // "withdrawn (ack 1/1 in 2ms), 9 -> 0 in flight, "
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
	s.beginning, s.counting = false, false
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
		d, steps := Plan(s.view(now))
		if !s.keep(ctx, now, d) {
			return s.saveAfter
		}
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

// keep writes d down before anything is done about it, and reports whether it
// may be done. A rollback is carried out even where the disk refuses: planning
// it again after a crash comes to the same.
func (s *service) keep(ctx context.Context, now time.Time, d Deploy) bool {
	was := s.rec.newest()
	same := reflect.DeepEqual(was, d)
	if same && !s.unsaved {
		return true
	}
	if now.Before(s.saveAfter) && d.State == was.State {
		return d.State == RollingBack
	}
	rec := s.rec.clone()
	if d.ID != "" {
		rec.put(d)
	}
	ended := d.ID != "" && d.State.Ended() && d.State != was.State
	if ended {
		s.settleUp(&rec, d)
	}
	if !s.save(now, rec) && d.State != RollingBack {
		return false
	}
	s.rec = rec
	s.changed(was, d)
	if ended {
		s.sum(ctx, d)
	}
	s.show()
	return true
}

// save writes rec and reports whether it is on disk.
func (s *service) save(now time.Time, rec record) bool {
	err := s.d.files.saveRecord(rec)
	if err == nil {
		s.unsaved, s.saveFails, s.saveAfter = false, 0, time.Time{}
		return true
	}
	s.unsaved = true
	s.saveFails++
	s.saveAfter = now.Add(again.Wait(s.saveFails))
	if s.saveFails == 1 {
		s.d.opt.Log.Error("record of a deploy cannot be written", "service", s.name, "err", err)
	}
	return false
}

// settleUp draws the consequences of a deploy that has ended.
func (s *service) settleUp(rec *record, d Deploy) {
	switch d.State {
	case Done:
		rec.Current = d.To
		if d.Kind == Rollback {
			s.undo(rec, d, d.From, "rolled back by "+d.By)
			rec.redo(s.rels[d.To].Digest)
			break
		}
		rec.Good = append(slices.DeleteFunc(rec.Good, func(seq int) bool { return seq == d.To }), d.To)
	case RolledBack, Stuck:
		if d.Undone {
			s.undo(rec, d, d.To, d.Reason)
		}
	default:
	}
}

// undo notes that release seq is not tried again by itself.
func (s *service) undo(rec *record, d Deploy, seq int, why string) {
	if rel, known := s.rels[seq]; known && d.From != d.To {
		rec.undo(undone{Digest: rel.Digest, Seq: seq, At: d.Ended, Why: why})
	}
}

// changed tells people what d has become.
func (s *service) changed(was, d Deploy) {
	if d.ID == "" || was.ID == d.ID && was.State == d.State {
		return
	}
	from := string(was.State)
	if was.ID != d.ID {
		from = ""
	}
	s.d.opt.Events.Record(backstay.Event{
		Kind: backstay.DeployChanged, Ref: backstay.NewRef("service", s.name), From: from, To: string(d.State),
		Because: d.headline(s.d.opt.Now()), Actor: d.By,
	})
	s.d.opt.Log.Info("deploy changed", "service", s.name, "deploy", d.ID, "from", from, "to", d.State, "why", d.Reason)
	s.d.metrics.became(s.name, d)
}

// step tells people what a deploy has done.
func (s *service) step(text string) {
	s.d.opt.Events.Record(backstay.Event{
		Kind: backstay.DeployStep, Ref: backstay.NewRef("service", s.name), Because: text, Actor: "deploy",
	})
}

// sum reads the counters of a deploy that has ended. It is shown as ended once
// they are there: the last line of a watched deploy has them.
func (s *service) sum(ctx context.Context, d Deploy) {
	s.counting = true
	s.d.fly(ctx, func() func() {
		old, fresh := s.counters(d.From), s.counters(d.To)
		return func() {
			s.counting = false
			s.amend(d.ID, func(d *Deploy) { d.Old, d.New = old.since(d.OldWas), fresh.since(d.NewWas) })
			s.show()
		}
	})
}

// amend changes a deploy that is kept.
func (s *service) amend(id string, change func(*Deploy)) {
	s.rec = s.rec.clone()
	for i := range s.rec.Deploys {
		if s.rec.Deploys[i].ID == id {
			change(&s.rec.Deploys[i])
		}
	}
	s.save(s.d.opt.Now(), s.rec)
}

func (s *service) counters(seq int) Counters {
	if seq == 0 {
		return Counters{}
	}
	return s.d.opt.Traffic.Counters(s.name, backstay.ReleaseID(s.name, seq))
}

// follow begins the deploy that is due by itself: the file has asked for another
// release while one was under way, or the service was stopped then.
func (s *service) follow(ctx context.Context) {
	if s.beginning || !s.due() || s.refusedBefore() {
		return
	}
	s.beginning = true
	ask := Ask{By: s.rels[s.wantSeq].By, Why: s.rels[s.wantSeq].Why}
	s.d.flying.Go(func() {
		_, err := s.d.begin(ctx, s.name, ask)
		select {
		case s.d.asks <- func() { s.began(err) }:
		case <-ctx.Done():
		}
	})
}

func (s *service) began(err error) {
	s.beginning = false
	if err != nil {
		s.d.opt.Log.Warn("deploy not begun", "service", s.name, "err", err)
	}
}

// due reports whether the wanted release is to be deployed by itself.
func (s *service) due() bool {
	if s.want == nil || s.blocked != nil || s.want.replicas() == 0 || s.wantSeq == s.rec.Current {
		return false
	}
	d := s.rec.newest()
	_, undone := s.rec.undone(s.want.Release.Digest)
	stuck := d.State == Stuck && (d.To == s.wantSeq || d.From == s.wantSeq)
	return !undone && !d.Live() && !stuck
}

// refusedBefore reports whether the wanted release was refused last: only an
// Apply asks again.
func (s *service) refusedBefore() bool {
	d := s.rec.newest()
	return d.State == Refused && d.To == s.wantSeq
}

// prune forgets releases that nobody needs: not in force, wanted, running, the
// target of a rollback, nor of the newest keep_releases.
func (s *service) prune() {
	keep := map[int]bool{s.rec.Current: true, s.wantSeq: true, s.lastGood(): true}
	for _, d := range s.rec.Deploys {
		if d.Live() || d.ID == s.rec.newest().ID {
			keep[d.From], keep[d.To] = true, true
		}
	}
	spare := 0
	if s.want != nil {
		spare = s.want.Config.KeepReleases
	}
	for seq := s.rec.Seq; seq > 0; seq-- {
		switch {
		case keep[seq] || s.runs(seq):
			continue
		case spare > 0:
			if _, known := s.rels[seq]; known {
				spare--
			}
			continue
		}
		if _, known := s.rels[seq]; !known {
			continue
		}
		if err := s.d.files.removeRelease(s.name, seq); err != nil {
			s.d.opt.Log.Warn("release not forgotten", "service", s.name, "seq", seq, "err", err)
			continue
		}
		delete(s.rels, seq)
	}
}

// runs reports whether an instance of seq is there or on its way.
func (s *service) runs(seq int) bool {
	name := backstay.ReleaseID(s.name, seq)
	return s.starting[seq] > 0 || slices.ContainsFunc(s.instances, func(i backstay.Instance) bool { return i.Release == name })
}

// lastGood returns the last release before the one in force whose deploy ended
// in done, that is kept and was not undone; 0 if there is none.
func (s *service) lastGood() int {
	end := slices.Index(s.rec.Good, s.rec.Current)
	if end < 0 {
		end = len(s.rec.Good)
	}
	for _, seq := range slices.Backward(s.rec.Good[:end]) {
		rel, known := s.rels[seq]
		if _, undone := s.rec.undone(rel.Digest); known && !undone && seq != s.rec.Current {
			return seq
		}
	}
	return 0
}

// serving counts the instances of seq that take requests.
func (s *service) serving(seq int) (n int) {
	name := backstay.ReleaseID(s.name, seq)
	for _, i := range s.instances {
		if i.Release == name && s.stopping[i.ID] == nil && serves(i) {
			n++
		}
	}
	return n
}

// adopt works out which release is in force where the record was lost: the one
// that most instances run, of several the newest.
func (s *service) adopt(instances []backstay.Instance) {
	if !s.lost {
		return
	}
	s.lost = false
	most := 0
	for seq := range s.rels {
		n := 0
		for _, i := range instances {
			if i.Service == s.name && i.Release == backstay.ReleaseID(s.name, seq) {
				n++
			}
		}
		if n > most || n == most && n > 0 && seq > s.rec.Current {
			most, s.rec.Current = n, seq
		}
	}
	s.d.opt.Log.Warn("release in force worked out from what runs", "service", s.name, "release", fmt.Sprint(s.rec.Current))
}
