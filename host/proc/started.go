package proc

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of [Status.Ticks]: USER_HZ is 100 on every Linux that Go runs on.
const tick = time.Second / 100

// StartedAt returns when the process pid was started, by today's wall clock.
func StartedAt(pid int) (time.Time, error) {
	s, err := Stat(pid)
	if err != nil {
		return time.Time{}, err
	}
	text, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return time.Time{}, fmt.Errorf("look at the clock since boot: %w", err)
	}
	up, _, _ := strings.Cut(string(text), " ")
	seconds, err := strconv.ParseFloat(up, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("read /proc/uptime: %w", err)
	}
	ran := time.Duration(seconds*float64(time.Second)) - time.Duration(s.Ticks)*tick //nolint:gosec // 292 years
	return time.Now().Add(-max(ran, 0)), nil
}
