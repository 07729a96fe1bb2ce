package backstay

import (
	"strconv"
	"strings"
	"time"
)

// InstanceState is where an instance of a service is in its life.
type InstanceState string

// The states of an instance. See docs/rooms/supervise.md for the table of what
// leads from one to the next.
const (
	Waiting   InstanceState = "waiting"   // for what it depends on
	Starting  InstanceState = "starting"  // runs, and has not been ready in this run
	Running   InstanceState = "running"   // runs, and has been ready in this run
	Draining  InstanceState = "draining"  // out of every frontend, finishing what it has
	Stopping  InstanceState = "stopping"  // signalled
	Crashed   InstanceState = "crashed"   // ended unasked; what follows is being decided
	Backoff   InstanceState = "backoff"   // starts again at a known time
	Failed    InstanceState = "failed"    // ended too often; tried again slowly
	Completed InstanceState = "completed" // ran to its end with status 0, as it should
	Stopped   InstanceState = "stopped"   // ended as asked
)

// Live reports whether a process of the instance may be running.
func (s InstanceState) Live() bool {
	return s == Starting || s == Running || s == Draining || s == Stopping
}

// Exit is how a process ended.
type Exit struct {
	At     time.Time `json:"at"`
	Known  bool      `json:"known"` // false: nobody was there to see it
	Code   int       `json:"code"`  // exit status; meaningless with Signal
	Signal int       `json:"signal,omitempty"`
	Core   bool      `json:"core,omitempty"`
	OOM    bool      `json:"oom,omitempty"`   // the kernel killed it for memory
	Asked  bool      `json:"asked,omitempty"` // we had told it to stop
	// Stage is the step at which it could not be started: "setuid: EPERM",
	// "exec /srv/shop: no such file or directory". Empty if it was started.
	Stage string `json:"stage,omitempty"`
	// Reason is why we ended it, where we did: "liveness failed: connect: refused".
	Reason string `json:"reason,omitempty"`
}

// OK reports whether the process ended by itself with status 0.
func (e Exit) OK() bool { return e.Known && e.Code == 0 && e.Signal == 0 && e.Stage == "" }

// String returns e in words: "exited 3", "killed by SIGKILL", "out of memory".
func (e Exit) String() string {
	switch {
	case e.Stage != "":
		return "could not start: " + e.Stage
	case !e.Known:
		return "ended, exit status unknown"
	case e.OOM:
		return "out of memory: killed by the kernel"
	case e.Signal != 0 && e.Core:
		return "killed by " + SignalName(e.Signal) + ", core dumped"
	case e.Signal != 0:
		return "killed by " + SignalName(e.Signal)
	default:
		return "exited " + strconv.Itoa(e.Code)
	}
}

// Ending returns what e ended with, for a sentence: "3", "SIGKILL", "no start:
// setuid: EPERM".
func (e Exit) Ending() string {
	switch {
	case e.Stage != "":
		return "no start: " + e.Stage
	case !e.Known:
		return "an unknown status"
	case e.Signal != 0:
		return SignalName(e.Signal)
	default:
		return strconv.Itoa(e.Code)
	}
}

// signals are those of signal(7) that have one number on every Linux that Go
// runs on but MIPS.
var signals = []string{
	1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE",
	9: "SIGKILL", 10: "SIGUSR1", 11: "SIGSEGV", 12: "SIGUSR2", 13: "SIGPIPE", 14: "SIGALRM", 15: "SIGTERM",
	16: "SIGSTKFLT", 17: "SIGCHLD", 18: "SIGCONT", 19: "SIGSTOP", 20: "SIGTSTP", 21: "SIGTTIN", 22: "SIGTTOU",
	23: "SIGURG", 24: "SIGXCPU", 25: "SIGXFSZ", 26: "SIGVTALRM", 27: "SIGPROF", 28: "SIGWINCH", 29: "SIGIO",
	30: "SIGPWR", 31: "SIGSYS",
}

// sigRTMin is SIGRTMIN as the C library shows it, which keeps two for itself.
const sigRTMin = 34

// SignalName returns the name of signal n, SIGRTMIN+3 for the real-time ones.
func SignalName(n int) string {
	switch {
	case n > 0 && n < len(signals):
		return signals[n]
	case n == sigRTMin:
		return "SIGRTMIN"
	case n > sigRTMin && n <= 64:
		return "SIGRTMIN+" + strconv.Itoa(n-sigRTMin)
	default:
		return "signal " + strconv.Itoa(n)
	}
}

// SignalNumber returns the number of the signal called name, with its SIG.
func SignalNumber(name string) (n int, ok bool) {
	if plus, found := strings.CutPrefix(name, "SIGRTMIN+"); found {
		k, err := strconv.Atoi(plus)
		return sigRTMin + k, err == nil && k > 0 && k < 31
	}
	for i, s := range signals {
		if s == name && s != "" {
			return i, true
		}
	}
	return 0, false
}

// Instance is one running copy of a service, as status shows it.
type Instance struct {
	ID      string        `json:"id"` // shop-7f3a9c; never reused
	Service string        `json:"service"`
	Release string        `json:"release"` // shop@14
	State   InstanceState `json:"state"`
	Since   time.Time     `json:"since"`   // of State
	Because string        `json:"because"` // the fact that led to State, in one line
	PID     int           `json:"pid,omitempty"`
	Started time.Time     `json:"started,omitzero"` // of this run
	Starts  int           `json:"starts"`           // runs so far
	Ready   bool          `json:"ready"`            // readiness as the probes see it
	Drained bool          `json:"drained"`          // taken out by drain or on its way to stop
	// ReadySince is when Ready last became true without a break; a restart or a
	// failed readiness probe begins it anew.
	ReadySince time.Time         `json:"ready_since,omitzero"`
	NextStart  time.Time         `json:"next_start,omitzero"` // with state backoff or failed
	Failures   int               `json:"failures,omitempty"`  // in the present run of failures
	Last       *Exit             `json:"last,omitempty"`      // how the run before this one ended
	LastLog    []string          `json:"last_log,omitempty"`  // last lines before Last, oldest first; nil until they have been read
	Ports      map[string]uint16 `json:"ports,omitempty"`
	WaitsFor   []string          `json:"waits_for,omitempty"` // services, with state waiting
	LogFile    string            `json:"log_file,omitempty"`
	Probes     []ProbeStatus     `json:"probes,omitempty"`
}

// ProbeStatus is what a probe of an instance has found.
type ProbeStatus struct {
	Name    string    `json:"name"`   // startup, readiness, liveness
	Target  string    `json:"target"` // http 127.0.0.1:20001/healthz
	Good    bool      `json:"good"`
	Since   time.Time `json:"since,omitzero"`   // of Good
	Streak  int       `json:"streak"`           // results in a row like the last one
	Output  string    `json:"output,omitempty"` // of the last one: "HTTP 503", "connect: refused"
	Checked time.Time `json:"checked,omitzero"`
}

// LastText returns the last of lines that has text: programs end what they say with
// an empty one.
func LastText(lines []string) string {
	for n := range lines {
		if line := lines[len(lines)-1-n]; strings.TrimSpace(line) != "" {
			return line
		}
	}
	return ""
}
