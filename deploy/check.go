package deploy

import "github.com/backstay/backstay"

// Bounds of what a file may ask for.
const (
	mostRetries = 100
	mostKept    = 1000 // each is a file, and the bytes of its env_files
)

// Check returns what is wrong with c by itself.
func (c *Config) Check() []backstay.Mistake {
	var m backstay.Mistakes
	m.OneOf("strategy", c.Strategy, "rolling", "recreate")
	m.OneOf("on_failure", c.OnFailure, "rollback", "pause")
	m.Within("retries", c.Retries, 0, mostRetries)
	m.Within("keep_releases", c.KeepReleases, 0, mostKept)
	m.AtLeast("progress_deadline", c.ProgressDeadline, backstay.Duration(1e9))
	if c.ProgressDeadline <= c.MinReady && c.MinReady > 0 {
		m.Say("deadline_too_short", "progress_deadline", (2 * c.MinReady).String(),
			"%s is over before min_ready, %s: no step could end well", c.ProgressDeadline, c.MinReady)
	}
	if c.Strategy == "rolling" && noneOf(c.MaxSurge) && noneOf(c.MaxUnavailable) {
		m.Say("no_step", "max_unavailable", "1", "is 0 like max_surge: nothing may be added and nothing may be missing, so nothing can roll")
	}
	return m
}

// noneOf reports whether c is nothing of whatever.
func noneOf(c backstay.Count) bool { return c.N == 0 && c.Share == 0 }
