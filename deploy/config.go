package deploy

import "github.com/backstay/backstay"

// Config is what a file says about moving a service to its next release.
type Config struct {
	Strategy         string            `yaml:"strategy" change:"live"`          // rolling, recreate
	MaxSurge         backstay.Count    `yaml:"max_surge" change:"live"`         // above replicas while rolling; percent rounds up
	MaxUnavailable   backstay.Count    `yaml:"max_unavailable" change:"live"`   // ready ones that may be missing; percent rounds down
	MinReady         backstay.Duration `yaml:"min_ready" change:"live"`         // ready without a break before it counts
	ProgressDeadline backstay.Duration `yaml:"progress_deadline" change:"live"` // per step; after it on_failure
	Retries          int               `yaml:"retries" change:"live"`           // replacements of one flake per step
	OnFailure        string            `yaml:"on_failure" change:"live"`        // rollback, pause
	KeepReleases     int               `yaml:"keep_releases" change:"live"`     // beside those in use and the rollback target
}

// SetDefaults fills in what a file leaves out.
func (c *Config) SetDefaults() {
	*c = Config{
		Strategy: "rolling", MaxSurge: backstay.Count{N: 1}, MinReady: backstay.Duration(5e9),
		ProgressDeadline: backstay.Duration(300e9), Retries: 1, OnFailure: "rollback", KeepReleases: 5,
	}
}
