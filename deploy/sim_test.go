package deploy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/backstay/backstay"
)

// program is how instances of a release behave.
type program struct {
	ready  time.Duration // after the start of a run; 0 is never
	dies   time.Duration // after it got ready, or after its start if it never does; 0 is never
	flap   time.Duration // once ready, readiness turns so often; 0 is never
	flakes int           // only so many of its instances behave so, after the first spare; 0 is all
	spare  int
}

// well says that nothing is wrong with p.
func (p program) well() bool { return p.ready > 0 && p.dies == 0 && p.flap == 0 }

// body is an instance of the simulated pool.
type body struct {
	backstay.Instance

	program
	gone  time.Time // when it has drained; zero while it stays
	heard time.Time // when its last lines are read
	words []string
}

// world is one service on a simulated pool, in virtual time, with the planner's
// shell reduced to what the tests need.
type world struct {
	now      time.Time
	replicas int
	config   Config
	fixed    bool
	current  int
	deploy   Deploy
	programs map[int]program
	drain    time.Duration
	grace    time.Duration // of it, the end: signalled
	mute     time.Duration // between a death and its last lines
	words    []string      // what those who die say last
	bodies   []*body
	born     map[int]int // instances so far, by release
	n        int
	script   strings.Builder
	broken   func(format string, args ...any)
	history  []State
}

const step = 250 * time.Millisecond

var dawn = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func newWorld(replicas int, change func(*Config)) *world {
	w := &world{
		now: dawn, replicas: replicas, programs: map[int]program{}, drain: time.Second, born: map[int]int{}, words: lastWords,
	}
	w.config.SetDefaults()
	w.config.MinReady = backstay.Duration(2 * time.Second)
	w.config.ProgressDeadline = backstay.Duration(20 * time.Second)
	if change != nil {
		change(&w.config)
	}
	w.broken = func(string, ...any) {}
	return w
}

// runs has the first release in force with all its instances well.
func (w *world) runs(seq int) {
	w.current = seq
	for range w.replicas {
		w.spawn(seq)
	}
	for range 40 {
		w.live()
		w.now = w.now.Add(step)
	}
}

func (w *world) spawn(seq int) *body {
	w.n++
	p := w.programs[seq]
	if w.born[seq]++; p.flakes > 0 && (w.born[seq] <= p.spare || w.born[seq] > p.spare+p.flakes) {
		p = program{ready: p.ready}
	}
	b := &body{program: p, Instance: backstay.Instance{
		ID: fmt.Sprintf("shop-%06x", w.n), Service: "shop", Release: backstay.ReleaseID("shop", seq),
		State: backstay.Starting, Started: w.now, Starts: 1,
	}}
	w.bodies = append(w.bodies, b)
	return b
}

// live has time pass over the instances.
func (w *world) live() {
	w.bodies = slices.DeleteFunc(w.bodies, func(b *body) bool { return !b.gone.IsZero() && !w.now.Before(b.gone) })
	for _, b := range w.bodies {
		if !b.gone.IsZero() && !w.now.Before(b.gone.Add(-w.grace)) {
			b.State = backstay.Stopping
		}
		if b.live(w.now) {
			b.heard, b.words = w.now.Add(w.mute), w.words
		}
		if b.words != nil && !w.now.Before(b.heard) {
			b.LastLog, b.words = b.words, nil
		}
	}
}

// lastWords is what those who die say last, if nothing else is told.
var lastWords = []string{"listening", "panic: assignment to entry in nil map"}

// live has time pass over b and reports whether it has died.
func (b *body) live(now time.Time) (died bool) {
	up := now.Sub(b.Started)
	since := up - b.ready
	switch {
	case b.dies > 0 && (b.ready == 0 && up >= b.dies || b.ready > 0 && since >= b.dies):
		b.Last = &backstay.Exit{At: now, Known: true, Code: 3}
		b.LastLog = nil
		b.Starts++
		b.Started, b.Ready, b.ReadySince = now, false, time.Time{}
		if b.State == backstay.Running {
			b.State = backstay.Starting
		}
		return true
	case b.ready > 0 && since >= 0:
		ready := b.flap == 0 || int(since/b.flap)%2 == 0
		if ready && !b.Ready {
			b.ReadySince = now
		}
		if b.Ready = ready; b.State == backstay.Starting {
			b.State = backstay.Running
		}
		if !ready {
			b.ReadySince = time.Time{}
			b.Probes = []backstay.ProbeStatus{{Name: "readiness", Target: "http 127.0.0.1:20001/healthz", Output: "HTTP 503"}}
		}
	}
	return false
}

// begin puts a deploy in force, as the shell does.
func (w *world) begin(kind Kind, to int) {
	from := w.current
	if w.deploy.Live() {
		if w.deploy.Kind == Rollback {
			from = w.deploy.To
		}
		w.say("superseded")
	}
	w.deploy = Deploy{
		ID: fmt.Sprintf("shop-d%d", len(w.history)+1), Service: "shop", Kind: kind, From: from, To: to, Strategy: w.config.Strategy,
		State: Rolling, Started: w.now, Since: w.now, Of: w.replicas,
	}
	if kind == Rollback {
		w.deploy.State = RollingBack
	}
	if kind == Restart {
		w.deploy.Proven = true
		for _, b := range w.bodies {
			w.deploy.Before = append(w.deploy.Before, b.ID)
		}
	}
	w.say(w.deploy.title())
	w.history = append(w.history, w.deploy.State)
}

func (w *world) abort() {
	w.deploy = w.deploy.clone()
	w.deploy.turn(w.now, "aborted", w.instances())
	w.say(w.deploy.headline(w.now))
}

func (w *world) instances() (all []backstay.Instance) {
	for _, b := range w.bodies {
		all = append(all, b.Instance)
	}
	return all
}

func (w *world) view() View {
	return View{
		Now: w.now, Service: "shop", Replicas: w.replicas, Config: w.config, FixedPorts: w.fixed, Current: w.current,
		Deploy: w.deploy, Instances: w.instances(),
	}
}

// plan has the planner decide, checks what it did, and carries it out.
func (w *world) plan() {
	v := w.view()
	d, steps := Plan(v)
	w.check(v, d, steps)
	if d.State != w.deploy.State && d.ID != "" {
		w.history = append(w.history, d.State)
	}
	ended := d.ID != "" && d.State.Ended() && d.State != w.deploy.State
	w.deploy = d
	if ended && d.State == Done {
		w.current = d.To
	}
	for _, s := range steps {
		w.carry(s)
	}
	again, more := Plan(w.view())
	if d.State == Rolling && again.State == Finishing {
		w.plan() // what was told to leave is out of traffic: a fact of its own
		return
	}
	for _, s := range more {
		if s.Do != Await && s.Do != Prune {
			w.broken("planned twice: %v, after %v in %s", s, steps, d.State)
		}
	}
	if again.State != d.State || !slices.Equal(again.Lines, d.Lines) || again.Goods != d.Goods || again.Flakes != d.Flakes {
		w.broken("planned again, %s is another deploy", d.State)
	}
}

func (w *world) carry(s Step) {
	switch s.Do {
	case Start:
		w.say(w.spawn(s.Release).ID + " started, " + backstay.ReleaseID("shop", s.Release))
	case Stop:
		for _, b := range w.bodies {
			if slices.Contains(s.IDs, b.ID) {
				b.State, b.Drained, b.gone = backstay.Draining, true, w.now.Add(w.drain)
				w.say(b.ID + " leaves: " + s.Text)
			}
		}
	case Withdraw:
		for _, b := range w.bodies {
			if slices.Contains(s.IDs, b.ID) {
				b.Drained = true
			}
		}
		w.say("traffic leaves " + strings.Join(s.IDs, " ") + " at once")
	case Emit:
		w.say(s.Text)
	default:
	}
}

// crash has the agent die: all but the record is forgotten.
func (w *world) crash() {
	text, err := json.Marshal(w.deploy)
	if err != nil {
		panic(err)
	}
	w.deploy = Deploy{}
	if err := json.Unmarshal(text, &w.deploy); err != nil {
		panic(err)
	}
}

func (w *world) say(text string) {
	fmt.Fprintf(&w.script, "  %6.2fs %s\n", w.now.Sub(dawn).Seconds(), text)
}

// run lets time pass until f says stop, at most for so long.
func (w *world) run(most time.Duration, f func() bool) {
	for end := w.now.Add(most); w.now.Before(end); w.now = w.now.Add(step) {
		w.live()
		w.plan()
		if f != nil && f() {
			return
		}
	}
}

func (w *world) over() bool { return !w.deploy.Live() || w.deploy.State == Paused }

// serving counts the instances of a release that take requests; 0 is all.
func (w *world) serving(seq int) (n int) {
	for _, b := range w.bodies {
		if (seq == 0 || b.Release == backstay.ReleaseID("shop", seq)) && serves(b.Instance) {
			n++
		}
	}
	return n
}

// check is what must be true of every plan, whatever happens.
func (w *world) check(v View, d Deploy, steps []Step) {
	surge, missing := w.config.MaxSurge.Of(v.Replicas, true), w.config.MaxUnavailable.Of(v.Replicas, false)
	if surge == 0 && missing == 0 {
		missing = 1
	}
	after := w.count(v, d, steps)
	w.checkTraffic(v, d, after, surge, missing)
	if after.retired && (d.State == Rolling || d.State == Finishing) && v.Deploy.State == d.State && d.Kind != First && !w.oneAtATime(v) && v.Replicas > 0 {
		w.checkRoll(v, d, after, surge)
	}
	releases := map[string]bool{}
	for _, i := range v.Instances {
		if serves(i) {
			releases[i.Release] = true
		}
		leaves := i.Release != d.name(d.To) || slices.Contains(d.Before, i.ID)
		if d.State == Finishing && v.Deploy.State == Rolling && leaves && i.Ready && !i.Drained {
			w.broken("all traffic is said to have moved while %s takes some", i.ID)
		}
	}
	if len(releases) > 2 {
		w.broken("%s: %d releases take traffic", d.State, len(releases))
	}
}

func (w *world) oneAtATime(v View) bool { return v.FixedPorts || w.config.Strategy == "recreate" }

// outcome counts the instances when steps have been done.
type outcome struct {
	starts   int
	gone     map[string]bool // stopped by the steps
	swapped  bool            // traffic is moved
	was      int             // served before
	left     int             // of those, how many still do
	stay     int
	fromStay int // of the release that goes
	good     int // of the release that comes
	draining int
	strays   bool // there is one of a third release
	retired  bool // one of the release that goes is stopped
}

func (w *world) count(v View, d Deploy, steps []Step) outcome {
	o := outcome{gone: map[string]bool{}}
	for _, s := range steps {
		switch s.Do {
		case Start:
			o.starts++
		case Stop:
			for _, id := range s.IDs {
				o.gone[id] = true
			}
		case Withdraw:
			o.swapped = true
		default:
		}
	}
	for _, i := range v.Instances {
		w.countOne(&o, v, d, i)
	}
	return o
}

func (w *world) countOne(o *outcome, v View, d Deploy, i backstay.Instance) {
	to, from := i.Release == backstay.ReleaseID("shop", d.To), i.Release == backstay.ReleaseID("shop", d.From)
	away := !to || slices.Contains(v.Deploy.Before, i.ID)
	leaves := leaving(i.State) || o.gone[i.ID]
	o.strays = o.strays || !to && !from
	o.retired = o.retired || away && from && o.gone[i.ID]
	if from && away && leaves {
		o.draining++
	}
	if serves(i) {
		o.was++
	}
	if leaves {
		return
	}
	o.stay++
	if serves(i) {
		o.left++
	}
	switch {
	case away:
		o.fromStay++
	case serves(i) && !w.now.Before(i.ReadySince.Add(w.config.MinReady.Std())):
		o.good++
	}
}

// checkTraffic checks that there are never too few that serve, nor too many that run.
func (w *world) checkTraffic(v View, d Deploy, o outcome, surge, missing int) {
	one := w.oneAtATime(v)
	if o.starts > 0 && o.stay+o.starts > v.Replicas+surge {
		w.broken("%s: %d stay and %d start, with %d replicas + %d", d.State, o.stay, o.starts, v.Replicas, surge)
	}
	if v.Replicas > 0 && !one && !o.swapped && o.left < o.was && o.left < v.Replicas-missing {
		w.broken("%s: stops serving ones until %d are left of %d, wanted %d - %d", d.State, o.left, o.was, v.Replicas, missing)
	}
	if o.swapped && o.left == 0 && !one && v.Replicas > missing {
		w.broken("%s: traffic moves to nobody", d.State)
	}
	if one && o.starts > 0 && o.stay+o.starts > v.Replicas {
		w.broken("%s: two at once", d.State)
	}
}

// checkRoll checks that old ones go only for new ones that are good, few at a time.
func (w *world) checkRoll(v View, d Deploy, o outcome, surge int) {
	if surge == 0 || o.strays {
		return
	}
	if o.fromStay < d.Of-o.good && o.fromStay < v.Replicas-o.good {
		w.broken("%s: %d of the old ones stay while %d of %d new ones are good", d.State, o.fromStay, o.good, v.Replicas)
	}
	if most := drainFactor * surge; o.draining > most && v.Replicas == v.Deploy.Of && o.stay+len(o.gone) <= v.Replicas+surge {
		w.broken("%s: %d drain at once, at most %d", d.State, o.draining, most)
	}
}
