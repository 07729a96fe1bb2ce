package backstay

import (
	"strconv"
	"time"
)

// Port is a port as a service asks for it: a number, or auto.
type Port struct {
	Number uint16 `json:"number,omitempty"` // zero is auto
	UDP    bool   `json:"udp,omitempty"`
}

// Exec is a command and the surroundings it runs in.
type Exec struct {
	Argv        []string          `json:"argv"`
	User        string            `json:"user,omitempty"` // name or uid; empty only where the agent is not root
	Group       string            `json:"group,omitempty"`
	Groups      []string          `json:"groups,omitempty"`
	Dir         string            `json:"dir"`
	Env         map[string]string `json:"env,omitempty"`
	EnvFile     []string          `json:"env_file,omitempty"`
	Umask       uint32            `json:"umask"`
	Nice        int               `json:"nice,omitempty"`
	OOMScoreAdj int               `json:"oom_score_adj,omitempty"`
	Rlimits     map[string]int64  `json:"rlimits,omitempty"` // by name of setrlimit(2) in lower case; -1 is unlimited
}

// Release is one version of a service's definition, all that changes how it
// behaves and can only change with a new process. It is immutable.
//
// Exec is expanded but for what belongs to one instance: ${port.X},
// ${node.X} and ${secret.X} are still in it.
type Release struct {
	Service string          `json:"service"`
	Seq     int             `json:"seq"`               // 1 is the first of the service
	Version string          `json:"version,omitempty"` // as the file or the override says
	Digest  string          `json:"digest"`            // sha256 of the content; equal digests are one release
	Exec    Exec            `json:"exec"`
	Ports   map[string]Port `json:"ports,omitempty"`
	Ready   string          `json:"ready,omitempty"` // probe, started
	// Executable is the sha256 of the file that Exec.Argv[0] named when the
	// release was made.
	Executable string `json:"executable"`
	// EnvFiles are the bytes of Exec.EnvFile, by path.
	EnvFiles map[string][]byte `json:"env_files,omitempty"`
	// Secrets are keyed digests of the secrets Exec names, by name: never contents.
	Secrets map[string]string `json:"secrets,omitempty"`
	At      time.Time         `json:"at"`
	By      string            `json:"by,omitempty"`  // who brought it
	Why     string            `json:"why,omitempty"` // "apply", "deploy --version v2"
}

// ID returns the name of r: shop@14.
func (r Release) ID() string { return ReleaseID(r.Service, r.Seq) }

// ReleaseID returns the name of release seq of service.
func ReleaseID(service string, seq int) string { return service + "@" + strconv.Itoa(seq) }
