package supervise

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/backstay/backstay"
)

// RlimitNames are the limits a file may name, by number of setrlimit(2).
var RlimitNames = []string{
	"cpu", "fsize", "data", "stack", "core", "rss", "nproc", "nofile", "memlock", "as", "locks", "sigpending", "msgqueue",
	"nice", "rtprio", "rttime",
}

// The forms of what a file names.
var (
	versionForm  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$`)
	variableForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// Bounds of what a file may ask for.
const (
	longestName  = 63 - len("-7f3a9c") // the instance's name is a label too
	mostReplicas = 1000                // what one host has been measured with
	mostLogFiles = 1000
	leastLogSize = backstay.Size(4 << 10) // a page: smaller files would rotate with every burst
	leastBackoff = backstay.Duration(1e6) // shorter pauses between crashes are a busy loop
	mostRestarts = 1_000_000              // within one window
	mostPorts    = 64                     // of one service; each auto one costs a port per instance
)

// Check returns what is wrong with the service called name by itself: nothing
// here asks about other services, files or users.
func (s *Service) Check(name string) []backstay.Mistake {
	var m backstay.Mistakes
	if len(name) > longestName {
		m.Say("name_too_long", "", "", "the name is longer than %d characters; those of its instances would be no labels", longestName)
	}
	if s.Version != "" && !versionForm.MatchString(s.Version) {
		m.Say("bad_version", "version", "v1", "%q is not a version: up to 64 of A-Z a-z 0-9 . _ + -, the first a letter or digit", s.Version)
	}
	m.Within("replicas", s.Replicas, 0, mostReplicas)
	m.Under("run", s.Run.Check())
	s.checkPorts(&m)
	s.checkReady(&m)
	s.Restart.check(&m)
	s.checkStop(&m)
	return m
}

func (s *Service) checkPorts(m *backstay.Mistakes) {
	if len(s.Ports) > mostPorts {
		m.Say("too_many", "ports", "", "more than %d ports", mostPorts)
	}
	seen := map[backstay.Port]string{}
	for _, name := range slices.Sorted(maps.Keys(s.Ports)) {
		p := backstay.Port(s.Ports[name])
		if first, twice := seen[p]; twice && p.Number > 0 {
			m.Say("port_clash", "ports."+name, "auto", "port %d is %s already", p.Number, first)
		}
		seen[p] = name
	}
}

func (s *Service) checkReady(m *backstay.Mistakes) {
	if s.Ready != "" {
		m.OneOf("ready", s.Ready, "probe", "started")
	}
	if s.Ready == "probe" && s.Probes.Readiness == nil {
		m.Say("no_readiness", "ready", "started", "probe: there is no probes.readiness to ask")
	}
	for _, other := range slices.Sorted(maps.Keys(s.DependsOn)) {
		m.OneOf("depends_on."+other, string(s.DependsOn[other]), string(Started), string(Ready), string(Completed))
	}
	for name, p := range s.Probes.All() {
		if p != nil {
			m.Under("probes."+name, p.Check())
			s.checkProbePort("probes."+name, p, m)
		}
	}
}

// All yields the three by name; those that are not asked are nil.
func (p *Probes) All() func(yield func(string, *backstay.Probe) bool) {
	return func(yield func(string, *backstay.Probe) bool) {
		_ = yield("startup", p.Startup) && yield("readiness", p.Readiness) && yield("liveness", p.Liveness)
	}
}

// checkProbePort looks for the port that p asks: by name, by number, or the one
// that goes without saying.
func (s *Service) checkProbePort(key string, p *backstay.Probe, m *backstay.Mistakes) {
	names := slices.Sorted(maps.Keys(s.Ports))
	kind := p.Kind()
	if kind == "" || kind == "exec" {
		return
	}
	name, known := PortOf(s.Ports, p.Port)
	_, number := p.Port.Number()
	switch {
	case p.Port == "" && len(names) == 0:
		m.Say("no_port", key+".port", "", "the service has no ports; say which one to ask")
	case p.Port == "" && !known:
		m.Unknown("port_needed", key+".port", nil, "is missing: the service has %s", strings.Join(names, ", "))
	case p.Port != "" && !known && !number:
		m.Unknown("no_such_port", key+".port", names, "the service has no port %s", p.Port)
	case known && s.Ports[name].UDP:
		m.Say("udp_port", key+".port", "", "port %s is UDP; the probe speaks TCP", name)
	}
}

// PortOf returns the name of the port that ref means among those of a service:
// the one called so or with that number; without a ref the only one, else http.
func PortOf(ports map[string]PortWish, ref backstay.PortRef) (name string, ok bool) {
	if number, is := ref.Number(); is {
		for _, name := range slices.Sorted(maps.Keys(ports)) {
			if ports[name].Number == number {
				return name, true
			}
		}
		return "", false
	}
	if ref == "" && len(ports) == 1 {
		return slices.Collect(maps.Keys(ports))[0], true
	}
	name = cmp.Or(string(ref), "http")
	_, ok = ports[name]
	return name, ok
}

func (r *Restart) check(m *backstay.Mistakes) {
	m.OneOf("restart.policy", r.Policy, "always", "on_failure", "never")
	if least := (backstay.Range{Min: leastBackoff, Max: max(r.Backoff.Max, leastBackoff)}); r.Backoff.Min < leastBackoff {
		m.Say("out_of_range", "restart.backoff", least.String(), "%s is shorter than %s", r.Backoff.Min, leastBackoff)
	}
	m.Within("restart.limit", r.Limit.Count, 1, mostRestarts)
}

func (s *Service) checkStop(m *backstay.Mistakes) {
	checkSignal(m, s.Stop.Signal)
	if s.Logs.MaxSize < leastLogSize {
		m.Say("out_of_range", "logs.max_size", leastLogSize.String(), "%s is smaller than %s", s.Logs.MaxSize, leastLogSize)
	}
	m.Within("logs.max_files", s.Logs.MaxFiles, 1, mostLogFiles)
	m.OneOf("logs.on_full", s.Logs.OnFull, "block", "drop")
}

func checkSignal(m *backstay.Mistakes, name string) {
	if _, ok := backstay.SignalNumber(name); ok {
		return
	}
	full := "SIG" + strings.TrimPrefix(strings.ToUpper(name), "SIG")
	if _, ok := backstay.SignalNumber(full); ok {
		m.Say("bad_signal", "stop.signal", full, "%q is not how a signal is written", name)
		return
	}
	var known []string
	for n := 1; n <= 31; n++ { // the real-time ones are numbered
		known = append(known, backstay.SignalName(n))
	}
	m.Unknown("bad_signal", "stop.signal", known, "%q is not a signal", name)
}

// Check returns what is wrong with r by itself.
func (r *Run) Check() []backstay.Mistake {
	var m backstay.Mistakes
	if r.Exec == nil {
		m.Say("missing_key", "exec", "", "is missing: what is to run")
	} else {
		m.Argv("exec", r.Exec)
	}
	m.Path("dir", r.Dir)
	for i, file := range r.EnvFile {
		m.Path(fmt.Sprintf("env_file[%d]", i), file)
	}
	m.Once("env_file", r.EnvFile)
	m.Once("groups", r.Groups)
	m.Within("nice", r.Nice, -20, 19)
	m.Within("oom_score_adj", r.OOMScoreAdj, -1000, 1000)
	r.checkEnv(&m)
	for _, name := range slices.Sorted(maps.Keys(r.Rlimits)) {
		if !slices.Contains(RlimitNames, name) {
			m.Unknown("bad_rlimit_name", "rlimits."+name, RlimitNames, "is no limit of setrlimit(2)")
		}
	}
	return m
}

// reservedVariables are variables that the keeper sets: what a file says would be lost.
var reservedVariables = []string{"BACKSTAY_INSTANCE", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID"}

func (r *Run) checkEnv(m *backstay.Mistakes) {
	for _, name := range slices.Sorted(maps.Keys(r.Env)) {
		switch {
		case !variableForm.MatchString(name):
			m.Say("bad_variable", "env."+name, "", "%q is not a variable: A-Z a-z 0-9 _, the first no digit", name)
		case slices.Contains(reservedVariables, name):
			m.Say("reserved_variable", "env."+name, "", "is set by Backstay")
		}
		m.Text("env."+name, r.Env[name])
	}
}
