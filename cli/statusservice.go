package cli

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
)

func (v *view) services() {
	var rows []string
	for _, s := range v.Services {
		rows = append(rows, v.service(s))
		for _, i := range s.Instances {
			rows = append(rows, v.instance(s, i))
		}
	}
	v.table(row("  SERVICE", "RELEASE", "READY", "TRIES", "FAILED TRIES", "IN FLIGHT", "STATE"), rows)
}

func (v *view) service(s api.Service) string {
	release := s.Release
	if s.Version != "" {
		release += " " + s.Version
	}
	ready := fmt.Sprintf("%d/%d", s.Ready()+s.HandDrained(), s.Replicas)
	return row(append(append([]any{serviceSign(s) + s.Name, release, ready}, tries(s.Traffic, s.Balanced)...), v.serviceState(s))...)
}

func serviceSign(s api.Service) string {
	switch {
	case !s.Well():
		return signBad
	case s.Deploy != nil && !s.Deploy.State.Ended():
		return signWarn
	default:
		return signGood
	}
}

// serviceState is the one thing to know about s.
func (v *view) serviceState(s api.Service) string {
	switch {
	case s.Stopped:
		return "stopped" + by(s.StoppedBy)
	case s.Wanted != "" && s.Wanted != s.Release && s.Deploy != nil && s.Deploy.State == api.DeployRolledBack:
		return v.Wants(s) + ": rolled back, " + short(s.Deploy.Reason)
	case s.Wanted != "" && s.Wanted != s.Release && s.Deploy != nil && s.Deploy.State == api.DeployDone:
		return v.Wants(s) + ": gone back by " + s.Deploy.By
	case s.Wanted != "" && s.Deploy != nil && s.Deploy.State == api.DeployRefused && s.Deploy.To == s.Wanted:
		return v.Wants(s) + ": refused, " + short(s.Deploy.Reason)
	case s.Deploy != nil && !s.Deploy.State.Ended(), s.Deploy != nil && s.Deploy.State == api.DeployStuck:
		return v.deployState(*s.Deploy)
	case s.Ready() < s.Replicas:
		return missing(s)
	case s.Completes:
		return "completed"
	default:
		return v.trafficState(s)
	}
}

// trafficState says whether s, which is ready, gets requests.
func (v *view) trafficState(s api.Service) string {
	switch {
	case !s.Balanced:
		return "running"
	case !v.Proxied():
		return "ready, but no proxy serves it"
	case !v.Answered():
		return "ready, but no proxy answers: connections wait"
	case !v.Reachable(s):
		return "ready, but no frontend of it is bound"
	default:
		return "serving"
	}
}

// missing says how many instances of s should get traffic and do not.
func missing(s api.Service) string {
	var parts []string
	if s.Ready() == 0 && s.HandDrained() >= s.Replicas {
		return s.State()
	}
	if n := s.HandDrained(); n > 0 && s.Ready() == 0 {
		parts = append(parts, "all that is ready is drained"+by(s.Drainers()))
	} else if n > 0 {
		parts = append(parts, fmt.Sprintf("%d drained", n)+by(s.Drainers()))
	}
	if n := s.Replicas - s.Ready() - s.HandDrained(); n > 0 {
		parts = append(parts, fmt.Sprintf("%d missing", n))
	}
	return strings.Join(parts, ", ")
}

func (v *view) deployState(d api.Deploy) string {
	text := "deploy to " + d.To + " " + strings.ReplaceAll(string(d.State), "_", " ")
	switch {
	case d.State == api.DeployRolling && d.Of > 0:
		text += fmt.Sprintf(", %d of %d", d.Replaced, d.Of)
	case d.Reason != "":
		text += ": " + short(d.Reason)
	}
	return text
}

func (v *view) instance(s api.Service, i api.Instance) string {
	sign := signGood
	switch {
	case i.State == backstay.Failed || i.State == backstay.Backoff || i.State == backstay.Crashed || i.State == backstay.Running && !i.Ready && !i.Drained:
		sign = signBad
	case ejected(v.Status, i) || !i.Serves() && i.State != backstay.Stopped:
		sign = signWarn
	}
	var met *api.Counters
	if i.Server != nil {
		met = &i.Server.Traffic
	}
	return row(append(append([]any{sign + "  " + i.ID, i.Release, ""}, tries(met, s.Balanced)...), v.instanceState(i))...)
}

// instanceState is the one thing to know about i.
func (v *view) instanceState(i api.Instance) string {
	now := v.At
	switch i.State {
	case backstay.Running:
		return v.runningState(i)
	case backstay.Starting:
		return "starting for " + api.Age(now.Sub(i.Since)) + pidText(i) + probeText(i)
	case backstay.Waiting:
		return "waiting for " + strings.Join(i.WaitsFor, ", ")
	case backstay.Backoff:
		return "backoff: " + lastText(i) + fmt.Sprintf(", again in %s (attempt %d)", api.Age(i.NextStart.Sub(now)), i.Failures+1)
	case backstay.Failed:
		if i.Forsaken() {
			return "failed: ended with " + short(i.Last.Ending()) + ", policy never does not start it again"
		}
		text := "failed " + count(i.Failures, "time") + ": " + lastText(i)
		if !i.NextStart.IsZero() {
			text += ", again in " + api.Age(i.NextStart.Sub(now))
		}
		return text
	case backstay.Crashed:
		return "crashed: " + lastText(i)
	case backstay.Draining, backstay.Stopping:
		return string(i.State) + " for " + api.Age(now.Sub(i.Since))
	default:
		return string(i.State)
	}
}

// pidText names the process, if there is one yet.
func pidText(i api.Instance) string {
	if i.PID == 0 {
		return ""
	}
	return ", pid " + strconv.Itoa(i.PID)
}

func (v *view) runningState(i api.Instance) string {
	text := fmt.Sprintf("pid %d%s", i.PID, portText(i))
	switch {
	case i.ByHand() && i.Ready:
		text = "ready, drained" + by(i.Drainer()) + ", " + text
	case i.Drained:
		text = "drained" + by(i.Drainer()) + ", " + text
	case !i.Ready:
		text = "not ready, " + text + probeText(i)
	case ejected(v.Status, i):
		text = "ejected for " + api.Age(i.Server.Ejected.Until.Sub(v.At)) + ": " + short(i.Server.Ejected.Because)
	default:
		text = "ready for " + api.Age(v.At.Sub(i.ReadySince)) + ", " + text
	}
	if i.Starts > 1 && i.Last != nil {
		text += fmt.Sprintf(", run %d", i.Starts)
	}
	return text
}

// probeText is what the probe that decides says.
func probeText(i api.Instance) string {
	for _, p := range i.Probes {
		if !p.Good && p.Output != "" {
			return ": " + p.Name + " says " + short(p.Output)
		}
	}
	return ""
}

func lastText(i api.Instance) string {
	if i.Last == nil {
		return short(i.Because)
	}
	return short(i.Last.String())
}

// portText names the ports, smallest name first.
func portText(i api.Instance) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(i.Ports)) {
		parts = append(parts, ":"+strconv.Itoa(int(i.Ports[name])))
	}
	if parts == nil {
		return ""
	}
	return " at " + strings.Join(parts, " ")
}
