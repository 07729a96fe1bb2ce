package supervise

import "github.com/backstay/backstay"

// Service is what a file says about running a service. What belongs to a
// release (change roll) is turned into a [backstay.Release] by the daemon; the
// rest applies to instances as they are.
type Service struct {
	Version   string               `yaml:"version" change:"roll"`
	Run       Run                  `yaml:"run" change:"roll"`
	Ports     map[string]PortWish  `yaml:"ports" change:"roll"`
	Replicas  int                  `yaml:"replicas" change:"live"`
	DependsOn map[string]Condition `yaml:"depends_on" change:"live"`
	Ready     string               `yaml:"ready" change:"roll"` // probe, started; empty: probe if there is one
	Probes    Probes               `yaml:"probes" change:"live"`
	Restart   Restart              `yaml:"restart" change:"live"`
	Stop      Stop                 `yaml:"stop" change:"live"`
	Logs      Logs                 `yaml:"logs" change:"live"`

	// MaxUnavailable is how many instances may be missing. The file says that in
	// deploy, whose word it is; who ties the rooms together sets it here.
	MaxUnavailable backstay.Count
}

// SetDefaults fills in what a file leaves out.
func (s *Service) SetDefaults() {
	*s = Service{Replicas: 1}
	s.Run.SetDefaults()
	s.Restart.SetDefaults()
	s.Stop.SetDefaults()
	s.Logs.SetDefaults()
}

// Run is what to run: a command, for now the only way.
type Run struct {
	Exec        []string          `yaml:"exec" change:"roll"`
	User        string            `yaml:"user" change:"roll"`
	Group       string            `yaml:"group" change:"roll"`
	Groups      []string          `yaml:"groups" change:"roll"`
	Dir         string            `yaml:"dir" change:"roll"`
	Env         map[string]string `yaml:"env" change:"roll"`
	EnvFile     []string          `yaml:"env_file" change:"roll"`
	Umask       Octal             `yaml:"umask" change:"roll"` // of what it creates
	Nice        int               `yaml:"nice" change:"roll"`
	OOMScoreAdj int               `yaml:"oom_score_adj" change:"roll"`
	Rlimits     map[string]Rlimit `yaml:"rlimits" change:"roll"`
}

// SetDefaults fills in what a file leaves out.
func (r *Run) SetDefaults() { *r = Run{Dir: "/", Umask: 0o022} }

// Condition is what a service waits for in another.
type Condition string

// The conditions of depends_on.
const (
	Started   Condition = "started"
	Ready     Condition = "ready"
	Completed Condition = "completed" // ran and exited 0
)

// Probes are Kubernetes' three.
type Probes struct {
	Startup   *backstay.Probe `yaml:"startup" change:"live"`   // holds the other two back until it passes once
	Readiness *backstay.Probe `yaml:"readiness" change:"live"` // no traffic while it fails; never restarts
	Liveness  *backstay.Probe `yaml:"liveness" change:"live"`  // failure restarts the instance
}

// Restart says what follows an exit that nobody asked for.
type Restart struct {
	Policy     string            `yaml:"policy" change:"live"`      // always, on_failure, never
	Backoff    backstay.Range    `yaml:"backoff" change:"live"`     // from the second restart on; doubles
	ResetAfter backstay.Duration `yaml:"reset_after" change:"live"` // ready for so long forgets earlier failures
	Limit      backstay.Budget   `yaml:"limit" change:"live"`       // with 10/10m the tenth end within 10m leads to failed, from which it is tried every 5m
}

// SetDefaults fills in what a file leaves out.
func (r *Restart) SetDefaults() {
	*r = Restart{
		Policy: "always", Backoff: backstay.Range{Min: backstay.Duration(100e6), Max: backstay.Duration(30e9)},
		ResetAfter: backstay.Duration(60e9), Limit: backstay.Budget{Count: 10, Window: backstay.Duration(600e9)},
	}
}

// Stop says how an instance leaves: out of traffic, told, killed.
type Stop struct {
	Drain     backstay.Duration `yaml:"drain" change:"live"`      // bound of in-flight zero, then the signal
	DrainLong backstay.Duration `yaml:"drain_long" change:"live"` // the same for upgraded connections
	Signal    string            `yaml:"signal" change:"live"`     // to the main process
	Grace     backstay.Duration `yaml:"grace" change:"live"`      // then the whole tree is killed
}

// SetDefaults fills in what a file leaves out.
func (s *Stop) SetDefaults() {
	*s = Stop{Drain: backstay.Duration(30e9), DrainLong: backstay.Duration(300e9), Signal: "SIGTERM", Grace: backstay.Duration(10e9)}
}

// Logs says how much of what a service prints is kept.
type Logs struct {
	MaxSize  backstay.Size `yaml:"max_size" change:"live"`  // of one file; it ends with a whole line, and so up to 64 KiB later, or as long as the line is, at most 1 MiB
	MaxFiles int           `yaml:"max_files" change:"live"` // per instance, the one being written included
	OnFull   string        `yaml:"on_full" change:"live"`   // block, drop: when 1 MiB is unread
}

// SetDefaults fills in what a file leaves out.
func (l *Logs) SetDefaults() { *l = Logs{MaxSize: 64 << 20, MaxFiles: 10, OnFull: "block"} }
