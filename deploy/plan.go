package deploy

import (
	"cmp"
	"slices"
	"time"

	"github.com/backstay/backstay"
)

// View is all that is known of one service at one moment.
type View struct {
	Now        time.Time
	Service    string
	Replicas   int // wanted; 0 when it is stopped
	Config     Config
	FixedPorts bool   // two instances cannot run at once
	Current    int    // seq of the release in force; 0 is none
	Deploy     Deploy // the newest; the zero Deploy if there was none
	Instances  []backstay.Instance
	StartError string // why the last start was not possible; empty if it was
}

// Do is what a [Step] is.
type Do string

// The steps.
const (
	Start    Do = "start"    // an instance of Release
	Withdraw Do = "withdraw" // IDs from traffic, all in one swap
	Stop     Do = "stop"     // IDs: withdraw, drain, signal
	Emit     Do = "emit"     // Text, a line for people; it is in Deploy.Lines already
	Await    Do = "await"    // look again at At, if nothing happens before
	Prune    Do = "prune"    // forget releases that nobody needs
)

// Step is one thing to be done.
type Step struct {
	Do      Do
	Release int
	IDs     []string
	Text    string // of Emit; the reason of Stop
	At      time.Time
}

// Bounds.
const (
	// drainFactor times surge old instances may be draining at once: one batch
	// on its way out does not hold up the next, but no roll leaves a whole
	// fleet of drained instances behind that still use memory.
	drainFactor = 2
	// pausedAtMost is how long a deploy waits for a person: two releases side
	// by side are not left for ever.
	pausedAtMost = 24 * time.Hour
)

// Plan returns what is to be remembered and what is to be done next. It is
// total, and idempotent: while nothing happens, planning again adds nothing.
// Steps come in the order in which they are to be begun.
func Plan(v View) (Deploy, []Step) {
	p := newPlanner(v)
	switch p.d.State {
	case Rolling, Finishing:
		p.roll()
	case Paused:
		p.pause()
	case RollingBack:
		p.back()
	case Stuck:
		p.stuck()
	default:
		p.steady()
	}
	p.count()
	return p.d, p.steps
}

// planner is a Plan under way.
type planner struct {
	View

	d          Deploy
	steps      []Step
	surge      int
	missing    int    // ready ones that may be missing
	one        bool   // old ones must be gone before new ones start
	held       bool   // new ones wait until a third release is out of traffic
	here, away []inst // of the release we move to, and all others
}

// inst is an instance and what the planner makes of it.
type inst struct {
	backstay.Instance

	leaving bool // on its way out, or told to be by this plan
	serves  bool // takes requests
	good    bool // serves, and has been ready for min_ready
}

func newPlanner(v View) *planner {
	p := &planner{View: v, d: v.Deploy.clone()}
	p.surge = v.Config.MaxSurge.Of(v.Replicas, true)
	p.missing = v.Config.MaxUnavailable.Of(v.Replicas, false)
	p.one = v.FixedPorts || p.strategy() == "recreate"
	if p.one {
		p.surge = 0
	}
	if p.surge == 0 && p.missing == 0 {
		// A share of few instances: one may be missing, or nothing could move.
		p.missing = 1
	}
	p.split(p.dest())
	return p
}

// strategy is that of a live deploy as it began, else of the file.
func (p *planner) strategy() string {
	if p.d.Live() {
		return p.d.Strategy
	}
	return p.Config.Strategy
}

// dest returns the release that is moved to, or kept.
func (p *planner) dest() int {
	if p.d.Live() || p.d.State == Stuck && p.d.From == 0 {
		return p.d.Dest()
	}
	return p.Current
}

// split sorts the instances into those of where we go and the others, each in
// the order in which they would be stopped: useless ones first, then the
// youngest of here and the oldest of away.
func (p *planner) split(dest int) {
	p.here, p.away = nil, nil
	for _, i := range p.Instances {
		if i.State == backstay.Stopped { // its processes are gone
			continue
		}
		n := inst{Instance: i, leaving: leaving(i.State), serves: serves(i)}
		if p.belongs(i, dest) {
			n.good = p.good(i)
			p.here = append(p.here, n)
		} else {
			p.away = append(p.away, n)
		}
	}
	slices.SortFunc(p.here, func(a, b inst) int {
		return cmp.Or(worth(a)-worth(b), b.Started.Compare(a.Started), cmp.Compare(a.ID, b.ID))
	})
	slices.SortFunc(p.away, func(a, b inst) int {
		return cmp.Or(worth(a)-worth(b), a.Started.Compare(b.Started), cmp.Compare(a.ID, b.ID))
	})
}

// belongs reports whether i is one of those we want to have in the end.
func (p *planner) belongs(i backstay.Instance, dest int) bool {
	switch {
	case i.Release != backstay.ReleaseID(p.Service, dest):
		return false
	case p.d.State == RollingBack:
		return !slices.Contains(p.d.Away, i.ID)
	case p.d.Live():
		return !slices.Contains(p.d.Before, i.ID)
	default:
		return true
	}
}

// good reports whether i has been ready for min_ready without a break. A restart
// begins that anew, also of one that was good before.
func (p *planner) good(i backstay.Instance) bool {
	ready := i.State == backstay.Completed || !p.Now.Before(i.ReadySince.Add(p.Config.MinReady.Std()))
	return serves(i) && ready
}

// leaving reports whether an instance in state s is on its way out.
func leaving(s backstay.InstanceState) bool {
	return s == backstay.Draining || s == backstay.Stopping
}

// serves reports whether i takes requests. One that has run to its end, as it
// should, serves by having done so.
func serves(i backstay.Instance) bool {
	return i.State == backstay.Completed || i.Ready && !i.Drained && !leaving(i.State)
}

func worth(i inst) int {
	switch {
	case i.good:
		return 2
	case i.serves:
		return 1
	default:
		return 0
	}
}

// number counts those that are as told.
func number(all []inst, is func(inst) bool) (n int) {
	for _, i := range all {
		if is(i) {
			n++
		}
	}
	return n
}

func staying(i inst) bool { return !i.leaving }
func serving(i inst) bool { return i.serves && !i.leaving }
func isGood(i inst) bool  { return i.good && !i.leaving }
func isAway(i inst) bool  { return i.leaving }

// inTraffic reports whether requests may still come to i: one that was told to
// leave takes them until its withdrawal is acknowledged.
func inTraffic(i inst) bool { return i.Ready && !i.Drained }

// say tells people, and keeps it.
func (p *planner) say(text string) {
	p.d.say(p.Now, text)
	p.steps = append(p.steps, Step{Do: Emit, Text: text})
}

// await looks again at t at the latest.
func (p *planner) await(t time.Time) {
	if !t.IsZero() {
		p.steps = append(p.steps, Step{Do: Await, At: t})
	}
}

// start begins n instances of a release.
func (p *planner) start(release, n int) {
	for range n {
		p.steps = append(p.steps, Step{Do: Start, Release: release})
	}
}

// stop ends i, which is an element of here or away.
func (p *planner) stop(i *inst, why string) {
	if i.ID == "" || i.leaving { // not there yet, or told before
		return
	}
	i.leaving = true
	p.steps = append(p.steps, Step{Do: Stop, IDs: []string{i.ID}, Text: why})
}

// stopSome ends up to n of all that may be ended, the least useful first.
func (p *planner) stopSome(all []inst, n int, why string, may func(inst) bool) {
	for k := range all {
		if n > 0 && !all[k].leaving && all[k].ID != "" && may(all[k]) {
			p.stop(&all[k], why)
			n--
		}
	}
}

func whoever(inst) bool { return true }

// become ends one state and begins the next.
func (p *planner) become(s State, reason string) {
	if p.d.State == s {
		return
	}
	p.d.State, p.d.Since, p.d.Deadline, p.d.Waits = s, p.Now, time.Time{}, ""
	if reason != "" {
		p.d.Reason = reason
	}
	if s.Ended() {
		p.d.Ended = p.Now
		p.d.Members, p.d.Before, p.d.Away = nil, nil, nil
		p.steps = append(p.steps, Step{Do: Prune})
	}
	p.say(p.d.headline(p.Now))
}

// count fills in what is shown of a deploy under way, and as it ends.
func (p *planner) count() {
	if !p.Deploy.Live() {
		return
	}
	p.d.Of = p.Replicas
	p.d.Replaced = number(p.here, func(i inst) bool { return isGood(i) || p.Deploy.State == RollingBack && serving(i) })
	p.d.Leaving = number(p.here, isAway) + number(p.away, isAway)
}
