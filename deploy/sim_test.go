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
	gone time.Time // when it has drained; zero while it stays
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
	w := &world{now: dawn, replicas: replicas, programs: map[int]program{}, drain: time.Second, born: map[int]int{}}
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
		b.live(w.now)
	}
}

func (b *body) live(now time.Time) {
	up := now.Sub(b.Started)
	since := up - b.ready
	switch {
	case b.dies > 0 && (b.ready == 0 && up >= b.dies || b.ready > 0 && since >= b.dies):
		b.Last = &backstay.Exit{At: now, Known: true, Code: 3}
		b.LastLog = []string{"listening", "panic: assignment to entry in nil map"}
		b.Starts++
		b.Started, b.Ready, b.ReadySince = now, false, time.Time{}
		if b.State == backstay.Running {
			b.State = backstay.Starting
		}
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
	gone, starts, swapped := map[string]bool{}, 0, false
	for _, s := range steps {
		switch s.Do {
		case Start:
			starts++
		case Stop:
			for _, id := range s.IDs {
				gone[id] = true
			}
		case Withdraw:
			swapped = true
		default:
		}
	}
	strays, retired := false, false
	var was, left, stay, fromStay, good, toServes, draining int
	for _, i := range v.Instances {
		away := i.Release != backstay.ReleaseID("shop", d.To) || slices.Contains(v.Deploy.Before, i.ID)
		strays = strays || i.Release != backstay.ReleaseID("shop", d.To) && i.Release != backstay.ReleaseID("shop", d.From)
		leaves := leaving(i.State) || gone[i.ID]
		retired = retired || away && gone[i.ID] && i.Release == backstay.ReleaseID("shop", d.From)
		if i.Release == backstay.ReleaseID("shop", d.From) && away && leaves {
			draining++
		}
		if serves(i) {
			was++
		}
		if leaves {
			continue
		}
		stay++
		if serves(i) {
			left++
		}
		switch {
		case away:
			fromStay++
		case serves(i):
			toServes++
			if !w.now.Before(i.ReadySince.Add(w.config.MinReady.Std())) {
				good++
			}
		}
	}
	surge, missing := w.config.MaxSurge.Of(v.Replicas, true), w.config.MaxUnavailable.Of(v.Replicas, false)
	one := v.FixedPorts || w.config.Strategy == "recreate"
	if surge == 0 && missing == 0 {
		missing = 1
	}
	if starts > 0 && stay+starts > v.Replicas+surge {
		w.broken("%s: %d stay and %d start, with %d replicas + %d", d.State, stay, starts, v.Replicas, surge)
	}
	if v.Replicas > 0 && !one && !swapped && left < was && left < v.Replicas-missing {
		w.broken("%s: stops serving ones until %d are left of %d, wanted %d - %d", d.State, left, was, v.Replicas, missing)
	}
	if swapped && left == 0 && !one && v.Replicas > missing {
		w.broken("%s: traffic moves to nobody", d.State)
	}
	if one && starts > 0 && stay+starts > v.Replicas {
		w.broken("%s: two at once", d.State)
	}
	if (d.State == Rolling || d.State == Finishing) && v.Deploy.State == d.State && d.Kind != First && !one && v.Replicas > 0 && retired {
		if surge > 0 && !strays && fromStay < d.Of-good && fromStay < v.Replicas-good {
			w.broken("%s: %d of the old ones stay while %d of %d new ones are good", d.State, fromStay, good, v.Replicas)
		}
		if most := drainFactor * max(surge, 1); surge > 0 && !strays && draining > most && v.Replicas == v.Deploy.Of && stay+len(gone) <= v.Replicas+surge {
			w.broken("%s: %d drain at once, at most %d", d.State, draining, most)
		}
	}
	releases := map[string]bool{}
	for _, i := range v.Instances {
		if serves(i) {
			releases[i.Release] = true
		}
	}
	if len(releases) > 2 {
		w.broken("%s: %d releases take traffic", d.State, len(releases))
	}
}
