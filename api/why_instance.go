package api

import (
	"fmt"
	"strings"
	"time"

	"github.com/backstay/backstay"
)

// find returns the instance called id and its service.
func (st Status) find(id string) (s Service, i Instance, ok bool) {
	for _, s := range st.Services {
		for _, i := range s.Instances {
			if i.ID == id {
				return s, i, true
			}
		}
	}
	return s, i, false
}

func (f Facts) instance(id string) (Proof, bool) {
	s, i, ok := f.Status.find(id)
	if !ok {
		return Proof{}, false
	}
	p := Proof{State: string(i.State), Since: i.Since}
	switch i.State {
	case backstay.Waiting:
		f.waiting(&p, s, i)
	case backstay.Starting:
		f.starting(&p, s, i)
	case backstay.Running:
		f.running(&p, s, i)
	case backstay.Draining, backstay.Stopping:
		f.leaving(&p, s, i)
	case backstay.Crashed, backstay.Backoff, backstay.Failed:
		f.dead(&p, s, i)
	case backstay.Completed, backstay.Stopped:
		f.ended(&p, s, i)
	default: // a newer agent has a state that is not known here
		p.What = "it is " + string(i.State)
		p.Because = because(i)
	}
	return p, true
}

// because is the fact that led to the state, as the supervisor tells it.
func because(i Instance) []Fact {
	if i.Because == "" {
		return nil
	}
	return []Fact{{Text: i.Because}}
}

func (f Facts) waiting(p *Proof, s Service, i Instance) {
	p.What = "it waits for " + strings.Join(i.WaitsFor, ", ") + " before it starts"
	for _, name := range i.WaitsFor {
		on, ok := f.service(name)
		if !ok {
			p.Because = append(p.Because, Fact{Text: "there is no service/" + name})
			continue
		}
		p.Because = append(p.Because, Fact{Text: "service/" + name + ": " + on.What, Where: f.line("services." + s.Name + ".depends_on")})
		p.Because = append(p.Because, on.Because[:min(len(on.Because), 2)]...)
		p.Do = append(p.Do, "backstay why service/"+name, f.dependence(s, name))
	}
	if len(i.WaitsFor) == 0 {
		p.What, p.Because = "it waits for its turn to start", because(i)
	}
}

// dependence is the line of the file by which s waits for another service.
func (f Facts) dependence(s Service, on string) string {
	return f.edit("services."+s.Name+".depends_on."+on, "take it out and backstay apply, and "+s.Name+" does not wait for it")
}

func (f Facts) starting(p *Proof, s Service, i Instance) {
	p.What = "it is being started"
	if i.PID > 0 {
		p.What = fmt.Sprintf("it runs as pid %d and has not been ready since it started %s", i.PID, f.ago(i.Started))
	}
	p.Because = append(p.Because, f.unready(s, i)...)
	p.Do = []string{"backstay logs " + i.ID + " -n 50", f.edit(probeKey(s, i), "ask something else, or more patiently")}
}

// unready returns which probe keeps i from being ready, and what it says.
func (f Facts) unready(s Service, i Instance) []Fact {
	b := badProbe(i)
	if b == nil {
		return because(i)
	}
	said := b.Output
	if said == "" {
		said = "no answer yet"
	}
	text := fmt.Sprintf("the %s probe %s says: %s", b.Name, b.Target, said)
	if b.Streak > 1 {
		text += fmt.Sprintf(", %d times in a row", b.Streak)
	}
	return []Fact{{Text: text, At: b.Checked, Where: f.line(probeKey(s, i))}}
}

// badProbe returns the probe that decides against i: startup holds the others
// back, so it comes first.
func badProbe(i Instance) *backstay.ProbeStatus {
	for _, name := range []string{"startup", "readiness", "liveness"} {
		for n := range i.Probes {
			if p := &i.Probes[n]; p.Name == name && !p.Good {
				return p
			}
		}
	}
	return nil
}

func probeKey(s Service, i Instance) string {
	name := "readiness"
	if b := badProbe(i); b != nil {
		name = b.Name
	}
	return "services." + s.Name + ".probes." + name
}

func (f Facts) running(p *Proof, s Service, i Instance) {
	blocked, do := f.noTraffic(s, i)
	switch {
	case len(blocked) > 0 && !i.Ready:
		p.What = fmt.Sprintf("it runs as pid %d but is not ready, so it gets no traffic", i.PID)
	case len(blocked) > 0:
		p.What = fmt.Sprintf("it runs as pid %d and is ready, but gets no traffic", i.PID)
	case !s.Balanced:
		p.What = fmt.Sprintf("it runs as pid %d and is ready; no route leads to it", i.PID)
	default:
		p.What = fmt.Sprintf("it runs as pid %d, is ready and gets traffic", i.PID)
	}
	p.Because, p.Do = blocked, do
	if len(blocked) == 0 {
		p.Because = f.well(i)
		return
	}
	if since := f.blockedSince(i); !since.IsZero() {
		p.Since = since
	}
}

// blockedSince is since when i gets no traffic, where the instance knows.
func (f Facts) blockedSince(i Instance) time.Time {
	b := badProbe(i)
	switch {
	case i.ByHand():
		_, since := f.drain(i)
		return since
	case !i.Ready && b != nil:
		return b.Since
	case i.Ready && i.Server != nil && i.Server.Ejected != nil:
		return i.Server.Ejected.Since
	default:
		return time.Time{}
	}
}

// well is what shows that a running instance does its work.
func (f Facts) well(i Instance) []Fact {
	var facts []Fact
	for _, pr := range i.Probes {
		if pr.Name == "readiness" && pr.Good {
			facts = append(facts, Fact{Text: fmt.Sprintf("the readiness probe %s says: %s", pr.Target, pr.Output), At: pr.Checked})
		}
	}
	if i.Server != nil {
		facts = append(facts, Fact{Text: "so far " + i.Server.Traffic.TriesText()})
	}
	if i.Starts > 1 && i.Last != nil {
		facts = append(facts, Fact{Text: fmt.Sprintf("run %d; the one before %s", i.Starts, i.Last), At: i.Last.At})
	}
	return facts
}

func (f Facts) leaving(p *Proof, s Service, i Instance) {
	p.What = "it takes no new requests and finishes those it has"
	if i.State == backstay.Stopping {
		p.What = fmt.Sprintf("it was told to stop and pid %d has not ended yet", i.PID)
		if i.PID == 0 {
			p.What = "it was told to stop, and its main process has left others behind that have not ended yet"
		}
	}
	p.Because = because(i)
	if e, ok := f.told(backstay.StateChanged, i.ID, string(i.State)); ok && len(p.Because) > 0 {
		p.Because[0].By = e.Actor
	}
	if i.State == backstay.Stopping {
		p.Do = []string{f.edit("services."+s.Name+".stop.grace", "after it the whole tree is killed")}
		return
	}
	if i.Server != nil {
		p.Because = append(p.Because, Fact{Text: fmt.Sprintf("%d in flight", i.Server.Traffic.InFlight)})
	}
	p.Do = []string{f.edit("services."+s.Name+".stop.drain", "after it the signal is sent anyway")}
}

func (f Facts) dead(p *Proof, s Service, i Instance) {
	p.Because = death(i)
	logs := "backstay logs " + i.ID + " -n 50"
	switch i.State {
	case backstay.Backoff:
		p.What = fmt.Sprintf("it ended and starts again %s (attempt %d)", f.until(i.NextStart), i.Failures+1)
		p.Do = []string{logs, "backstay start " + i.ID + "  # does not wait", f.edit("services."+s.Name+".restart.backoff", "shortest..longest wait")}
	case backstay.Failed:
		f.failed(p, s, i)
	default:
		p.What = "it ended unasked; what follows is being decided"
		p.Do = []string{logs}
	}
}

func (f Facts) failed(p *Proof, s Service, i Instance) {
	logs, start := "backstay logs "+i.ID+" -n 50", "backstay start "+i.ID+"  # tries now"
	if i.Forsaken() {
		policy := "services." + s.Name + ".restart.policy"
		p.What = "it ended with " + i.Last.Ending() + " and policy never does not start it again"
		p.Because = append([]Fact{{Text: "restart.policy is never", Where: f.line(policy)}}, p.Because...)
		p.Do = []string{logs, start, f.edit(policy, "always or on_failure starts it again")}
		return
	}
	p.What = "it ended " + counted(i.Failures, "time") + " and is not hurried any more"
	if !i.NextStart.IsZero() {
		p.What += "; the next try is " + f.until(i.NextStart)
	}
	p.Do = append([]string{logs, start}, f.rollback(s.Name)...)
	p.Do = append(p.Do, f.edit("services."+s.Name+".restart.limit", "how many are too many"))
}

// Forsaken reports whether i ended badly and its restart policy, never, has it
// stay so: every other policy counts the failure and tries again.
func (i Instance) Forsaken() bool {
	return i.State == backstay.Failed && i.Failures == 0 && i.NextStart.IsZero() && i.Last != nil
}

// death is how the last run ended and the last line before.
func death(i Instance) []Fact {
	if i.Last == nil {
		return because(i)
	}
	text := i.Last.String()
	if i.Last.Reason != "" {
		text += ": " + i.Last.Reason
	}
	facts := []Fact{{Text: text, At: i.Last.At}}
	if line := backstay.LastText(i.LastLog); line != "" {
		facts = append(facts, Fact{Text: "its last line: " + line, Where: i.LogFile})
	}
	return facts
}

func (f Facts) ended(p *Proof, s Service, i Instance) {
	if i.State == backstay.Completed {
		p.What = "it ran to its end, as it should"
		p.Because = death(i)
		p.Do = []string{"backstay start " + i.ID + "  # runs it again"}
		return
	}
	p.What = "it ended as asked"
	p.Because = f.stopped(s)
	if len(p.Because) == 0 {
		p.Because = because(i)
	}
	p.Do = []string{"backstay start " + s.Name}
}

// stopped is who stopped the service.
func (f Facts) stopped(s Service) []Fact {
	switch {
	case f.Status.AllDown():
		return []Fact{{Text: "backstay down stopped everything", By: f.Status.Down.By, At: f.Status.Down.Since}}
	case s.Stopped:
		return []Fact{{Text: "the service is stopped", By: s.StoppedBy, At: s.StoppedSince}}
	default:
		return nil
	}
}
